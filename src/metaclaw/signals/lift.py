"""How much a skill helps, from tries with it and without it; right at whatever moment one looks. Pure.

The same serves for whatever else a coin gives to some tries and withholds from others, such as a new adapter.

In: tries in their order, each with the chance it had of being withheld. Out: a `Lift`: the share of failures that the
skill prevents, with an interval that holds at all times at once, and e-values for the claims that decide on a skill.

A gambler bets against a claim such as "the lift is at most 0", at odds that are fair if the claim is true. His fortune
then reaches 20 with a chance of at most 1 in 20, however often one looks and whenever one stops (Ville 1939). What he
bets on is, for each try, an unbiased estimate of the lift: the outcome weighted by the inverse of its arm's chance,
around the means of the tries before (AIPW). The chances are known, since we threw the coin; so it matters neither how
unequal the arms are nor whether tasks get harder over time. Of his bets he makes several sizes at once.
Ways to bet: Waudby-Smith and Ramdas, 2010.09686; with weights: the same and others, 2210.10768; restarts: 2203.03532.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

HELPS_E = 100.0  # a skill without effect is ever declared helpful with a chance of at most 1 %
HARMS_E = 20.0  # and harmful with at most 5 %: it is missed less
USELESS_E = 20.0
TURNED_E = 1_000.0  # a harmless skill is taken for one that turned harmful once in so many tries, at most
WORTH = 0.02  # a skill that prevents fewer failures than this is not worth its place in the prompt
FRACTIONS = np.array([0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7])  # bets, as parts of the largest that cannot ruin
GRID = np.linspace(-1.0, 1.0, 201)  # of lifts, for the interval; its ends are rounded outward to it


@dataclass(frozen=True, slots=True)
class Try:
    """`share` was its chance of being `withheld`, strictly between 0 and 1."""

    share: float
    withheld: bool
    failed: bool


@dataclass(frozen=True, slots=True)
class Arm:
    n: int
    failed: int


@dataclass(frozen=True)
class Lift:
    """The evidence so far. `effect` is the failures prevented, as a share of tries; below 0 the skill does harm."""

    with_skill: Arm
    without: Arm
    effect: float
    payoffs: Numbers
    worst: Numbers  # for each try, the least and the most that its payoff could have been
    best: Numbers

    @property
    def n(self) -> int:
        return len(self.payoffs)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The lifts that no gambler has won 40 times his stake against: holds with 95 %, at all times at once."""
        kept = [float(at) for at in GRID if max(self.e_above(float(at)), self.e_below(float(at))) < 40]
        if not kept:  # the lift has moved so far that none fits all of the tries
            return -1.0, 1.0
        step = float(GRID[1] - GRID[0])
        return max(-1.0, round(kept[0] - step, 4)), min(1.0, round(kept[-1] + step, 4))

    def e_above(self, lift: float) -> float:
        """Evidence that the true lift is above this one."""
        return _fortune(self.payoffs - lift, lift - self.worst)

    def e_below(self, lift: float) -> float:
        return _fortune(lift - self.payoffs, self.best - lift)

    @property
    def helps(self) -> bool:
        return self.e_above(0.0) >= HELPS_E

    @property
    def harms(self) -> bool:
        return self.e_below(0.0) >= HARMS_E or self.e_turned >= TURNED_E

    @property
    def useless(self) -> bool:
        """Whether it is known to prevent next to no failures."""
        return self.e_useless >= USELESS_E

    @property
    def e_useless(self) -> float:
        return self.e_below(WORTH)

    @cached_property
    def e_turned(self) -> float:
        """Evidence of harm from some try on, whatever was before: a gambler who starts anew with each try.

        Without harm the sum of their fortunes grows by one a try on average, so that a bar is not reached sooner.
        """
        gains = 1 + _bets(-self.payoffs, self.best)
        fortunes = np.zeros(len(FRACTIONS))
        for gain in gains.T:
            fortunes = (fortunes + 1) * gain
        return float(fortunes.mean())


def lift_of(tries: Sequence[Try]) -> Lift:
    """Of the tries in the order in which they began."""
    shares = np.array([one.share for one in tries], dtype=np.float64)
    withheld = np.array([one.withheld for one in tries], dtype=np.float64)
    failed = np.array([one.failed for one in tries], dtype=np.float64)
    without_before, with_before = _means_before(failed, withheld), _means_before(failed, 1 - withheld)
    guess = without_before - with_before
    above, below = 1 / shares, 1 / (1 - shares)
    payoffs = guess + withheld * above * (failed - without_before) - (1 - withheld) * below * (failed - with_before)
    ends = np.stack([
        guess + above * (1 - without_before), guess - above * without_before,
        guess - below * (1 - with_before), guess + below * with_before,
    ])
    return Lift(
        _arm(failed, 1 - withheld), _arm(failed, withheld), float(payoffs.mean()) if len(tries) else 0.0,
        payoffs, ends.min(axis=0), ends.max(axis=0),
    )


def _arm(failed: Numbers, inside: Numbers) -> Arm:
    return Arm(int(inside.sum()), int((failed * inside).sum()))


def _means_before(failed: Numbers, inside: Numbers) -> Numbers:
    """The share of failures in an arm before each try, drawn towards one half while there are few."""
    fails, tries = np.cumsum(failed * inside) - failed * inside, np.cumsum(inside) - inside
    means: Numbers = (fails + 0.5) / (tries + 1)
    return means


def _bets(gains: Numbers, largest_loss: Numbers) -> Numbers:
    """What each size of bet wins with each try, as a share of the fortune: row k is of `FRACTIONS[k]`."""
    won: Numbers = FRACTIONS[:, None] * (gains / np.maximum(largest_loss, 1e-3))[None, :]
    return won


def _fortune(gains: Numbers, largest_loss: Numbers) -> float:
    """What a stake of 1, spread over the sizes of bet, has become."""
    logs = np.log1p(np.maximum(_bets(gains, largest_loss), -0.999)).sum(axis=1)
    return float(np.exp(np.minimum(logs, 500)).mean())
