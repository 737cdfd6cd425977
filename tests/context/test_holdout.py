"""The coin of the hold-out: always the same for a session, a skill and a day, and fair over many of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.context.holdout import DAY_SECONDS, NO_DRAW, day_of, draw, withholds
from support import make_skill

FIRST, SECOND = make_skill("first"), make_skill("second", version=3)


@given(st.text(), st.text(), st.integers(0, 30_000))
def test_a_coin_is_always_thrown_alike_and_a_larger_share_only_adds(place: str, name: str, day: int) -> None:
    assert withholds(place, name, day, 0.3) == withholds(place, name, day, 0.3)
    assert not withholds(place, name, day, 0.0)
    assert withholds(place, name, day, 1.0)
    assert withholds(place, name, day, 0.5) or not withholds(place, name, day, 0.2)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_so_many_lose_as_the_share_says_over_sessions_days_and_skills(share: float) -> None:
    n = 20_000
    margin = 4 * math.sqrt(share * (1 - share) / n)  # the coins are fixed: this either holds for ever or never
    for coins in (
        [withholds(f"default\0session-{i}", "file-names", 20_000, share) for i in range(n)],
        [withholds("default\0main", "file-names", i, share) for i in range(n)],
        [withholds("default\0main", f"skill-{i}", 20_000, share) for i in range(n)],
    ):
        assert sum(coins) / n == pytest.approx(share, abs=margin)


def test_two_skills_of_a_session_are_drawn_independently() -> None:
    n = 20_000
    both = sum(withholds(f"s{i}", "first", 1, 0.3) and withholds(f"s{i}", "second", 1, 0.3) for i in range(n))
    assert both / n == pytest.approx(0.09, abs=0.01)


def test_a_pinned_skill_takes_no_part() -> None:
    drawn = draw([FIRST, SECOND], {"first"}, 1.0, "place", 1)
    assert (drawn.drawn, drawn.withheld, drawn.share) == (("second@3",), ("second@3",), 1.0)
    assert draw([FIRST], {"first"}, 1.0, "place", 1) == NO_DRAW
    assert draw([], (), 1.0, "place", 1) == NO_DRAW


def test_a_new_version_stays_in_the_arm_of_its_name() -> None:
    for day in range(100):
        old, new = draw([SECOND], (), 0.5, "place", day), draw([make_skill("second", version=4)], (), 0.5, "place", day)
        assert bool(old.withheld) == bool(new.withheld)


def test_days_end_at_midnight_utc() -> None:
    assert (day_of(0), day_of(DAY_SECONDS - 0.1), day_of(DAY_SECONDS)) == (0, 0, 1)
