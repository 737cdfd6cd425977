"""Each lock of the jail by itself, in a process that has no other: one must hold where another was forgotten."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the locks are Linux's")


def tried(locks: str, program: str, cwd: Path) -> dict[str, str]:
    """What came of each attempt of `program`, a line each, in a process of its own behind `locks`."""
    script = f"""
import os, resource, socket, sys, threading
from metaclaw.sandbox import jail_locks, seccomp
sys.stdout.flush()
{locks}
def attempt(name, work):
    try:
        work()
        print(name, 'went')
    except BaseException as error:
        print(name, type(error).__name__)
{program}
sys.stdout.flush()
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True)
    assert done.stderr == ""
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="the filter knows no other machine")
def test_the_filter_alone_keeps_programs_and_networks_away(tmp_path: Path) -> None:
    locks = (
        "jail_locks._call(jail_locks._libc.prctl, jail_locks.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)\n"
        f"jail_locks.filter_calls(seccomp.program({platform.machine()!r}))"
    )
    said = tried(locks, """
attempt('socket', socket.socket)
attempt('pair', socket.socketpair)
attempt('fork', os.fork)
attempt('exec', lambda: os.execv('/bin/true', ['true']))
attempt('kill', lambda: os.kill(os.getpid(), 0))
attempt('setuid', lambda: os.setuid(0))
attempt('thread', lambda: threading.Thread(target=int).start())
attempt('file', lambda: open('file', 'w').close())
""", tmp_path)
    refused = dict.fromkeys(("socket", "fork", "exec", "kill", "setuid"), "PermissionError")
    assert said == {**refused, "pair": "went", "thread": "went", "file": "went"}


def test_landlock_alone_keeps_files_and_programs_away(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    locks = (
        "jail_locks._call(jail_locks._libc.prctl, jail_locks.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)\n"
        "version = jail_locks.landlock('own')\nprint('version', version)"
    )
    said = tried(locks, """
attempt('inside', lambda: open('own/file', 'w').close())
attempt('outside', lambda: open('file', 'w').close())
attempt('folder', lambda: os.mkdir('folder'))
attempt('remove', lambda: os.rmdir('own'))
attempt('device', lambda: open('/dev/null', 'w').close())
attempt('exec', lambda: os.execv('/bin/true', ['true']))
""", tmp_path)
    if said.pop("version") == "0":
        pytest.skip("this kernel has no Landlock")
    refused = dict.fromkeys(("outside", "folder", "remove", "exec"), "PermissionError")
    assert said == {**refused, "inside": "went", "device": "went"}


def test_the_limits_alone_bound_memory_files_and_descriptors(tmp_path: Path) -> None:
    setup = {"memory_bytes": 200 << 20, "cpu_seconds": 5, "work_bytes": 1 << 20, "nice": 1}
    said = tried(f"jail_locks.limit({setup!r})", """
attempt('memory', lambda: bytearray(300 << 20))
attempt('small', lambda: bytearray(10 << 20))
attempt('file', lambda: open('file', 'wb').write(bytes(2 << 20)))
attempt('descriptors', lambda: [os.dup(1) for _ in range(100)])
""", tmp_path)
    assert said == {"memory": "MemoryError", "small": "went", "file": "OSError", "descriptors": "OSError"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to drop")
def test_dropped_authority_does_not_come_back(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    said = tried("jail_locks.drop_authority(64123)", """
print('uid', os.getuid())
print('groups', len(os.getgroups()))
attempt('setuid', lambda: os.setuid(0))
attempt('groups_back', lambda: os.setgroups([0]))
attempt('chroot', lambda: os.chroot('/'))
attempt('raise', lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 21)))
attempt('write', lambda: open('file', 'w').close())
attempt('shadow', lambda: open('/etc/shadow').close())
""", tmp_path)
    assert (said.pop("uid"), said.pop("groups")) == ("64123", "0")
    assert set(said.values()) <= {"PermissionError", "ValueError"}
    assert len(said) == 6
