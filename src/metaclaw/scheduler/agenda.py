"""The calendar, kept fresh: a file or a URL is read every quarter of an hour, off the event loop.

A read that fails leaves what was known for a day: a network that is down is no reason to forget a meeting. A secret
URL is never logged.
"""

from __future__ import annotations

import asyncio
import logging
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from http.client import HTTPException
from pathlib import Path

from metaclaw.errors import CalendarError
from metaclaw.scheduler.windows import Span

log = logging.getLogger(__name__)

FRESH = timedelta(minutes=15)
KEPT = timedelta(days=1)
AHEAD = timedelta(days=8)
MOST_BYTES = 20_000_000
FETCH_SECONDS = 20.0

Meetings = Callable[[bytes, datetime, datetime, str, tzinfo | None], list[Span]]


class Agenda:
    """`meetings` may be called at any time, and waits for nothing; `run` does the reading."""

    def __init__(self, place: str, owner: str = "", zone: tzinfo | None = None) -> None:
        self._place = place
        self._owner = owner
        self._zone = zone
        self._spans: tuple[Span, ...] = ()
        self._read_at: datetime | None = None
        self.problem = ""

    def meetings(self, now: datetime) -> tuple[Span, ...]:
        """Those that may still matter; none when what is known is too old."""
        if self._read_at is None or now - self._read_at > KEPT:
            return ()
        return tuple(span for span in self._spans if span.end > now)

    async def run(self) -> None:
        """Read now and then, until cancelled."""
        while True:
            await self.refresh(datetime.now(UTC))
            await asyncio.sleep(FRESH.total_seconds())

    async def refresh(self, now: datetime) -> None:
        """Read once. What goes wrong is in `problem`, and logged once."""
        try:
            self._spans = tuple(await asyncio.to_thread(self._load, now))
            self._read_at, problem = now, ""
        except CalendarError as error:
            problem = str(error)
        if problem and problem != self.problem:
            log.warning("no calendar: %s", problem)
        self.problem = problem

    def _load(self, now: datetime) -> list[Span]:
        try:
            from metaclaw.scheduler.calendar import meetings
        except ImportError as error:
            raise CalendarError("Install it with pip install 'metaclaw[calendar]'.") from error
        return meetings(fetched(self._place), now - timedelta(days=1), now + AHEAD, self._owner, self._zone)


def fetched(place: str) -> bytes:
    """The bytes of a file or of a URL (http, https, webcal). Raises `CalendarError`, which does not tell the place."""
    scheme, colon, rest = place.partition("://")
    try:
        if not colon:
            with Path(place).expanduser().open("rb") as file:
                found = file.read(MOST_BYTES + 1)
        elif scheme.lower() in ("http", "https", "webcal"):
            url = f"https://{rest}" if scheme.lower() == "webcal" else place
            with urllib.request.urlopen(url, timeout=FETCH_SECONDS) as reply:  # noqa: S310 - http and https alone
                found = reply.read(MOST_BYTES + 1)
        else:
            raise CalendarError(f"schedule.calendar: not a file, nor an http, https or webcal URL, but '{scheme}'.")
    except urllib.error.HTTPError as error:
        raise CalendarError(f"The calendar's server said {error.code}. Is the address still right?") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise CalendarError(f"The calendar could not be fetched: {reason}.") from None
    if len(found) > MOST_BYTES:
        raise CalendarError(f"The calendar is larger than {MOST_BYTES:,} bytes.")
    return bytes(found)
