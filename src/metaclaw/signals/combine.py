"""Several signals about one turn, taken together. Pure; abstentions carry no weight.

Evidence adds up: more of it against a turn never makes the turn look better. Several signals of one source count as
one, so that ten failing calls do not drown what the user said. The sum is squeezed into (-1, 1) by `tanh`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from metaclaw.types import Signal

# How far a source is to be trusted. At full value, what weighs 0.55 or more decides alone; the rest only together.
WEIGHTS = {
    "check": 4.0,  # deterministic: outweighs any opinion
    "feedback": 2.0,  # said of this very turn: decides from a score of 0.28 on
    "next_message": 1.25,  # the user's words, but read by rules: a correction (-0.8) and praise (0.5) both decide
    "judge": 1.0,  # a model's opinion: two votes of three decide, and the user's own words outweigh it
    "repeated_failure": 0.8,  # the same failing call a third time decides, a second time does not
    "asked_again": 0.7,  # perhaps the user only lost the answer
    "regenerated": 0.6,  # perhaps a client's own retry, or an evaluation that samples
    "abandoned": 0.6,  # perhaps the user had seen enough
    "tool_error": 0.5,  # mostly the surroundings; two hints of this kind together do not decide either
}
DECISIVE = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """`value` in [-1, 1], or None where every source abstained. `reasons` are those of the signals that counted."""

    value: float | None
    reasons: tuple[str, ...]

    @property
    def failed(self) -> bool:
        return self.value is not None and self.value <= -DECISIVE

    @property
    def succeeded(self) -> bool:
        return self.value is not None and self.value >= DECISIVE

    @property
    def decided(self) -> bool:
        return self.failed or self.succeeded


def combine(signals: Sequence[Signal]) -> Outcome:
    """Each source's values are added and bounded by 1, then the sources by their weights."""
    sources: defaultdict[str, float] = defaultdict(float)
    reasons = []
    for signal in signals:
        if signal.value is not None:
            sources[signal.source] += signal.value
            reasons.append(signal.reason)
    if not reasons:
        return Outcome(None, ())
    evidence = sum(WEIGHTS[source] * max(-1.0, min(1.0, value)) for source, value in sources.items())
    return Outcome(math.tanh(evidence), tuple(reasons))
