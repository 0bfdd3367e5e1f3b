"""Giving up rights: what a child process does before it reads the first byte of a stranger's.

It can open no file and no socket, write no file and hold no more memory than it was given; it was
started with an empty environment. On Linux the kernel also refuses it every system call that
working on a picture does not need (seccomp): without that, code that took the child over could read
and write the server's memory, which belongs to the same user, or end it, or unlink the database,
all without opening anything.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys
from typing import Final

FILTERED: Final = b"+"
UNFILTERED: Final = b"-"


def confine(memory_bytes: int) -> bytes:
    """Give up everything but memory, time and the two pipes, for good.

    Returns what the child says first: whether the kernel refuses system calls.
    """
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_AS, memory_bytes),
    ):
        resource.setrlimit(limit, (value, value))
    machine = os.uname().machine
    if sys.platform == "linux" and machine in _KERNELS:
        return FILTERED if _filter_calls(*_KERNELS[machine]) else UNFILTERED
    return UNFILTERED


# Of each kernel: its name for itself in linux/audit.h, and its place in the table below.
_KERNELS: Final = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
# The numbers of the calls that are harmless whatever their arguments.
_HARMLESS: Final = {
    "brk": (12, 214),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "close": (3, 57),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "fstat": (5, 80),
    "futex": (202, 98),
    "getpid": (39, 172),
    "getrandom": (318, 278),
    "getrusage": (98, 165),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "lseek": (8, 62),
    "madvise": (28, 233),
    "membarrier": (324, 283),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "read": (0, 63),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124),
    "set_robust_list": (273, 99),
    "sigaltstack": (131, 132),
    "write": (1, 64),
    "writev": (20, 66),
}
# Threads are needed by the decoder of WebP.
_CLONE: Final = (56, 220)
_PRLIMIT: Final = (302, 261)
_CLONE3: Final = 435
_CLONE_THREAD: Final = 0x10000
# Instructions of the filter, as linux/filter.h writes them.
_LOAD: Final = 0x20
_IF_EQUAL: Final = 0x15
_IF_SET: Final = 0x45
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000
# Where linux/seccomp.h keeps the call's number, its kernel, and its first argument.
_NUMBER, _KERNEL, _FIRST = 0, 4, 16
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_FILTER_MODE: Final = 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _filter_calls(kernel: int, column: int) -> bool:
    """Have the kernel refuse every other system call, for good.

    One that knows no filters goes without, and False is returned: the limits above still hold.
    """
    refuse = (_RETURN, 0, 0, _REFUSE | errno.EPERM)
    allow = (_RETURN, 0, 0, _ALLOW)
    steps = [
        (_LOAD, 0, 0, _KERNEL), (_IF_EQUAL, 1, 0, kernel), refuse,
        (_LOAD, 0, 0, _NUMBER),
    ]  # fmt: skip
    for numbers in _HARMLESS.values():
        steps += [(_IF_EQUAL, 0, 1, numbers[column]), allow]
    steps += [
        # The C library asks with the older call when it is told that this one does not exist.
        (_IF_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _REFUSE | errno.ENOSYS),
        # A thread, but no process.
        (_IF_EQUAL, 0, 3, _CLONE[column]), (_LOAD, 0, 0, _FIRST),
        (_IF_SET, 0, 4, _CLONE_THREAD), allow,
        # Limits of our own, but of no other process.
        (_IF_EQUAL, 0, 2, _PRLIMIT[column]), (_LOAD, 0, 0, _FIRST), (_IF_EQUAL, 1, 0, 0),
        refuse, allow,
    ]  # fmt: skip
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    program = _Program(len(steps), code)
    library = ctypes.CDLL(None)
    no_new = library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    filtered = library.prctl(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.byref(program), 0, 0)
    return bool(no_new == 0 and filtered == 0)


def allow_cpu(seconds: int) -> None:
    """Allow some more CPU time. The limit counts from the start of the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(
        resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, hard)
    )
