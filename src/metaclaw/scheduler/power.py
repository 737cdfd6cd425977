"""Battery and load, from what the system keeps: sysfs and /proc/stat on Linux, `pmset` on macOS, a call on Windows.

Load is the share of the processors that programs of ordinary priority use. The learner, the trainer and the gate's
engine run at the lowest, which Linux counts apart: so our own work never looks like the user's. macOS and Windows do
not tell it so, and there load is not looked at.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

POWER_SUPPLIES = Path("/sys/class/power_supply")
PROCESSOR_TIMES = Path("/proc/stat")
PMSET = "/usr/bin/pmset"
LOAD_SECONDS = 15.0  # what is averaged over: shorter, and a window would open and close with each compilation


def on_battery(platform: str = sys.platform, supplies: Path = POWER_SUPPLIES) -> bool | None:
    """Whether the machine runs on its battery; None where it has none, or nothing tells."""
    if platform == "linux":
        return _linux_battery(supplies)
    if platform == "darwin":
        return battery_of_pmset(_output_of(PMSET, "-g", "batt"))
    if platform == "win32":
        return battery_of_windows(ctypes)
    return None


def _linux_battery(supplies: Path) -> bool | None:
    """A battery of the machine that discharges, with no mains on line. Those of mice and headsets do not count."""
    facts = [_facts(folder) for folder in supplies.glob("*")] if supplies.is_dir() else []
    batteries = [one for one in facts if one["type"] == "Battery" and one["scope"] != "Device"]
    if not batteries:
        return None
    mains = any(one["type"] in ("Mains", "USB") and one["online"] == "1" for one in facts)
    return not mains and any(one["status"] == "Discharging" for one in batteries)


def _facts(folder: Path) -> dict[str, str]:
    return {name: _text(folder / name) for name in ("type", "scope", "online", "status")}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:  # a supply has some of these files only, and may be unplugged while we look
        return ""


def battery_of_pmset(said: str) -> bool | None:
    """Its first line is "Now drawing from 'Battery Power'", or 'AC Power'; a machine without battery lists none."""
    if "InternalBattery" not in said:
        return None
    return "'Battery Power'" in said.partition("\n")[0]


class _PowerStatus(ctypes.Structure):
    """SYSTEM_POWER_STATUS."""

    _fields_ = (
        ("line", ctypes.c_ubyte), ("flag", ctypes.c_ubyte), ("percent", ctypes.c_ubyte), ("saver", ctypes.c_ubyte),
        ("seconds", ctypes.c_uint32), ("full_seconds", ctypes.c_uint32),
    )


NO_BATTERY, UNKNOWN = 128, 255


def battery_of_windows(system: Any) -> bool | None:
    status = _PowerStatus()
    if not system.windll.kernel32.GetSystemPowerStatus(ctypes.byref(status)):
        return None
    if status.flag == UNKNOWN or status.flag & NO_BATTERY or status.line == UNKNOWN:
        return None
    return bool(status.line == 0)


class Load:
    """The share of the processors that others used of late. `share` is called now and then, with the time."""

    def __init__(self, times: Path = PROCESSOR_TIMES) -> None:
        self._times = times
        self._seen: deque[tuple[float, int, int]] = deque()

    def share(self, now_seconds: float) -> float | None:
        """None where nothing tells, and at the first look."""
        found = processor_times(_text(self._times))
        if found is None:
            return None
        while len(self._seen) > 1 and self._seen[1][0] <= now_seconds - LOAD_SECONDS:
            self._seen.popleft()
        before = self._seen[0] if self._seen else None
        self._seen.append((now_seconds, *found))
        if before is None or found[1] <= before[2]:
            return None
        return (found[0] - before[1]) / (found[1] - before[2])


def processor_times(stat: str) -> tuple[int, int] | None:
    """Ticks that ordinary programs used, and all ticks: from the first line of /proc/stat, see proc(5)."""
    words = stat.partition("\n")[0].split()
    if len(words) < 9 or words[0] != "cpu":
        return None
    user, nice, system, idle, waiting, interrupts, soft, stolen = map(int, words[1:9])
    used = user + system + interrupts + soft + stolen
    return used, used + nice + idle + waiting


def _output_of(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=2, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
