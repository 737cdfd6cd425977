"""Which stretches of a calendar are meetings: recurring, moved, cancelled, declined, all-day and free ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from metaclaw.errors import CalendarError
from metaclaw.scheduler.agenda import KEPT, Agenda, fetched
from metaclaw.scheduler.calendar import meetings
from metaclaw.scheduler.windows import Span

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
ME, BOSS = "me@example.com", "boss@example.com"
BERLIN = "DTSTART;TZID=Europe/Berlin:{}\nDTEND;TZID=Europe/Berlin:{}\n"


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], str]]:
    """Serves the bytes at the URL that it returns, and 404 for anything else."""
    servers: list[ThreadingHTTPServer] = []

    def start(text: bytes) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == "/mine.ics" else 404)
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}/mine.ics"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def calendar(*events: str, name: str = "") -> bytes:
    head = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//test//EN\n" + (f"X-WR-CALNAME:{name}\n" if name else "")
    body = "".join(
        f"BEGIN:VEVENT\nUID:{number}@test\nDTSTAMP:20260101T000000Z\n{event.strip()}\nEND:VEVENT\n"
        for number, event in enumerate(events)
    )
    return (head + body + "END:VCALENDAR\n").replace("\n", "\r\n").encode()


def event(extra: str = "", start: str = "20260302T100000Z", end: str = "20260302T110000Z") -> str:
    return f"DTSTART:{start}\nDTEND:{end}\nSUMMARY:Review\n{extra}"


def found(text: bytes, days: int = 7, owner: str = ME, zone: str = "UTC") -> list[str]:
    spans = meetings(text, MONDAY, MONDAY + timedelta(days=days), owner, ZoneInfo(zone))
    return [f"{one.start:%d %H:%M}-{one.end:%H:%M}" for one in spans]


def test_a_meeting_is_read_in_its_own_time_zone() -> None:
    assert found(calendar(event())) == ["02 10:00-11:00"]
    assert found(calendar(BERLIN.format("20260302T100000", "20260302T110000"))) == ["02 09:00-10:00"]


def test_a_time_without_a_zone_is_local() -> None:
    floating = event(start="20260302T100000", end="20260302T110000")
    assert found(calendar(floating), zone="America/New_York") == ["02 15:00-16:00"]


def test_a_weekly_meeting_keeps_its_hour_on_the_wall_through_daylight_saving() -> None:
    weekly = BERLIN.format("20260323T100000", "20260323T110000") + "RRULE:FREQ=WEEKLY;COUNT=3"
    assert found(calendar(weekly), days=60) == ["23 09:00-10:00", "30 08:00-09:00", "06 08:00-09:00"]


def test_one_of_a_series_may_be_left_out_moved_or_cancelled() -> None:
    daily = event("RRULE:FREQ=DAILY;COUNT=5\nEXDATE:20260303T100000Z")
    moved = event("RECURRENCE-ID:20260304T100000Z", "20260304T150000Z", "20260304T153000Z")
    gone = event("RECURRENCE-ID:20260305T100000Z\nSTATUS:CANCELLED", "20260305T100000Z", "20260305T110000Z")
    text = calendar(daily, moved, gone).replace(b"UID:1@test", b"UID:0@test").replace(b"UID:2@test", b"UID:0@test")
    assert found(text) == ["02 10:00-11:00", "04 15:00-15:30", "06 10:00-11:00"]


@pytest.mark.parametrize(
    "extra",
    [
        "STATUS:CANCELLED",
        "TRANSP:TRANSPARENT",
        "X-MICROSOFT-CDO-BUSYSTATUS:FREE",
        f"ATTENDEE;PARTSTAT=DECLINED:mailto:{ME}",
        f"ATTENDEE;PARTSTAT=ACCEPTED:mailto:{BOSS}\nATTENDEE;CN=Me;PARTSTAT=declined:MAILTO:Me@Example.com",
    ],
)
def test_what_does_not_take_the_owner_is_none(extra: str) -> None:
    assert found(calendar(event(extra))) == []


@pytest.mark.parametrize("answer", ["ACCEPTED", "TENTATIVE", "NEEDS-ACTION"])
def test_what_others_declined_or_is_not_declined_is_one(answer: str) -> None:
    extra = f"ATTENDEE;PARTSTAT=DECLINED:mailto:{BOSS}\nATTENDEE;PARTSTAT={answer}:mailto:{ME}"
    assert found(calendar(event(extra))) == ["02 10:00-11:00"]


def test_a_calendar_named_by_an_address_is_that_persons() -> None:
    text = calendar(event(f"ATTENDEE;PARTSTAT=DECLINED:mailto:{ME}"), name=ME)
    assert found(text, owner="") == []
    assert found(text, owner=BOSS) == ["02 10:00-11:00"]


def test_all_day_events_are_none() -> None:
    assert found(calendar("DTSTART;VALUE=DATE:20260303\nDTEND;VALUE=DATE:20260304")) == []
    assert found(calendar("DTSTART;VALUE=DATE:20260303\nRRULE:FREQ=DAILY")) == []


def test_an_event_may_tell_its_length_or_have_none() -> None:
    assert found(calendar("DTSTART:20260302T100000Z\nDURATION:PT45M")) == ["02 10:00-10:45"]
    assert found(calendar("DTSTART:20260302T100000Z")) == []


def test_what_overlaps_or_touches_is_one() -> None:
    later = event(start="20260302T110000Z", end="20260302T113000Z")
    assert found(calendar(event(), later, event(start="20260302T101500Z", end="20260302T103000Z"))) == [
        "02 10:00-11:30"
    ]


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"<html>Sign in</html>", b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n"])
def test_what_is_no_calendar_is_refused_or_empty(text: bytes) -> None:
    try:
        assert found(text) == []
    except CalendarError as error:
        assert "cannot be read" in str(error)


async def test_an_agenda_keeps_what_it_knew_for_a_day(tmp_path: Path) -> None:
    file = tmp_path / "mine.ics"
    file.write_bytes(calendar(event(), event(start="20260303T100000Z", end="20260303T110000Z")))
    agenda = Agenda(str(file), ME)
    assert agenda.meetings(MONDAY) == ()
    await agenda.refresh(MONDAY)
    assert [span.start.day for span in agenda.meetings(MONDAY)] == [2, 3]
    assert [span.start.day for span in agenda.meetings(MONDAY + timedelta(hours=12))] == [3]
    file.unlink()
    await agenda.refresh(MONDAY + timedelta(hours=1))
    assert "No such file" in agenda.problem
    assert len(agenda.meetings(MONDAY + timedelta(hours=1))) == 2
    assert agenda.meetings(MONDAY + KEPT + timedelta(seconds=1)) == ()
    file.write_bytes(calendar(event()))
    await agenda.refresh(MONDAY)
    assert agenda.problem == ""
    assert agenda.meetings(MONDAY) == (Span(MONDAY + timedelta(hours=10), MONDAY + timedelta(hours=11)),)


def test_a_calendar_comes_from_a_url(serve: Callable[[bytes], str]) -> None:
    assert fetched(serve(calendar(event()))) == calendar(event())


def test_a_secret_address_is_not_told(serve: Callable[[bytes], str]) -> None:
    secret = serve(b"").replace("/mine.ics", "/secret-0123/none")
    for place in (secret, "http://127.0.0.1:1/secret-0123", "ftp://secret-0123/x", "https://secret-0123 x/"):
        with pytest.raises(CalendarError) as raised:
            fetched(place)
        assert "secret-0123" not in str(raised.value)
