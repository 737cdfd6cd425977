"""What a worker gives up before it hears of any program. Runs inside the jail, with the standard library alone.

bubblewrap has already taken the file system, the network and the sight of other processes away. Here go what is left:
room (`own_folder`, `limit`), the user and every capability (`drop_authority`), paths once more (`landlock`) and most
system calls (`filter_calls`). Each lock holds without the others.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Mapping
from typing import Any

WORK = "/work"
OPEN_FILES = 64
THREADS = 16

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 22, 38, 47
SECCOMP_MODE_FILTER, PR_CAP_AMBIENT_CLEAR_ALL = 2, 4
CAPABILITY_VERSION = 0x20080522
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8

# Landlock, landlock(7): system calls, and the rights that each version of it knows.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF, PATH_BENEATH = 444, 445, 446, 1
WRITE_FILE, READ_FILE, READ_DIR, REFER, TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 13, 1 << 14
CHANGE_FOLDER = sum(1 << bit for bit in (4, 5, 7, 8, 12))  # remove folders and files, make folders, files and links
RIGHTS_BITS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many rights a version has; later ones have as many as 5
ALL_NETWORK, ALL_SCOPES = 0b11, 0b11

_libc = ctypes.CDLL(None, use_errno=True)


def lock(setup: Mapping[str, Any]) -> int:
    """Give everything up; returns the version of Landlock that holds, 0 where the kernel has none. OSError if not."""
    own_folder(setup["work_bytes"])
    limit(setup)
    drop_authority(setup["uid"])
    version = landlock()
    filter_calls(setup["filter"])
    return version


def own_folder(size: int) -> None:
    """`WORK`, the only place to write to: in memory, bounded in bytes and in files, gone with the jail."""
    options = f"size={size},nr_inodes=512,mode=1777".encode()
    _call(_libc.mount, b"tmpfs", WORK.encode(), b"tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
    os.chdir(WORK)


def limit(setup: Mapping[str, Any]) -> None:
    memory = setup["memory_bytes"]
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, setup["cpu_seconds"]),
        (resource.RLIMIT_FSIZE, setup["work_bytes"]),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_NPROC, THREADS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        resource.setrlimit(what, (most, most))
    os.nice(setup["nice"])


def drop_authority(uid: int | None) -> None:
    """Become `uid` where that is not yet so, with no group, no capability, and no way to get one."""
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    _call(_libc.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _call(_libc.prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header, none = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    _call(_libc.capset, header, none)


def landlock(work: str = WORK) -> int:
    """Read what the jail holds, write below `work`, execute nothing, bind and connect nowhere.

    Returns the version of Landlock that holds now, 0 where the kernel has none.
    """
    version = _libc.syscall(CREATE_RULESET, None, 0, 1)
    if version < 1:
        return 0
    rights = (1 << RIGHTS_BITS.get(version, 16)) - 1
    handled = (rights, ALL_NETWORK if version >= 4 else 0, ALL_SCOPES if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _call(_libc.syscall, CREATE_RULESET, (ctypes.c_uint64 * 3)(*handled), size, 0)
    read, write = READ_FILE | READ_DIR, WRITE_FILE | CHANGE_FOLDER | REFER | TRUNCATE
    for path, allowed in (("/", read), (work, read | write), ("/dev/null", READ_FILE | WRITE_FILE | TRUNCATE)):
        _allow(ruleset, path, allowed & rights)
    _call(_libc.syscall, RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return int(version)


def filter_calls(program: bytes) -> None:
    """The kernel runs `program` (see `seccomp`) before each system call from now on."""

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))

    _call(_libc.prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Program(len(program) // 8, program)), 0, 0)


def _allow(ruleset: int, path: str, rights: int) -> None:
    class Beneath(ctypes.Structure):
        _pack_ = 1
        _fields_ = (("rights", ctypes.c_uint64), ("descriptor", ctypes.c_int32))

    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    _call(_libc.syscall, ADD_RULE, ruleset, PATH_BENEATH, ctypes.byref(Beneath(rights, descriptor)), 0)
    os.close(descriptor)


def _call(function: Any, *arguments: Any) -> int:
    """Call into C and raise what errno says: a lock that does not hold must not go unnoticed."""
    result = function(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        name = getattr(function, "__name__", "a call")
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return int(result)
