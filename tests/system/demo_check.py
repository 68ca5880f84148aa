"""./demo as a user runs it: whole, kept, failing, interrupted; and that nothing stays behind.

Not part of tests/system/run, which isolates: here the isolation is what is tested. As root, in a tree
that is built: /usr/bin/python3 -m pytest -c tests/system/pytest.ini tests/system/demo_check.py
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import uuid

import pytest
from lab.process import until

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 60  # from the end of the build to the end of the demo

STEPS = [
    "start the gateway and nginx as the tool kb", "sluicectl apply; sluicectl task create",
    *(f"GET https://kb.tools.example/docs/…  HTTP/{http} over IPv{family}"
      for http in ("2", "1.1") for family in (4, 6)),
    "without a token", "task of a class that may not use kb", "after the task is deleted",
    "unknown host", "with nginx stopped", "nginx started again",
    *(f"{way} 1 GB, HTTP/{http}" for way in ("download", "upload") for http in ("2", "1.1")),
    "h2load, 8 connections of 4 streams", "the record of one call", "all quiet again",
    "SIGTERM to the gateway",
]


def processes(marker):
    """Who runs with the marker in its environment; it is handed down whatever becomes of sessions,
    groups and namespaces."""
    found = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if marker in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
    return found


def traces():
    """What the host shows of namespaces, links, shared memory and DPDK instances."""
    names = {f"{place}/{entry.name}" for place in ("/run/netns", "/dev/shm", "/run/dpdk")
             if os.path.isdir(place) for entry in os.scandir(place)}
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    return names | {f"link {line.split(':')[1].strip()}" for line in links.splitlines()}


class Demo:
    """One ./demo in a session of its own, with its own folder for temporary files."""

    def __init__(self, folder, *arguments, path=None, **environment):
        self.marker = uuid.uuid4().hex.encode()
        self.temporary = pathlib.Path(tempfile.mkdtemp(prefix="demo-"))  # sockets want short paths
        self.output = folder / "output"
        self.environment = {**os.environ, **environment, "TMPDIR": str(self.temporary),
                            "SLUICE_DEMO_CHECK": self.marker.decode()}
        if path:
            self.environment["PATH"] = f"{path}:{os.environ['PATH']}"
        self.before = traces()
        with open(self.output, "wb") as output:
            self.popen = subprocess.Popen(  # pylint: disable=consider-using-with
                [ROOT / "demo", *map(str, arguments)], env=self.environment, stdout=output,
                stdin=subprocess.DEVNULL, stderr=output, start_new_session=True,
                # A shell that starts ./check in the background has SIGINT ignored, and what is
                # ignored from the start no shell can trap.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    def text(self):
        return self.output.read_text()

    def wait(self, timeout):
        return self.popen.wait(timeout)

    def left(self):
        return [*processes(self.marker).items(), *self.temporary.iterdir(),
                *(traces() - self.before)]

    def gone(self):
        until(lambda: not self.left(), 10, f"nothing left of {self.left()}")

    def end(self):
        for pid in processes(self.marker):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.popen.wait()
        shutil.rmtree(self.temporary)


@pytest.fixture(name="demo")
def fixture_demo(tmp_path):
    made = []

    def start(*arguments, **options):
        made.append(Demo(tmp_path, *arguments, **options))
        return made[-1]

    yield start
    for run in made:
        run.end()


def program(folder, name, text):
    """A folder for the front of PATH in which one program is another."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return folder


def test_whole(demo, tmp_path):
    run = demo("--json", tmp_path / "result.json")
    assert run.wait(600) == 0, run.text()
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["ok"] is True
    assert [step["tried"] for step in result["steps"]] == STEPS
    assert all(step["ok"] and not step["problems"] for step in result["steps"])
    assert all(step["tried"] in run.text() for step in result["steps"])
    assert f"{len(STEPS)} of {len(STEPS)} steps came back as they should" in run.text()
    stages = result["call"]["stages_us"]
    assert {"identify", "classify", "authorize", "wait"} <= set(stages)
    assert all(re.search(rf"^ +{name} ", run.text(), re.MULTILINE) for name in stages)
    assert result["load"]["succeeded"] > 0 and result["load"]["failed"] == 0
    run.gone()
    assert result["seconds"] < SECONDS


def test_kept_and_talked_to(demo, tmp_path):
    run = demo("--keep", SLUICE_DEMO_BYTES="4000000")
    assert run.wait(120) == 0, run.text()
    printed = re.search(r"To talk to it:\n(.*?)\n\n", run.text(), re.DOTALL).group(1)
    lines = [line.strip() for line in printed.splitlines()]
    tokens = [line for line in lines if line.startswith("TOKEN=")]
    calls = [line for line in lines if "/agent curl" in line]
    rest = [line for line in lines if line not in tokens + calls]
    assert len(tokens) == 2 and len(calls) == 1 and rest[-1].partition(" ")[0].endswith("/stop")

    def typed(*commands):
        return subprocess.run(["bash", "-c", "\n".join(commands)], cwd=tmp_path, timeout=60,
                              capture_output=True, text=True, check=False)

    for token in tokens:
        called = typed(token, *calls)
        assert called.returncode == 0 and "HTTP/2 200" in called.stdout, (token, called)
    refused = typed("TOKEN=none", *calls)
    assert "HTTP/2 401" in refused.stdout, refused
    for line in rest[:-1]:
        shown = typed(line)
        assert shown.returncode == 0 and shown.stdout.strip(), (line, shown)
    assert "policy generation" in typed(next(x for x in rest if x.endswith("status"))).stdout
    stopped = typed(rest[-1])
    assert stopped.returncode == 0, stopped
    run.gone()


def test_failing_step(demo, tmp_path):
    path = program(tmp_path / "bin", "nginx", "#!/bin/sh\necho no nginx today >&2\nexit 3\n")
    run = demo("--json", tmp_path / "result.json", path=path)
    assert run.wait(60) == 1, run.text()
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["ok"] is False
    failed = [step for step in result["steps"] if not step["ok"]]
    assert failed and "no nginx today" in failed[0]["problems"][0]
    assert "FAIL" in run.text() and "no nginx today" in run.text()
    run.gone()


@pytest.mark.parametrize("number, send", [
    (signal.SIGINT, os.killpg),  # Ctrl-C: the terminal's whole process group
    (signal.SIGTERM, os.kill),
])
def test_signal_in_the_bulk_step(demo, number, send):
    run = demo()
    until(lambda: any(b"curl" in line and b"big.bin" in line
                      for line in processes(run.marker).values()), 60, "a transfer runs")
    assert "\nBulk\n" in run.text() and run.popen.poll() is None
    send(run.popen.pid, number)
    assert run.wait(30) == 128 + number
    run.gone()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_to_the_demo_alone_ends_its_build(demo, tmp_path, number):
    path = program(tmp_path / "bin", "ninja", "#!/usr/bin/python3\nimport subprocess\n"
                   "subprocess.run(['sh', '-c', 'sleep 987; true'])\n")
    run = demo(path=path)
    until(lambda: any(b"sleep 987" in line for line in processes(run.marker).values()), 20,
          "the build runs")
    run.popen.send_signal(number)
    assert run.wait(30) == 128 + number
    run.gone()


def test_wrong_use(demo):
    run = demo("--surprise")
    assert run.wait(10) == 2 and "usage:" in run.text()
    run.gone()
