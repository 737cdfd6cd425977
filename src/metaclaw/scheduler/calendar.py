"""The meetings in an iCalendar text (RFC 5545). Pure: text and a stretch of time come in, spans go out.

A meeting is an event with a time that takes place, that its owner is busy for, and did not decline. Recurring events
are expanded by `recurring-ical-events`, changed and cancelled instances included. All-day events are none: birthdays,
holidays and travel days do not say that nobody sits at the machine. The libraries are an extra (`calendar`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

import icalendar
import recurring_ical_events

from metaclaw.errors import CalendarError
from metaclaw.scheduler.windows import Span

NOT_BUSY = {"FREE", "WORKINGELSEWHERE"}  # Outlook's own word beside TRANSP
NOT_GOING = {"DECLINED", "DELEGATED"}


def meetings(text: bytes, start: datetime, end: datetime, owner: str = "", zone: tzinfo | None = None) -> list[Span]:
    """What of the calendar lies between the two instants, in order; what overlaps or touches is one.

    `owner` is the address of the person whose calendar it is; without it, a calendar that is named by an address is
    that person's. Times without a zone are in `zone`, or the machine's own. Raises `CalendarError`.
    """
    try:
        calendars = icalendar.Calendar.from_ical(text, multiple=True)
        found = [span for one in calendars for span in _spans(one, start, end, owner, zone)]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise CalendarError(f"The calendar cannot be read: {type(error).__name__}: {error}") from error
    return merged(found)


def merged(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in sorted(spans, key=lambda one: one.start):
        if joined and span.start <= joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined


def _spans(calendar: Any, start: datetime, end: datetime, owner: str, zone: tzinfo | None) -> Iterator[Span]:
    me = _address(owner or str(calendar.get("X-WR-CALNAME", "")))
    for event in recurring_ical_events.of(calendar, skip_bad_series=True).between(start, end):
        begins, ends = event.get("DTSTART"), event.get("DTEND")
        if begins is None or ends is None or not isinstance(begins.dt, datetime) or not isinstance(ends.dt, datetime):
            continue
        span = Span(_instant(begins.dt, zone), _instant(ends.dt, zone))
        if span.start < span.end and span.start < end and span.end > start and _takes_the_owner(event, me):
            yield span


def _takes_the_owner(event: Any, me: str) -> bool:
    if _word(event, "STATUS") == "CANCELLED" or _word(event, "TRANSP") == "TRANSPARENT":
        return False
    if _word(event, "X-MICROSOFT-CDO-BUSYSTATUS") in NOT_BUSY:
        return False
    attendees = event.get("ATTENDEE", [])
    listed = attendees if isinstance(attendees, list) else [attendees]
    return not any(_address(str(one)) == me and _answer(one) in NOT_GOING for one in listed)


def _word(event: Any, name: str) -> str:
    return str(event.get(name, "")).upper()


def _answer(attendee: Any) -> str:
    return str(attendee.params.get("PARTSTAT", "")).upper()


def _address(text: str) -> str:
    """In lower case, without the scheme; '' for what is no address, which nobody's is."""
    bare = text.strip().lower().removeprefix("mailto:")
    return bare if "@" in bare else ""


def _instant(moment: datetime, zone: tzinfo | None) -> datetime:
    """A time without a zone is the local one (`astimezone` takes the machine's)."""
    if moment.tzinfo is None and zone is not None:
        moment = moment.replace(tzinfo=zone)
    return moment.astimezone(UTC)
