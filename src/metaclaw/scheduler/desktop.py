"""Keyboard and mouse on Linux, over D-Bus: GNOME's idle monitor, the screen saver of others, and logind.

One connection to each bus, kept; services are asked, never started. What fails is asked again after a while; what told
before and is too slow counts as input until then. The bus library is an extra (`desktop`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from dbus_fast import BusType, Message, MessageFlag, MessageType
from dbus_fast.aio import MessageBus
from dbus_fast.errors import DBusError

log = logging.getLogger(__name__)

ANSWER_SECONDS = 0.3  # all of them are asked at once, and a user's return must be seen within a second
RETRY_SECONDS = 60.0
SYSTEM_BUS = "unix:path=/run/dbus/system_bus_socket"
PROPERTIES = "org.freedesktop.DBus.Properties"


class NoAnswerError(Exception):
    """The service is not there, refused, or was too slow."""


@dataclass(frozen=True, slots=True)
class Session:
    """What logind says of a login session. Times are microseconds since the epoch."""

    kind: str  # x11, wayland, tty, mir or unspecified
    idle: bool
    since: int  # when `idle` changed; of a terminal: the last input. 0: nobody ever said


class Desktop:
    """`addresses` are those of the session's bus and of the system's; `uid` is whose sessions count."""

    def __init__(
        self, addresses: tuple[str, str] | None = None, uid: int | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        session, system = addresses or (_session_bus(), os.environ.get("DBUS_SYSTEM_BUS_ADDRESS", SYSTEM_BUS))
        self._session = _Bus(session, BusType.SESSION)
        self._system = _Bus(system, BusType.SYSTEM)
        self._uid = os.getuid() if uid is None else uid
        self._now = now
        self._told: dict[str, float] = {}  # when a source answered last
        self._muted: dict[str, float] = {}  # until when one that did not answer is left alone
        self._saver_was_on = False

    async def idle_seconds(self) -> dict[str, float]:
        sources = {"gnome": self._gnome, "screensaver": self._screensaver, "logind": self._logind}
        asked = {name: ask for name, ask in sources.items() if self._muted.get(name, 0) <= time.monotonic()}
        found = await asyncio.gather(*(self._one(name, ask) for name, ask in asked.items()))
        return {name: idle for name, idle in zip(asked, found, strict=True) if idle is not None}

    async def close(self) -> None:
        self._session.close()
        self._system.close()

    async def _one(self, name: str, ask: Callable[[], Coroutine[Any, Any, float | None]]) -> float | None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                idle = await ask()  # what comes back may have any shape
            if idle is not None:
                self._told[name] = time.monotonic()
            return idle
        except (NoAnswerError, TimeoutError, ValueError, TypeError, LookupError, AttributeError) as error:
            now = time.monotonic()
            if isinstance(error, TimeoutError) and now - self._told.get(name, -RETRY_SECONDS) < RETRY_SECONDS:
                return 0.0  # one that knows, and is slow just now: the desktop may be waking with its user
            self._muted[name] = now + RETRY_SECONDS
            log.debug("no idle time from %s: %s", name, error)
            return None

    async def _gnome(self) -> float:
        [milliseconds] = await self._session.call(
            "org.gnome.Mutter.IdleMonitor", "/org/gnome/Mutter/IdleMonitor/Core", "org.gnome.Mutter.IdleMonitor",
            "GetIdletime",
        )
        return float(milliseconds) / 1000

    async def _screensaver(self) -> float | None:
        """Idle time where it tells one, in milliseconds as KDE does; else how long the screen has been off."""
        try:
            [milliseconds] = await self._saver("GetSessionIdleTime")
            if milliseconds:  # 0 is what those say who do not know
                return float(milliseconds) / 1000
        except NoAnswerError:
            pass
        [on] = await self._saver("GetActive")
        was_on, self._saver_was_on = self._saver_was_on, bool(on)
        if not on:
            return 0.0 if was_on else None  # somebody woke it; a screen that was on all the time tells nothing
        [seconds] = await self._saver("GetActiveTime")
        return float(seconds)

    async def _saver(self, member: str) -> list[Any]:
        name = "org.freedesktop.ScreenSaver"
        return await self._session.call(name, "/org/freedesktop/ScreenSaver", name, member)

    async def _logind(self) -> float | None:
        manager = "org.freedesktop.login1"
        [sessions] = await self._system.call(
            manager, "/org/freedesktop/login1", f"{manager}.Manager", "ListSessions"
        )
        found = [await self._session_of_logind(one[4]) for one in sessions if one[1] == self._uid]
        return least_idle([one for one in found if one], self._now())

    async def _session_of_logind(self, path: str) -> Session | None:
        service = "org.freedesktop.login1"
        [facts] = await self._system.call(service, path, PROPERTIES, "GetAll", "s", [f"{service}.Session"])
        told = {name: facts[name].value for name in ("Class", "State", "Type", "IdleHint", "IdleSinceHint")}
        if told["Class"] != "user" or told["State"] == "closing":
            return None
        return Session(told["Type"], bool(told["IdleHint"]), int(told["IdleSinceHint"]))


def least_idle(sessions: list[Session], now: float) -> float | None:
    """Seconds since the last input in any of them, as far as they tell. Pure."""
    known = [idle for one in sessions if (idle := _idle(one, now)) is not None]
    return min(known, default=None)


def _idle(session: Session, now: float) -> float | None:
    """A terminal tells its last input; a desktop only since when it has been called idle, if anybody ever did."""
    if not session.since:
        return None
    if session.kind != "tty" and not session.idle:
        return 0.0
    return max(0.0, now - session.since / 1e6)


class _Bus:
    """A connection that is made when it is needed."""

    def __init__(self, address: str, kind: BusType) -> None:
        self._address = address
        self._kind = kind
        self._bus: MessageBus | None = None
        self._connecting = asyncio.Lock()

    async def call(
        self, service: str, path: str, interface: str, member: str, signature: str = "", body: list[Any] | None = None
    ) -> list[Any]:
        """The reply's values. Raises `NoAnswerError`."""
        message = Message(
            destination=service, path=path, interface=interface, member=member, flags=MessageFlag.NO_AUTOSTART,
            signature=signature, body=body or [],
        )
        try:
            reply = await (await self._connected()).call(message)
        except (OSError, EOFError, DBusError, ValueError) as error:
            self.close()
            raise NoAnswerError(f"{self._address}: {error}") from error
        if reply is None or reply.message_type is MessageType.ERROR:
            raise NoAnswerError(f"{member}: {reply.error_name if reply else 'no reply'}")
        return reply.body

    def close(self) -> None:
        if self._bus:
            self._bus.disconnect()
        self._bus = None

    async def _connected(self) -> MessageBus:
        async with self._connecting:
            if self._bus is None or not self._bus.connected:
                bus = MessageBus(self._address, self._kind)
                try:
                    self._bus = await bus.connect()
                except BaseException:  # being cancelled included: a bus that accepts and then says nothing
                    bus.disconnect()
                    raise
            return self._bus


def _session_bus() -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    return os.environ.get("DBUS_SESSION_BUS_ADDRESS", f"unix:path={runtime}/bus")
