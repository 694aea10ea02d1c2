"""Kill a process before its k-th change of a folder, by ptrace: nothing in the process has to know. Linux on x86-64 alone.

The changes are system calls that write, make, rename, flush or remove something below the folder, whoever makes them: Python,
HDF5 or safetensors. To be killed before each of them in turn is to be killed in every state that the folder passes through.
"""

import ctypes
import os
import platform
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_TRACEME, _GETREGS, _SYSCALL, _SETOPTIONS = 0, 12, 24, 0x4200
_MARK_SYSCALLS, _DIE_WITH_TRACER = 1, 0x100000
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_ORIG_RAX, _ARGUMENTS = 15, (14, 13, 12, 7, 9, 8)  # places in user_regs_struct; the arguments are rdi, rsi, rdx, r10, r8, r9
_CREATES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_HERE = -100  # AT_FDCWD

# What a call tells where it acts: "f" a handle, "p" a path, "a" a folder's handle and a path below it.
_CALLS = {
    1: ("write", "f"),
    18: ("pwrite64", "f"),
    20: ("writev", "f"),
    40: ("sendfile", "f"),
    74: ("fsync", "f"),
    75: ("fdatasync", "f"),
    76: ("truncate", "p"),
    77: ("ftruncate", "f"),
    82: ("rename", "p"),
    83: ("mkdir", "p"),
    84: ("rmdir", "p"),
    86: ("link", "p"),
    87: ("unlink", "p"),
    88: ("symlink", "p"),
    90: ("chmod", "p"),
    91: ("fchmod", "f"),
    257: ("openat", "a"),
    258: ("mkdirat", "a"),
    263: ("unlinkat", "a"),
    264: ("renameat", "a"),
    268: ("fchmodat", "a"),
    296: ("pwritev", "f"),
    316: ("renameat2", "a"),
}


class Traced(NamedTuple):
    """What became of a traced process.

    Attributes:
        calls: names of the calls that changed the folder, in their order; the last one was not made if it was killed.
        killed: whether it was killed before that call.
        status: its exit status, if it came to its end.
    """

    calls: list[str]
    killed: bool
    status: int


def why_unavailable() -> str | None:
    """Say why nothing can be traced here; None if it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"system calls are traced on Linux on x86-64, not on {sys.platform} on {platform.machine()}"
    try:
        traced(lambda: None, Path("/nowhere"))
    except OSError as error:
        return f"this machine lets no process trace its children ({error})"
    return None


def traced(work: Callable[[], object], folder: Path, *, kill_at: int | None = None) -> Traced:
    """Fork, do the work there, and kill it before its ``kill_at``-th change of the folder (from 0; None: never).

    Raises:
        OSError: if the machine forbids to trace.
    """
    child = os.fork()
    if child == 0:
        _do_traced(work)
    _, status = os.waitpid(child, 0)
    if not os.WIFSTOPPED(status):
        raise OSError("ptrace was refused")
    _ptrace(_SETOPTIONS, child, _MARK_SYSCALLS | _DIE_WITH_TRACER)
    return _follow(child, str(folder), kill_at)


def _do_traced(work: Callable[[], object]) -> None:
    status = 1
    try:
        _ptrace(_TRACEME, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        from tests.robustness.forked import quiet

        quiet()
        work()
        status = 0
    finally:
        os._exit(status)


def _follow(child: int, folder: str, kill_at: int | None) -> Traced:
    calls: list[str] = []
    entering, deliver = True, 0
    with open(f"/proc/{child}/mem", "rb", buffering=0) as memory:
        while True:
            _ptrace(_SYSCALL, child, deliver)
            _, status = os.waitpid(child, 0)
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                return Traced(calls, False, os.waitstatus_to_exitcode(status))
            stopped = os.WSTOPSIG(status)
            deliver = 0 if stopped == _SYSCALL_STOP else stopped
            if stopped != _SYSCALL_STOP:
                continue
            if entering and (name := _change(child, memory.fileno(), folder)):
                calls.append(name)
                if len(calls) - 1 == kill_at:
                    os.kill(child, signal.SIGKILL)
                    _, status = os.waitpid(child, 0)
                    return Traced(calls, True, os.waitstatus_to_exitcode(status))
            entering = not entering


def _change(child: int, memory: int, folder: str) -> str | None:
    """Return the name of the call that a child is about to make if it changes the folder."""
    registers = (ctypes.c_ulonglong * 27)()
    _ptrace(_GETREGS, child, ctypes.addressof(registers))
    known = _CALLS.get(registers[_ORIG_RAX])
    if known is None:
        return None
    name, kind = known
    arguments = [registers[place] for place in _ARGUMENTS]
    if name == "openat" and not arguments[2] & _CREATES:
        return None
    if kind == "f":
        where = _held(child, arguments[0])
    elif kind == "p":
        where = _text(memory, arguments[0])
    else:
        path, base = _text(memory, arguments[1]), ctypes.c_int(arguments[0]).value
        where = path if base == _HERE or path.startswith("/") else f"{_held(child, base)}/{path}"
    return name if where.startswith(folder) else None


def _held(child: int, handle: int) -> str:
    try:
        return os.readlink(f"/proc/{child}/fd/{handle}")
    except OSError:
        return ""


def _text(memory: int, address: int) -> str:
    try:
        page = os.pread(memory, 4096 - address % 4096, address)
        if b"\0" not in page:
            page += os.pread(memory, 4096, address + len(page))
    except OSError:
        return ""
    return os.fsdecode(page.partition(b"\0")[0])


def _ptrace(request: int, child: int, data: int) -> None:
    call = ctypes.CDLL(None, use_errno=True).ptrace
    call.argtypes, call.restype = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p], ctypes.c_long
    if call(request, child, None, data) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
