"""The learning curve: what counts in a day, its interval, and the days on which something changed."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest

from metaclaw.dashboard.curve import MOST_DAYS, Share, learning_curve, together, wilson
from metaclaw.dashboard.rooms import Rooms
from metaclaw.signals import ledger
from metaclaw.types import Signal, SkillState, TurnKind
from office_dashboard import opened
from support import keep, make_skill, make_turn

TODAY = datetime(2026, 11, 30, 15, tzinfo=UTC)


@pytest.fixture
async def rooms(tmp_path: Path) -> AsyncIterator[Rooms]:
    async with opened(tmp_path / "new") as office:
        yield dataclasses.replace(office.dashboard._rooms, now=lambda: TODAY)


async def happen(rooms: Rooms, when: datetime, *values: float | None, **changes: Any) -> None:
    """A turn at that time for each value, of which a signal of that value was told; None: nothing was said."""
    for value in values:
        turn = make_turn(created_at=when.timestamp(), **changes)
        await keep(rooms.database, turn)
        if value is not None:
            ledger.record(rooms.database, "default", [Signal(turn.id, "feedback", value, "said")])


async def test_what_nobody_spoke_of_is_a_turn_and_no_success(rooms: Rooms) -> None:
    await happen(rooms, TODAY, 1.0, 0.9, -1.0, None, None)
    await happen(rooms, TODAY, -1.0, kind=TurnKind.SIDE)
    [day] = learning_curve(rooms, UTC)
    assert (day.date, day.turns, day.share) == (date(2026, 11, 30), 5, Share(3, 2))


async def test_days_without_anything_are_there_too(rooms: Rooms) -> None:
    await happen(rooms, datetime(2026, 11, 27, 9, tzinfo=UTC), -1.0, policy="base")
    await happen(rooms, TODAY, 1.0, policy="base")
    days = learning_curve(rooms, UTC)
    assert [(day.date.day, day.share.value) for day in days] == [(27, 0.0), (28, None), (29, None), (30, 1.0)]
    assert [day.switched for day in days] == ["", "", "", ""]
    assert together(days) == Share(2, 1)


async def test_a_day_is_the_walls_also_where_the_clock_changes(rooms: Rooms) -> None:
    """The night of 25 October 2026 has an hour more in Berlin: the day ends there at 23:00 UTC."""
    berlin = ZoneInfo("Europe/Berlin")
    for hour, minute in ((21, 30), (22, 30), (23, 30)):
        await happen(rooms, datetime(2026, 10, 25, hour, minute, tzinfo=UTC), 1.0)
    days = {day.date.day: day.turns for day in learning_curve(rooms, berlin)[:2]}
    assert days == {25: 2, 26: 1}


async def test_the_days_of_a_change_are_marked(rooms: Rooms) -> None:
    for day, policy in ((26, "base"), (27, "base"), (28, "lora"), (29, "lora"), (30, "base")):
        await happen(rooms, datetime(2026, 11, day, 12, tzinfo=UTC), 1.0, 1.0, policy=policy)
    await happen(rooms, datetime(2026, 11, 27, 13, tzinfo=UTC), 1.0, policy="elsewhere")  # one of three
    with patch("time.time", lambda: datetime(2026, 11, 27, 18, tzinfo=UTC).timestamp()):
        rooms.catalog.publish(make_skill("one"), SkillState.TRIAL, "r", [])
        skill, _ = rooms.catalog.publish(make_skill("two"), SkillState.TRIAL, "r", [])
        rooms.catalog.change_state(skill, SkillState.ACTIVE, "proved")  # changes nothing of what may be injected
        rooms.catalog.hold(make_skill("three"), "waits")
    with patch("time.time", lambda: datetime(2026, 11, 29, 18, tzinfo=UTC).timestamp()):
        rooms.catalog.retire("one", "no use")
    days = {day.date.day: day for day in learning_curve(rooms, UTC)}
    assert {n: day.switched for n, day in days.items() if day.switched} == {28: "lora", 30: "base"}
    assert {n: day.generation for n, day in days.items()} == {26: 0, 27: 2, 28: 2, 29: 3, 30: 3}
    changes = {n: day.changes for n, day in days.items() if day.changes}
    assert changes == {27: ("one live", "two live"), 29: ("one retired",)}


async def test_it_is_bounded_and_empty_where_there_is_nothing(rooms: Rooms) -> None:
    assert learning_curve(rooms, UTC) == []
    await happen(rooms, datetime(2025, 1, 1, tzinfo=UTC), 1.0)
    days = learning_curve(rooms, UTC)
    assert len(days) == MOST_DAYS
    assert together(days) == Share(0, 0)


@pytest.mark.parametrize(("right", "n", "low", "high"), [  # by Wilson's formula, from R's binom.wilson
    (8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (45, 90, 0.3988, 0.6012),
])
def test_the_interval_is_wilsons(right: int, n: int, low: float, high: float) -> None:
    assert wilson(right, n) == pytest.approx((low, high), abs=1e-3)


def test_nothing_known_is_no_share() -> None:
    assert Share(0, 0).value is None
    assert wilson(0, 0) == (0.0, 1.0)
