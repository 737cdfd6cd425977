"""How long keyboard and mouse were still: on a real bus with services of ours, and from what other systems answer."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from metaclaw.scheduler.presence import Native, Nothing, idle_on_macos, idle_on_windows, presence_here

if sys.platform != "linux":
    pytest.skip("D-Bus is looked at on Linux only", allow_module_level=True)

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from metaclaw.scheduler.desktop import Desktop, Session, least_idle

NOW = 1_000_000.0


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A bus of our own."""
    daemon = shutil.which("dbus-daemon")
    if daemon is None:
        pytest.skip("needs dbus-daemon")
    with subprocess.Popen(
        [daemon, "--session", f"--address=unix:path={tmp_path}/bus", "--print-address", "--nofork", "--nopidfile"],
        stdout=subprocess.PIPE, text=True,
    ) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.terminate()


class Service:
    """Answers calls by their member, or not at all."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, list[Any]]] = {}
        self.calls: list[str] = []
        self.silent = False
        self._buses: list[MessageBus] = []

    async def own(self, address: str, *names: str) -> None:
        bus = await MessageBus(address).connect()
        bus.add_message_handler(self._answer)
        for name in names:
            await bus.request_name(name)
        self._buses.append(bus)

    def _answer(self, message: Message) -> Message | bool | None:
        if message.message_type is not MessageType.METHOD_CALL or message.path == "/org/freedesktop/DBus":
            return None
        self.calls.append(message.member or "")
        if self.silent:
            return True
        key = f"{message.path} {message.member}" if message.member == "GetAll" else message.member or ""
        if key not in self.answers:
            return Message.new_error(message, "org.freedesktop.DBus.Error.UnknownMethod", "no")
        return Message.new_method_return(message, *self.answers[key])

    def close(self) -> None:
        for bus in self._buses:
            bus.disconnect()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    one = Service()
    yield one
    one.close()


async def asked(desktop: Desktop) -> dict[str, float]:
    try:
        return await desktop.idle_seconds()
    finally:
        await desktop.close()


async def test_gnome_tells_milliseconds(address: str, service: Service) -> None:
    await service.own(address, "org.gnome.Mutter.IdleMonitor")
    service.answers["GetIdletime"] = ("t", [90_500])
    assert await asked(Desktop((address, address))) == {"gnome": 90.5}


async def test_a_screensaver_tells_milliseconds(address: str, service: Service) -> None:
    await service.own(address, "org.freedesktop.ScreenSaver")
    service.answers["GetSessionIdleTime"] = ("u", [4_000])
    assert await asked(Desktop((address, address))) == {"screensaver": 4.0}


async def test_one_that_does_not_know_tells_whether_the_screen_is_off(address: str, service: Service) -> None:
    await service.own(address, "org.freedesktop.ScreenSaver")
    desktop = Desktop((address, address))
    service.answers |= {"GetSessionIdleTime": ("u", [0]), "GetActive": ("b", [False]), "GetActiveTime": ("u", [70])}
    assert await desktop.idle_seconds() == {}  # on all the time: that tells nothing
    service.answers["GetActive"] = ("b", [True])
    assert await desktop.idle_seconds() == {"screensaver": 70.0}
    service.answers["GetActive"] = ("b", [False])
    assert await desktop.idle_seconds() == {"screensaver": 0.0}  # somebody woke it
    assert await asked(desktop) == {}


async def test_logind_tells_of_our_own_sessions(address: str, service: Service) -> None:
    await service.own(address, "org.freedesktop.login1")
    sessions = [["1", 7, "me", "", "/s/1"], ["2", 7, "me", "", "/s/2"], ["3", 8, "other", "", "/s/3"]]
    service.answers["ListSessions"] = ("a(susso)", [sessions])
    service.answers["/s/1 GetAll"] = ("a{sv}", [session("tty", idle=True, since=NOW - 400)])
    service.answers["/s/2 GetAll"] = ("a{sv}", [session("tty", idle=False, since=NOW - 30) | {
        "Class": Variant("s", "manager")
    }])
    service.answers["/s/3 GetAll"] = ("a{sv}", [session("tty", idle=False, since=NOW - 1)])
    assert await asked(Desktop((address, address), uid=7, now=lambda: NOW)) == {"logind": 400.0}


def session(kind: str, *, idle: bool, since: float) -> dict[str, Variant]:
    return {
        "Class": Variant("s", "user"), "State": Variant("s", "active"), "Type": Variant("s", kind),
        "IdleHint": Variant("b", idle), "IdleSinceHint": Variant("t", int(since * 1e6)),
    }


def test_a_desktop_that_never_called_itself_idle_tells_nothing() -> None:
    since = int((NOW - 100) * 1e6)
    assert least_idle([], NOW) is None
    assert least_idle([Session("wayland", False, 0)], NOW) is None
    assert least_idle([Session("wayland", False, since)], NOW) == 0
    assert least_idle([Session("x11", True, since), Session("tty", False, since - 50_000_000)], NOW) == 100


async def test_no_service_and_no_bus_tell_nothing(address: str, tmp_path: Path) -> None:
    assert await asked(Desktop((address, address))) == {}
    nowhere = f"unix:path={tmp_path}/none"
    assert await asked(Desktop((nowhere, nowhere))) == {}


async def test_an_answer_of_another_shape_is_none_and_is_not_asked_for_again(address: str, service: Service) -> None:
    await service.own(address, "org.gnome.Mutter.IdleMonitor")
    service.answers["GetIdletime"] = ("s", ["long"])
    desktop = Desktop((address, address))
    assert await desktop.idle_seconds() == {}
    assert await asked(desktop) == {}
    assert service.calls == ["GetIdletime"]


async def test_one_that_told_before_and_is_slow_counts_as_input_and_is_asked_again(
    address: str, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.own(address, "org.gnome.Mutter.IdleMonitor")
    service.answers["GetIdletime"] = ("t", [90_500])
    service.silent = True
    assert await asked(Desktop((address, address))) == {}  # it never told
    desktop = Desktop((address, address))
    for silent, idle in ((False, 90.5), (True, 0.0), (True, 0.0), (False, 90.5)):
        service.silent = silent
        assert await desktop.idle_seconds() == {"gnome": idle}
    service.silent = True
    monkeypatch.setattr("metaclaw.scheduler.desktop.RETRY_SECONDS", 0.1)
    assert await asked(desktop) == {}  # for so long that it counts as gone


class FakeWindows:
    """The two calls, with a tick counter that wraps around."""

    def __init__(self, now: int, last: int, known: bool = True) -> None:
        self._now, self._last, self._known = now, last, known
        self.windll = self.user32 = self.kernel32 = self

    def GetLastInputInfo(self, info: Any) -> bool:  # noqa: N802 - the system's name
        found = ctypes.cast(info, ctypes.POINTER(ctypes.c_uint32))
        assert found[0] == 8
        found[1] = self._last
        return self._known

    def GetTickCount(self) -> int:  # noqa: N802 - the system's name
        return self._now


def test_windows_counts_ticks_that_wrap_around() -> None:
    assert idle_on_windows(FakeWindows(61_000, 1_000)) == 60.0
    assert idle_on_windows(FakeWindows(5_000, (1 << 32) - 5_000)) == 10.0
    assert idle_on_windows(FakeWindows(0, 0, known=False)) is None


class FakeMac:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def CGEventSourceSecondsSinceLastEventType(self, state: int, kind: int) -> float:  # noqa: N802 - the system's name
        assert (state, kind) == (1, 0xFFFFFFFF)
        return self._seconds


async def test_macos_tells_seconds_or_nothing() -> None:
    assert idle_on_macos(FakeMac(12.5)) == 12.5
    assert idle_on_macos(FakeMac(-1.0)) is None
    assert idle_on_macos(FakeMac(float("inf"))) is None
    assert await Native("macos", lambda: None).idle_seconds() == {}


async def test_each_system_has_its_source_and_others_none() -> None:
    assert isinstance(presence_here("linux"), Desktop)
    assert isinstance(presence_here("plan9"), Nothing)
    assert isinstance(presence_here("darwin"), Nothing)  # there is no such library here
    assert await presence_here("plan9").idle_seconds() == {}
