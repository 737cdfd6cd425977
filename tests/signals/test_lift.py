"""The lift: unbiased, its interval right at every look, its claims seldom wrong, in equal and unequal arms."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.signals.lift import Arm, Lift, Try, lift_of

tries = st.lists(
    st.builds(Try, share=st.sampled_from([0.05, 0.2, 0.5]), withheld=st.booleans(), failed=st.booleans()), max_size=60
)
LOOKS = (25, 50, 100, 200, 400)


def drawn(seed: int, n: int, share: float, without: float, with_skill: float) -> list[Try]:
    source = random.Random(seed)
    made = []
    for _ in range(n):
        withheld = source.random() < share
        made.append(Try(share, withheld, source.random() < (without if withheld else with_skill)))
    return made


def looks(made: list[Try]) -> list[Lift]:
    return [lift_of(made[:n]) for n in LOOKS]


def test_without_tries_nothing_is_claimed() -> None:
    lift = lift_of([])
    assert (lift.n, lift.effect, lift.with_skill, lift.without) == (0, 0.0, Arm(0, 0), Arm(0, 0))
    assert not (lift.helps or lift.harms or lift.useless)
    assert lift.interval == (-1.0, 1.0)


@given(tries)
def test_fortunes_are_never_negative_and_each_payoff_is_within_its_ends(made: list[Try]) -> None:
    lift = lift_of(made)
    assert np.all(lift.worst - 1e-9 <= lift.payoffs)
    assert np.all(lift.payoffs <= lift.best + 1e-9)
    for at in (-0.5, 0.0, 0.5):
        assert lift.e_above(at) >= 0
        assert lift.e_below(at) >= 0
    low, high = lift.interval
    assert -1 <= low < high <= 1
    assert lift.with_skill.n + lift.without.n == lift.n == len(made)


@given(tries, st.sampled_from([0.05, 0.2, 0.5]), st.floats(0, 1), st.floats(0, 1))
def test_the_next_payoff_is_fair_whatever_came_before(
    made: list[Try], share: float, without: float, with_skill: float
) -> None:
    """Over all ways that the next try may go, its payoff is the lift, and no fortune against the truth grows."""
    ways = {
        Try(share, True, True): share * without, Try(share, True, False): share * (1 - without),
        Try(share, False, True): (1 - share) * with_skill, Try(share, False, False): (1 - share) * (1 - with_skill),
    }
    after = {way: lift_of([*made, way]) for way in ways}
    truth = without - with_skill
    assert sum(chance * after[way].payoffs[-1] for way, chance in ways.items()) == pytest.approx(truth, abs=1e-9)
    before = lift_of(made)
    for fortune in (Lift.e_above, Lift.e_below):
        grown = sum(chance * fortune(after[way], truth) for way, chance in ways.items())
        assert grown <= fortune(before, truth) * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize(("without", "with_skill"), [(0.3, 0.3), (0.5, 0.3), (0.9, 0.1), (0.02, 0.1)])
def test_the_interval_holds_the_truth_at_every_look_in_95_percent_of_experiments(
    share: float, without: float, with_skill: float
) -> None:
    truth = without - with_skill
    runs = [looks(drawn(seed, 400, share, without, with_skill)) for seed in range(200)]
    missed = [any(max(look.e_above(truth), look.e_below(truth)) >= 40 for look in run) for run in runs]
    assert sum(missed) / len(missed) <= 0.05


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_skill_without_effect_is_hardly_ever_called_helpful_or_harmful(share: float) -> None:
    runs = [looks(drawn(seed, 400, share, 0.3, 0.3)) for seed in range(300)]
    assert sum(any(look.helps for look in run) for run in runs) / len(runs) <= 0.01
    assert sum(any(look.e_below(0.0) >= 20 for look in run) for run in runs) / len(runs) <= 0.05


def test_help_harm_and_uselessness_are_found() -> None:
    helpful, harmful = lift_of(drawn(1, 400, 0.2, 0.8, 0.2)), lift_of(drawn(1, 400, 0.2, 0.2, 0.8))
    assert helpful.helps
    assert not helpful.harms
    assert not helpful.useless
    assert harmful.harms
    assert harmful.useless
    assert not harmful.helps
    assert helpful.effect == pytest.approx(0.6, abs=0.1)
    assert helpful.interval[0] < 0.6 < helpful.interval[1]
    assert lift_of(drawn(1, 4000, 0.5, 0.01, 0.01)).useless


def test_harm_is_found_also_after_a_long_time_of_help() -> None:
    helped = drawn(1, 600, 0.2, 0.7, 0.2)
    assert not lift_of(helped).harms
    turned = lift_of([*helped, *drawn(2, 500, 0.2, 0.2, 0.8)])
    assert turned.e_turned >= 1_000
    assert turned.harms


def test_tasks_that_get_harder_are_no_harm() -> None:
    """Failures become more with and without the skill alike, as when all of the without came late."""
    made = [one for step in range(10) for one in drawn(step, 60, 0.2, step / 10, step / 10)]
    lift = lift_of(made)
    assert not (lift.helps or lift.harms)
    assert lift.interval[0] < 0 < lift.interval[1]
