"""Child processes: started in a namespace, ended by pid, never outliving their starter."""

import os
import pathlib
import signal
import subprocess
import time

from .isolate import die_with_parent


class LabError(Exception):
    pass


def run(*command, check=True, timeout=60, **kwargs):
    """A short command; its output as text. Raises LabError with the output when it fails."""
    if "input" not in kwargs:
        kwargs.setdefault("stdin", subprocess.DEVNULL)
    result = subprocess.run([str(c) for c in command], text=True, capture_output=True,
                            timeout=timeout, check=False, **kwargs)
    if check and result.returncode != 0:
        raise LabError(f"{' '.join(map(str, command))}: exit {result.returncode}\n"
                       f"{result.stdout}{result.stderr}")
    return result


def until(condition, deadline=10.0, what="condition", step=0.005):
    """Polls until the condition returns something true; that value. No fixed sleeps in tests."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise LabError(f"not reached within {deadline:g} s: {what}")
        time.sleep(step)


def cpu_seconds(pid):
    """CPU seconds the process has used, threads included."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Process:
    """A background process with its output in a file."""

    def __init__(self, command, log, cpus=None, env=None, stdin=subprocess.DEVNULL):
        self.command = [str(c) for c in command]
        inner = self.command[4:] if self.command[:3] == ["ip", "netns", "exec"] else self.command
        self.name = pathlib.Path(inner[0]).name
        self.log = pathlib.Path(log)
        cpu_set = set(cpus) if cpus else None

        def prepare():
            die_with_parent()
            if cpu_set:
                os.sched_setaffinity(0, cpu_set)

        with open(self.log, "ab") as output:
            self.popen = subprocess.Popen(  # pylint: disable=consider-using-with
                self.command, stdin=stdin, stdout=output, stderr=output, preexec_fn=prepare,
                start_new_session=True, env=env)

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def until(self, condition, deadline, what):
        """As `until`, but over at once when this process ends."""
        def met():
            if not self.alive():
                raise LabError(f"{self.name} ended with {self.popen.returncode} before: {what}\n"
                               f"{self.tail()}")
            return condition()

        return until(met, deadline, what)

    def output(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self, lines=25):
        return "\n".join(self.output().splitlines()[-lines:])

    def wait(self, timeout):
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name} did not end within {timeout} s\n"
                           f"{self.tail()}") from error

    def signal(self, number):
        if self.alive():
            self.popen.send_signal(number)

    def stop(self, timeout=10):
        """SIGTERM and wait; the exit code. SIGKILL to the session when it does not listen."""
        if not self.alive():
            return self.popen.returncode
        self.popen.terminate()
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.popen.returncode

    def kill(self):
        try:
            os.killpg(self.popen.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()
