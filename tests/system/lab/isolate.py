"""Runs the rest of this process where nothing can be left behind.

The process continues as first process of a new PID namespace with a mount namespace of its own.
However it ends, `kill -9` included, the kernel then ends every process it started, and with the
last of them go the network namespaces and their devices, whose names live on a private /run, as do
the traces of DPDK.
"""

import atexit
import ctypes
import os
import pathlib
import shutil
import signal
import sys
import tempfile

CLONE_NEWNS = 0x00020000
CLONE_NEWPID = 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
PR_SET_PDEATHSIG = 1
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_libc = ctypes.CDLL(None, use_errno=True)


def _call(what, result):
    if result != 0:
        number = ctypes.get_errno()
        sys.exit(f"{what}: {os.strerror(number)} (the lab needs root with CAP_SYS_ADMIN)")


def _mount(source, target, kind, flags):
    _call(f"mount {target}", _libc.mount(source.encode(), target.encode(),
                                         kind.encode() if kind else None, flags, None))


def die_with_parent():
    """For a child between fork and exec: it ends when its parent does."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def scratch(prefix="sluice-lab"):
    """A temporary folder that names its owner, so that a later run can clear up after a kill -9."""
    base = pathlib.Path(tempfile.gettempdir())
    for old in base.glob(f"{prefix}.*.*"):
        owners = [old.name.split(".")[1]]
        if (old / "pid").exists():  # who stayed after the starter was let go
            owners.append((old / "pid").read_text().strip())
        if not any(o.isdigit() and pathlib.Path(f"/proc/{o}").exists() for o in owners):
            shutil.rmtree(old, ignore_errors=True)
    return pathlib.Path(tempfile.mkdtemp(prefix=f"{prefix}.{os.getpid()}.", dir=base))


def isolate():
    """Returns in the isolated process; the caller's process waits for it and takes its exit code."""
    if os.geteuid() != 0:
        sys.exit("Network namespaces need root: run this as root.")
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # until there is somebody who clears up
    folder = scratch()
    verdict_read, verdict_write = os.pipe()
    _call("unshare", _libc.unshare(CLONE_NEWNS | CLONE_NEWPID))
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    child = os.fork()
    if child != 0:
        os.close(verdict_write)
        (folder / "pid").write_text(f"{child}\n")
        _wait(child, folder, verdict_read)
    os.close(verdict_read)
    die_with_parent()
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV)
    os.mkdir("/run/netns")

    def end(number, _frame):
        for other in ENDING:  # the clearing up is not interrupted
            signal.signal(other, signal.SIG_IGN)
        sys.exit(128 + number)

    # The first process of a PID namespace gets only the signals it has handlers for.
    for number in ENDING:
        signal.signal(number, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    os.environ["SLUICE_LAB"] = str(folder)
    return Isolated(folder, verdict_write)


class Isolated:
    def __init__(self, folder, verdict_fd):
        self.folder = folder
        self._verdict_fd = verdict_fd

    def detach(self, code):
        """Gives the shell back with this exit code; this process stays and owns the folder now."""
        sys.stdout.flush()
        _libc.prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)
        os.setsid()
        with open(self.folder / "background.log", "ab") as log:
            for descriptor in (1, 2):
                os.dup2(log.fileno(), descriptor)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.write(self._verdict_fd, bytes([code]))
        os.close(self._verdict_fd)
        atexit.register(shutil.rmtree, self.folder, True)


def _wait(child, folder, verdict_read):
    told = False

    def forward(_number, _frame):
        nonlocal told
        os.kill(child, signal.SIGKILL if told else signal.SIGTERM)
        told = True

    for number in ENDING:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    verdict = os.read(verdict_read, 1)
    if verdict:
        os._exit(verdict[0])
    # Not reaped yet, so that its number cannot be another process's when a signal is forwarded.
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    _, status = os.waitpid(child, 0)
    shutil.rmtree(folder, ignore_errors=True)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)
