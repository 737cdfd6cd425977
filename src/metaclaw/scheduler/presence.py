"""How long keyboard and mouse have been still: the desktop's D-Bus services and logind, macOS, or Windows.

A source that is missing, never answered in time or never knew says nothing: then the gateway's traffic alone tells
that the user is away.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import logging
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Protocol

log = logging.getLogger(__name__)

CARBON = "ApplicationServices"
HID_STATE, ANY_INPUT = 1, 0xFFFFFFFF  # kCGEventSourceStateHIDSystemState, kCGAnyInputEventType
TICKS = 1 << 32  # GetTickCount and GetLastInputInfo wrap around after 49.7 days


class Presence(Protocol):
    async def idle_seconds(self) -> dict[str, float]:
        """By the name of each source that knows: seconds without input. Empty where none does."""

    async def close(self) -> None: ...


class Native:
    """One call into the system, which returns at once."""

    def __init__(self, name: str, ask: Callable[[], float | None]) -> None:
        self._name = name
        self._ask = ask

    async def idle_seconds(self) -> dict[str, float]:
        idle = self._ask()
        return {} if idle is None else {self._name: idle}

    async def close(self) -> None:
        return None


class Nothing:
    """No source at all."""

    async def idle_seconds(self) -> dict[str, float]:
        return {}

    async def close(self) -> None:
        return None


def presence_here(platform: str = sys.platform) -> Presence:
    """What there is on this machine."""
    if platform == "darwin":
        return _on_macos()
    if platform == "win32":
        return Native("windows", lambda: idle_on_windows(ctypes))
    if platform == "linux" and find_spec("dbus_fast"):
        from metaclaw.scheduler.desktop import Desktop

        return Desktop()
    return Nothing()


def _on_macos() -> Presence:
    try:
        system = ctypes.CDLL(ctypes.util.find_library(CARBON))
        system.CGEventSourceSecondsSinceLastEventType.restype = ctypes.c_double
        system.CGEventSourceSecondsSinceLastEventType.argtypes = (ctypes.c_int32, ctypes.c_uint32)
    except (OSError, AttributeError) as error:
        log.warning("macOS does not tell how long keyboard and mouse were still: %s", error)
        return Nothing()
    return Native("macos", lambda: idle_on_macos(system))


def idle_on_macos(system: Any) -> float | None:
    """Seconds, of whatever input; negative or endless where nobody is logged in at the screen."""
    seconds = float(system.CGEventSourceSecondsSinceLastEventType(HID_STATE, ANY_INPUT))
    return seconds if 0 <= seconds < float("inf") else None


class _LastInput(ctypes.Structure):
    """LASTINPUTINFO."""

    _fields_ = (("size", ctypes.c_uint32), ("ticks", ctypes.c_uint32))


def idle_on_windows(system: Any) -> float | None:
    last = _LastInput(size=ctypes.sizeof(_LastInput))
    if not system.windll.user32.GetLastInputInfo(ctypes.byref(last)):
        return None
    return float((system.windll.kernel32.GetTickCount() - last.ticks) % TICKS) / 1000
