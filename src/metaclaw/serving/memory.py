"""How much memory this process may still use, and how much another one takes: Linux's /proc and control groups.

In: nothing but the files of the kernel. Out: bytes, or None where the machine does not tell, as on macOS: then nothing
is refused for want of memory. The nearest limit counts: the machine's, or that of a control group around us.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

NO_LIMIT_BYTES = 1 << 60  # how control groups of the first version write "none", more or less
MIB = 1 << 20


class Memory:
    """`proc` and `groups` are where the kernel shows itself."""

    def __init__(self, proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> None:
        self._proc = proc
        self._groups = groups

    def available_bytes(self) -> int | None:
        """What can be taken before something is pushed out or killed."""
        machine = _field(_read(self._proc / "meminfo"), "MemAvailable:")
        if machine is None:
            return None
        return max(0, min([machine, *self._left_in_groups()]))

    def peak_bytes(self, pid: int) -> int | None:
        """The most that a process has held at once."""
        return _field(_read(self._proc / str(pid) / "status"), "VmHWM:")

    def resident_bytes(self, pid: int) -> int | None:
        return _field(_read(self._proc / str(pid) / "status"), "VmRSS:")

    def _left_in_groups(self) -> Iterator[int]:
        """What each control group around us has left. Pages of files that are not in use count as left."""
        for line in _read(self._proc / "self" / "cgroup").splitlines():
            number, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if number == "0":
                root, names = self._groups, ("memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                root = self._groups / "memory"
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            else:
                continue
            group = root / path.strip("/")
            for folder in (group, *(parent for parent in group.parents if parent == root or root in parent.parents)):
                if (left := _left(folder, *names)) is not None:
                    yield left


def _left(folder: Path, limit_name: str, usage_name: str, spare_name: str) -> int | None:
    limit, usage = _number(_read(folder / limit_name)), _number(_read(folder / usage_name))
    if limit is None or usage is None or limit >= NO_LIMIT_BYTES:
        return None
    stat = dict(line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines() if " " in line)
    return limit - usage + (_number(stat.get(spare_name, "")) or 0)


def _field(text: str, name: str) -> int | None:
    """A line such as `MemAvailable:   123 kB`, in bytes."""
    for line in text.splitlines():
        if line.startswith(name):
            kib = _number(line.removeprefix(name).removesuffix("kB"))
            return None if kib is None else kib * 1024
    return None


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:  # another system, another version, a process that has ended
        return ""
