"""Is the user away? Idle long enough, or less in the sleep hours; never while a request is under way."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.errors import ConfigError
from metaclaw.scheduler.windows import Activity, Rule, Senses, SleepHours, Window, window

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
