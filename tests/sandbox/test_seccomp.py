"""The jail's filter, run by an interpreter of the kernel's BPF: what it answers to each call."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from metaclaw.sandbox.seccomp import (
    ALLOW,
    ALLOWED,
    AUDIT_ARCH,
    CHECKED,
    COLUMN,
    ENOSYS,
    EPERM,
    ERRNO,
    KILL_PROCESS,
    X32_BIT,
    program,
)

REFUSED = ERRNO | EPERM
MACHINES = sorted(AUDIT_ARCH)
# x86-64, arm64
FORBIDDEN = {
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None), "unshare": (272, 97),
    "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "mount_setattr": (442, 442),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "sendmsg": (46, 211), "recvmsg": (47, 212), "kill": (62, 129),
    "tkill": (200, 130), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "setuid": (105, 146), "setgid": (106, 144), "setresuid": (117, 147),
    "setgroups": (116, 159), "capset": (126, 91), "prctl": (157, 167), "seccomp": (317, 277),
    "setrlimit": (160, 164), "init_module": (175, 105), "finit_module": (313, 273), "kexec_load": (246, 104),
    "reboot": (169, 142), "swapon": (167, 224), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "mknodat": (259, 33), "personality": (135, 92), "quotactl": (179, 60), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "sethostname": (170, 161), "iopl": (172, None),
    "modify_ldt": (154, None), "mlock": (149, 228), "mbind": (237, 235), "vmsplice": (278, 75),
    "fanotify_init": (300, 262), "inotify_init1": (294, 26), "acct": (163, 89), "chown": (92, None),
    "fchownat": (260, 54), "setpriority": (141, 140),
}


def answer(machine: str, number: int, *arguments: int, arch: int | None = None) -> int:
    """What the kernel would do: `program` run over its struct seccomp_data."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<iIQ6Q", number, AUDIT_ARCH[machine] if arch is None else arch, 0, *padded)
    steps = list(struct.iter_unpack("=HBBI", program(machine)))
    at = accumulator = 0
    while True:
        code, on_true, on_false, value = steps[at]
        at += 1
        if code == 0x06:
            return int(value)
        if code == 0x20:
            accumulator = struct.unpack_from("<I", data, value)[0]
        else:
            passes = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            at += on_true if passes else on_false


def number_of(machine: str, name: str) -> int:
    number = {**ALLOWED, **CHECKED, **FORBIDDEN}[name][COLUMN[machine]]
    assert number is not None
    return number


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_named_is_allowed(machine: str) -> None:
    numbers = [pair[COLUMN[machine]] for pair in ALLOWED.values()]
    assert {answer(machine, number) for number in numbers if number is not None} == {ALLOW}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_every_way_out_is_refused(machine: str, name: str) -> None:
    number = FORBIDDEN[name][COLUMN[machine]]
    if number is not None:
        assert answer(machine, number) == REFUSED


@pytest.mark.parametrize("machine", MACHINES)
def test_a_call_that_nobody_knows_yet_is_refused(machine: str) -> None:
    assert answer(machine, 700) == REFUSED


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_in_another_numbering_end_the_process(machine: str) -> None:
    read = number_of(machine, "read")
    assert answer(machine, read, arch=0x40000003) == KILL_PROCESS
    if machine == "x86_64":
        assert answer(machine, X32_BIT | read) == KILL_PROCESS


@pytest.mark.parametrize("machine", MACHINES)
def test_threads_start_and_processes_do_not(machine: str) -> None:
    thread, process, user_namespace = 0x3D0F00, 0x01200011, 0x10000011
    clone = number_of(machine, "clone")
    assert answer(machine, clone, thread) == ALLOW
    assert answer(machine, clone, process) == answer(machine, clone, user_namespace) == REFUSED
    assert answer(machine, number_of(machine, "clone3")) == ERRNO | ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_sockets_reach_their_own_pair_only(machine: str) -> None:
    pair, sendto = number_of(machine, "socketpair"), number_of(machine, "sendto")
    assert answer(machine, pair, 1, 1) == ALLOW
    assert answer(machine, pair, 2, 1) == answer(machine, pair, 16, 3) == REFUSED
    assert answer(machine, sendto, 4, 0xBEEF, 1, 0, 0) == ALLOW
    assert answer(machine, sendto, 4, 0xBEEF, 1, 0, 0x7F00_0000_0000) == REFUSED
    assert answer(machine, sendto, 4, 0xBEEF, 1, 0, 0xDEAD) == REFUSED


@pytest.mark.parametrize("machine", MACHINES)
def test_terminals_and_other_processes_limits_are_out_of_reach(machine: str) -> None:
    ioctl, limit = number_of(machine, "ioctl"), number_of(machine, "prlimit64")
    assert answer(machine, ioctl, 0, 0x5401) == ALLOW
    assert answer(machine, ioctl, 0, 0x5412) == REFUSED  # TIOCSTI types into the terminal
    assert answer(machine, limit, 0, 7) == ALLOW
    assert answer(machine, limit, 4242, 7) == REFUSED


def test_no_number_is_named_twice() -> None:
    for column in COLUMN.values():
        named = {name: pair[column] for table in (ALLOWED, CHECKED) for name, pair in table.items()}
        numbers = [number for number in named.values() if number is not None]
        assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize(
    ("machine", "header"),
    [("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "/usr/include/asm-generic/unistd.h")],
)
def test_the_numbers_are_the_kernels_own(machine: str, header: str) -> None:
    if not Path(header).exists():
        pytest.skip(f"there is no {header} here to compare with")
    found = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)\s*$", Path(header).read_text(), re.MULTILINE)
    kernel = {"newfstatat" if name == "fstatat" else name: int(number) for name, number in found}
    ours = {**ALLOWED, **CHECKED, **FORBIDDEN}
    numbers = {name: pair[COLUMN[machine]] for name, pair in ours.items() if name in kernel}
    assert {name for name, number in numbers.items() if number not in (None, kernel[name])} == set()
    assert len(numbers) > 150
