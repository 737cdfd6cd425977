"""Where the student lives: what the loop asks of it, on this machine (`student`) or behind the Tinker API
(`tinker_student`).

In: examples and what was found out about them in advance. Out: the student's own samples, a report for each step, and
in the end an adapter in PEFT's format. A step is `forward_backward`, then `optim_step`; what is between two steps can
be kept with `checkpoint` and taken up again by another process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from metaclaw.training.examples import Example, Ids
from metaclaw.training.features import Features, Report
from metaclaw.types import Sampled

Between = Callable[[], None]
"""Called now and then while one waits; it may raise, and then nothing but gradients has changed."""


@dataclass(frozen=True, slots=True)
class StepReport:
    """`loss` is what was minimised; `kl_to_base` the mean divergence from the base in nats, on replayed tokens, or on
    those that are practised where nothing is replayed.
    """

    loss: float
    kl_to_base: float
    tokens: int


class Backend(Protocol):
    """All errors are `TrainingError`. One caller, one call at a time."""

    def look(
        self, examples: Sequence[Example], members: Sequence[int], on: Report = lambda *_: None
    ) -> Features:
        """What never changes about these of the examples, above all what the base says of them as their teacher."""

    def sample(self, prompts: Sequence[Ids], *, each: int, limit: int, seed: int) -> list[list[Sampled]]:
        """`each` answers to every prompt from the student as it is now, at temperature 1, with nothing cut."""

    def forward_backward(self, examples: Sequence[Example], features: Features, between: Between) -> StepReport:
        """The gradients of one step, all of it."""

    def optim_step(self, learning_rate: float) -> None:
        """Take the step whose gradients are there."""

    def mean_loss(self, examples: Sequence[Example], members: Sequence[int], features: Features) -> float:
        """Cross-entropy of these replies, in nats a token. Nothing changes."""

    def keep_best(self) -> None:
        """Remember the adapter as it is now; the next checkpoint holds it as well."""

    def take_best(self) -> None:
        """Be what `keep_best` remembered, if it was ever called."""

    def checkpoint(self, folder: Path, progress: dict[str, Any]) -> None:
        """Everything that another process needs to go on; whole or not at all."""

    def restore(self, folder: Path) -> dict[str, Any] | None:
        """Take up the checkpoint, and tell its progress; None where there is none."""

    def save_adapter(self, folder: Path) -> None:
        """In PEFT's format, whole or not at all."""
