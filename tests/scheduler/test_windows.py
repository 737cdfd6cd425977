"""Is the user away? Idle long enough, or less in the sleep hours; never while a request is under way."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.errors import ConfigError
from metaclaw.scheduler.windows import Activity, Rule, Senses, SleepHours, Span, Window, after_step, upcoming, window

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
NIGHT = datetime(2026, 3, 4, 2, tzinfo=UTC)
IDLE, QUIET = 900.0, 60.0
SLEEP = SleepHours(time(23), time(7))
MINUTES = st.integers(0, 24 * 60 - 1)


def at(minute: int) -> time:
    return time(minute // 60, minute % 60)


def after(quiet_seconds: float, now: datetime = NOON, under_way: int = 0, sleep: SleepHours | None = SLEEP) -> Window:
    activity = Activity(under_way, now - timedelta(seconds=quiet_seconds))
    return window(now, activity, Senses(), Rule(IDLE, sleep, QUIET, zone=UTC))


def test_it_opens_when_it_has_been_quiet_for_long_enough() -> None:
    assert after(899) == Window(False, "quiet for 899 of 900 s")
    assert after(900) == Window(True, "idle")


def test_less_quiet_is_enough_in_the_sleep_hours() -> None:
    assert after(59, NIGHT) == Window(False, "quiet for 59 of 60 s")
    assert after(60, NIGHT) == Window(True, "sleep hours")
    assert after(900, NIGHT) == Window(True, "idle")
    assert not after(60, NIGHT, sleep=None).open


def test_a_request_under_way_closes_it_however_long_it_takes() -> None:
    assert after(100_000, NIGHT, under_way=2) == Window(False, "2 requests under way")


def test_a_clock_that_was_set_back_is_not_quiet() -> None:
    assert after(-3_600) == Window(False, "quiet for 0 of 900 s")


@given(st.floats(0, 10_000), st.booleans(), st.integers(0, 3))
def test_more_quiet_never_closes_it(quiet: float, asleep: bool, under_way: int) -> None:
    now = NIGHT if asleep else NOON
    if after(quiet, now, under_way).open:
        assert after(quiet + 1, now, under_way).open
        assert under_way == 0


@given(MINUTES, MINUTES, MINUTES)
def test_sleep_hours_run_from_start_to_end_around_the_clock(start: int, end: int, now: int) -> None:
    inside = (now - start) % (24 * 60) < (end - start) % (24 * 60)
    moment = datetime.combine(NOON.date(), at(now), UTC)
    assert SleepHours(at(start), at(end)).contain(moment) is inside


@given(MINUTES, MINUTES)
def test_sleep_hours_are_read_as_people_write_them(start: int, end: int) -> None:
    assert SleepHours.parse(f" {at(start):%H:%M} - {at(end):%H:%M}") == SleepHours(at(start), at(end))


def test_no_sleep_hours_and_none_that_can_be_read() -> None:
    assert SleepHours.parse("  ") is None
    for text in ("23:00", "25:00-07:00", "at night", "1-2-3"):
        with pytest.raises(ConfigError, match="23:00-07:00"):
            SleepHours.parse(text)


BERLIN = Rule(IDLE, SLEEP, QUIET, zone=ZoneInfo("Europe/Berlin"), min_seconds=600, on_battery=False, max_load=0.5)
LONG_AGO = Activity(0, NOON - timedelta(days=200))


def quiet_for(seconds: float, now: datetime) -> Activity:
    return Activity(0, now - timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("day", "hours"),
    [((2026, 3, 27), 8), ((2026, 3, 28), 7), ((2026, 10, 24), 9)],  # clocks go forward, and back, on the last two
)
def test_a_night_is_shorter_or_longer_when_the_clocks_change(day: tuple[int, int, int], hours: int) -> None:
    evening = datetime(*day, 18, tzinfo=UTC)
    [night, *_] = upcoming(evening, (), BERLIN, days=2)
    assert night[1] == "sleep hours"
    assert night[0].end - night[0].start == timedelta(hours=hours)
    assert night[0].end.astimezone(BERLIN.zone).hour == 7


def test_quiet_is_counted_in_real_seconds_when_the_clocks_go_back() -> None:
    before = datetime(2026, 10, 25, 0, 59, 30, tzinfo=UTC).astimezone(BERLIN.zone)  # 02:59:30, then 02:00 again
    now = (before.astimezone(UTC) + timedelta(seconds=60)).astimezone(BERLIN.zone)
    assert window(now.astimezone(UTC), Activity(0, before), Senses(), BERLIN) == Window(True, "sleep hours")


def test_sleep_hours_are_those_of_the_zone() -> None:
    now = datetime(2026, 3, 4, 5, 30, tzinfo=UTC)  # 06:30 in Berlin, 14:30 in Tokyo
    assert window(now, quiet_for(60, now), Senses(), BERLIN).open
    assert not window(now, quiet_for(60, now), Senses(), replace(BERLIN, zone=ZoneInfo("Asia/Tokyo"))).open


def test_a_meeting_is_a_window_that_must_be_long_enough_to_start_in() -> None:
    senses = Senses(meetings=(Span(NOON, NOON + timedelta(minutes=30)),))
    late = NOON + timedelta(minutes=21)
    assert window(NOON, quiet_for(60, NOON), senses, BERLIN) == Window(True, "meeting")
    assert window(late, quiet_for(60, late), senses, BERLIN) == Window(False, "meeting end in less than 10 minutes")
    assert window(late, quiet_for(60, late), senses, BERLIN, going=True).open
    assert window(late, quiet_for(900, late), senses, BERLIN) == Window(True, "idle")
    after = NOON + timedelta(minutes=30)
    assert not window(after, quiet_for(60, after), senses, BERLIN, going=True).open


def test_a_meeting_that_runs_into_the_night_is_long_enough() -> None:
    now = datetime(2026, 3, 4, 21, 55, tzinfo=UTC)  # 22:55 in Berlin
    senses = Senses(meetings=(Span(now, now + timedelta(minutes=5)),))
    assert window(now, quiet_for(60, now), senses, BERLIN).open


def test_keyboard_and_mouse_count_as_the_user() -> None:
    touched = Senses(last_input=NOON - timedelta(seconds=3))
    assert window(NOON, LONG_AGO, touched, BERLIN, going=True) == Window(False, "quiet for 3 of 900 s")
    assert window(NOON, LONG_AGO, Senses(last_input=NOON - timedelta(seconds=900)), BERLIN).open


def test_battery_and_load_close_it() -> None:
    assert window(NOON, LONG_AGO, Senses(on_battery=True), BERLIN) == Window(False, "on battery")
    assert window(NOON, LONG_AGO, Senses(on_battery=True), replace(BERLIN, on_battery=True)).open
    assert not window(NOON, LONG_AGO, Senses(load=0.6), BERLIN).open
    assert window(NOON, LONG_AGO, Senses(load=0.6), BERLIN, going=True).open
    assert not window(NOON, LONG_AGO, Senses(load=0.8), BERLIN, going=True).open


def test_what_was_asked_for_waits_for_requests_alone() -> None:
    busy = Senses(last_input=NOON, on_battery=True, load=1.0)
    assert window(NOON, quiet_for(2, NOON), busy, BERLIN, asked=True) == Window(True, "asked for")
    assert not window(NOON, quiet_for(1, NOON), busy, BERLIN, asked=True).open
    assert not window(NOON, Activity(1, NOON), busy, BERLIN, asked=True).open


def test_a_machine_that_slept_was_woken_by_somebody() -> None:
    woken = NOON + timedelta(hours=8)
    assert after_step(LONG_AGO, NOON, woken) == Activity(0, woken)
    assert after_step(LONG_AGO, NOON, NOON + timedelta(seconds=1)) == LONG_AGO
