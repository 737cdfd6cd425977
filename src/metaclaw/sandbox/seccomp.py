"""The jail's system call filter: which calls a program may make, as the BPF program that the kernel runs. Pure.

What is not named below is answered with EPERM. That leaves out every way to start a program, to reach another process
or a network, and the parts of the kernel in which holes are found: namespaces, mounts, ptrace, bpf, keyrings, io_uring,
memory that no limit counts (memfd, System V). Threads, own files, and a pair of sockets connected to each other (which
asyncio wakes itself by) remain.
"""

from __future__ import annotations

import struct

# Linux's numbers of each call on x86-64 and on arm64, which has only the newer ones.
ALLOWED: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "write": (1, 64), "futex": (202, 98), "mmap": (9, 222), "munmap": (11, 215), "brk": (12, 214),
    "mprotect": (10, 226), "madvise": (28, 233), "mremap": (25, 216), "mincore": (27, 232), "msync": (26, 227),
    "close": (3, 57), "fstat": (5, 80), "newfstatat": (262, 79), "statx": (332, 291), "lseek": (8, 62),
    "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66), "preadv": (295, 69),
    "pwritev": (296, 70), "openat": (257, 56), "getdents64": (217, 61), "ftruncate": (77, 46), "truncate": (76, 45),
    "fallocate": (285, 47), "fsync": (74, 82), "fdatasync": (75, 83), "fadvise64": (221, 223), "flock": (73, 32),
    "unlinkat": (263, 35), "mkdirat": (258, 34), "renameat": (264, 38), "renameat2": (316, 276), "linkat": (265, 37),
    "symlinkat": (266, 36), "readlinkat": (267, 78), "faccessat": (269, 48), "faccessat2": (439, 439),
    "fchmod": (91, 52), "fchmodat": (268, 53), "utimensat": (280, 88), "statfs": (137, 43), "fstatfs": (138, 44),
    "umask": (95, 166), "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50), "sendfile": (40, 71),
    "copy_file_range": (326, 285), "dup": (32, 23), "dup3": (292, 24), "fcntl": (72, 25), "pipe2": (293, 59),
    "ppoll": (271, 73), "pselect6": (270, 72), "epoll_create1": (291, 20), "epoll_ctl": (233, 21),
    "epoll_pwait": (281, 22), "epoll_pwait2": (441, 441), "eventfd2": (290, 19), "recvfrom": (45, 207),
    "shutdown": (48, 210), "getsockname": (51, 204), "getpeername": (52, 205), "getsockopt": (55, 209),
    "setsockopt": (54, 208), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133), "sigaltstack": (131, 132),
    "tgkill": (234, 131), "getitimer": (36, 102), "setitimer": (38, 103), "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114), "gettimeofday": (96, 169),
    "times": (100, 153), "getrusage": (98, 165), "sysinfo": (99, 179), "uname": (63, 160), "getrandom": (318, 278),
    "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174), "geteuid": (107, 175),
    "getgid": (104, 176), "getegid": (108, 177), "getgroups": (115, 158), "getresuid": (118, 148),
    "getresgid": (120, 150), "getpgid": (121, 155), "getsid": (124, 156), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "getcpu": (309, 168), "restart_syscall": (219, 128), "rseq": (334, 293),
    "set_tid_address": (218, 96), "set_robust_list": (273, 99), "get_robust_list": (274, 100), "exit": (60, 93),
    "exit_group": (231, 94),
    # The older forms, which the C library on x86-64 still uses.
    "open": (2, None), "stat": (4, None), "lstat": (6, None), "access": (21, None), "poll": (7, None),
    "select": (23, None), "pipe": (22, None), "dup2": (33, None), "getdents": (78, None), "unlink": (87, None),
    "mkdir": (83, None), "rmdir": (84, None), "rename": (82, None), "link": (86, None), "symlink": (88, None),
    "readlink": (89, None), "chmod": (90, None), "utimes": (235, None), "time": (201, None), "alarm": (37, None),
    "pause": (34, None), "epoll_create": (213, None), "epoll_wait": (232, None), "eventfd": (284, None),
    "getrlimit": (97, 163), "arch_prctl": (158, None), "getpgrp": (111, None),
}
CLONE, CLONE3, SOCKETPAIR, SENDTO, IOCTL, PRLIMIT = "clone", "clone3", "socketpair", "sendto", "ioctl", "prlimit64"
CHECKED: dict[str, tuple[int, int]] = {
    CLONE: (56, 220), CLONE3: (435, 435), SOCKETPAIR: (53, 199), SENDTO: (44, 206), IOCTL: (16, 29),
    PRLIMIT: (302, 261),
}
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
COLUMN = {"x86_64": 0, "aarch64": 1}
X32_BIT = 0x40000000  # a second numbering of the same calls, with which a filter could be passed by

CLONE_THREAD = 0x00010000
AF_UNIX = 1
# FIONCLEX, FIOCLEX, FIONBIO, FIONREAD, TCGETS: what Python asks of a file that it opens.
HARMLESS_IOCTLS = (0x5450, 0x5451, 0x5421, 0x541B, 0x5401)

ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS = 1, 38

_LOAD, _EQUAL, _AT_LEAST, _HAS_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in the kernel's struct seccomp_data

Instruction = tuple[int, int, int, int]


def program(machine: str) -> bytes:
    """The filter for `machine`, as `platform.machine()` names it. KeyError for one that has no column above."""
    column = COLUMN[machine]
    steps: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, AUDIT_ARCH[machine]), _answer(KILL_PROCESS), (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        steps += [(_AT_LEAST, 0, 1, X32_BIT), _answer(KILL_PROCESS)]
    for numbers in ALLOWED.values():
        number = numbers[column]
        if number is not None:
            steps += _when(number, [_answer(ALLOW)])
    for name, pair in CHECKED.items():
        steps += _when(pair[column], _CHECKS[name])
    steps.append(_answer(ERRNO | EPERM))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _answer(action: int) -> Instruction:
    return _RETURN, 0, 0, action


def _when(number: int, then: list[Instruction]) -> list[Instruction]:
    """`then`, which ends in an answer, for this call; the next step for any other."""
    return [(_EQUAL, 0, len(then), number), *then]


def _argument(index: int, *, high: bool = False) -> Instruction:
    return _LOAD, 0, 0, _ARGUMENTS + 8 * index + (4 if high else 0)


def _if(test: int, value: int) -> list[Instruction]:
    """Allow where the loaded word passes, else EPERM."""
    return [(test, 0, 1, value), _answer(ALLOW), _answer(ERRNO | EPERM)]


_CHECKS: dict[str, list[Instruction]] = {
    # A thread, never a process. The kernel itself refuses new namespaces for a thread; the high half holds no flags.
    CLONE: [_argument(0), *_if(_HAS_BIT, CLONE_THREAD)],
    # Its flags are behind a pointer, where no filter can look: the C library falls back to clone.
    CLONE3: [_answer(ERRNO | ENOSYS)],
    SOCKETPAIR: [_argument(0), *_if(_EQUAL, AF_UNIX)],
    # On a connected socket only: with an address it would reach others.
    SENDTO: [_argument(4, high=True), (_EQUAL, 1, 0, 0), _answer(ERRNO | EPERM), _argument(4), *_if(_EQUAL, 0)],
    IOCTL: [
        _argument(1),
        *(step for command in HARMLESS_IOCTLS for step in ((_EQUAL, 0, 1, command), _answer(ALLOW))),
        _answer(ERRNO | EPERM),
    ],
    # Its own limits, which it can only lower.
    PRLIMIT: [_argument(0), *_if(_EQUAL, 0)],
}
