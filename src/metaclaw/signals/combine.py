"""Several signals about one turn, taken together. Pure; abstentions carry no weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metaclaw.types import Signal

WEIGHTS = {"check": 4.0, "feedback": 2.0, "next_message": 1.0}  # a deterministic check outweighs an opinion
DECISIVE = 0.3


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


def combine(signals: Sequence[Signal]) -> Outcome:
    """The weighted mean of the values."""
    counted = [(WEIGHTS[signal.source], signal.value, signal.reason) for signal in signals if signal.value is not None]
    if not counted:
        return Outcome(None, ())
    value = sum(weight * value for weight, value, _ in counted) / sum(weight for weight, _, _ in counted)
    return Outcome(value, tuple(reason for _, _, reason in counted))
