"""Runs the rest of this process where nothing can be left behind.

The process continues as first process of a new PID namespace with a mount namespace of its own.
However it ends, `kill -9` included, the kernel then ends every process it started, and with the
last of them go the network namespaces and their devices, whose names live on a private tmpfs.
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
        owner = old.name.split(".")[1]
        if owner.isdigit() and not pathlib.Path(f"/proc/{owner}").exists():
            shutil.rmtree(old, ignore_errors=True)
    return pathlib.Path(tempfile.mkdtemp(prefix=f"{prefix}.{os.getpid()}.", dir=base))


def isolate(keep=None):
    """Returns in the isolated process with its scratch folder; the caller's process waits for it.

    keep: a path. When the isolated process creates that file, the caller's process returns control
    to the shell with exit code 0 and the isolated one stays until it is told to end.
    """
    if os.geteuid() != 0:
        sys.exit("Network namespaces need root: run this as root.")
    folder = scratch()
    ready_read, ready_write = os.pipe()
    _call("unshare", _libc.unshare(CLONE_NEWNS | CLONE_NEWPID))
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    child = os.fork()
    if child != 0:
        os.close(ready_write)
        _wait(child, folder, ready_read)
    os.close(ready_read)
    if not keep:
        die_with_parent()
    os.makedirs("/run/netns", exist_ok=True)
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _mount("tmpfs", "/run/netns", "tmpfs", MS_NOSUID | MS_NODEV)
    # As first process of its namespace it has no default handlers: a plain exit must be asked for.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda n, _frame: sys.exit(128 + n))
    signal.signal(signal.SIGINT, lambda n, _frame: sys.exit(128 + n))
    os.environ["SLUICE_LAB"] = str(folder)
    return Isolated(folder, ready_write)


class Isolated:
    def __init__(self, folder, release_fd):
        self.folder = folder
        self._release_fd = release_fd

    def release_caller(self):
        """Gives the shell back; this process stays in the background and owns the folder now."""
        os.setsid()
        os.write(self._release_fd, b"k")
        os.close(self._release_fd)
        atexit.register(shutil.rmtree, self.folder, True)


def _wait(child, folder, ready_read):
    def forward(number, _frame):
        try:
            os.kill(child, signal.SIGTERM if number != signal.SIGKILL else number)
        except ProcessLookupError:
            pass

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    if os.read(ready_read, 1) == b"k":
        os._exit(0)
    _, status = os.waitpid(child, 0)
    shutil.rmtree(folder, ignore_errors=True)
    code = os.waitstatus_to_exitcode(status)
    sys.stdout.flush()
    os._exit(code if code >= 0 else 128 - code)
