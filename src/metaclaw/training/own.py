"""What the student learns from its own words in one step: it answers, and somebody says what that was worth.

In: prompts, and the number of the step, which seeds the samples. Out: examples with what they are learned from, and how
many groups taught nothing. The samples are drawn from the very weights that the step then changes: on-policy. Their
log-probabilities stay with them, so that a second update from the same samples, and what sampling and training round
differently, are weighed for it (see `objectives`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from metaclaw.training import losses
from metaclaw.training.backend import Backend
from metaclaw.training.examples import Example
from metaclaw.training.features import Features
from metaclaw.training.recipe import TrainJob
from metaclaw.training.scoring import Scorer
from metaclaw.training.teacher import RemoteTeacher
from metaclaw.types import Sampled

SPARE_TOKENS = 8
"""A sample may be twice as long as the step's longest proven reply and this: one that rambles holds up the rest."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """`flat_groups` had one score throughout, `unscored` samples nobody could score; neither is learned from."""

    examples: list[Example]
    features: Features
    reward: float | None = None
    flat_groups: int = 0
    unscored: int = 0


class OwnWords:
    def __init__(
        self,
        job: TrainJob,
        tokenizer: Any,
        student: Backend,
        scorer: Scorer,
        teacher: RemoteTeacher | None,
    ) -> None:
        self._job = job
        self._tokenizer = tokenizer
        self._student = student
        self._scorer = scorer
        self._teacher = teacher

    def lesson(self, prompts: Sequence[Example], step: int, between: Callable[[], None]) -> Lesson:
        """`between` may raise: nothing has changed then."""
        if not prompts:
            return Lesson([], Features.empty(0))
        grouped = self._job.objective == "grpo"
        drawn = self._student.sample(
            [example.prompt for example in prompts],
            each=self._job.group_size if grouped else 1,
            limit=min(self._job.reply_tokens, 2 * max(len(example.reply) for example in prompts) + SPARE_TOKENS),
            seed=_seed(self._job.seed, step),
        )
        between()
        if grouped:
            return self._scored(prompts, drawn)
        said = [_said(example, sampled) for example, [sampled] in zip(prompts, drawn, strict=True)]
        found = self._student.look(said, range(len(said)))
        if self._teacher:
            found = replace(found, taught=[*self._teacher.teach(said)])
        return Lesson(said, found)

    def _scored(self, prompts: Sequence[Example], drawn: Sequence[Sequence[Sampled]]) -> Lesson:
        asked = [(example, one) for example, group in zip(prompts, drawn, strict=True) for one in group]
        told = self._scorer.scores([(example, self._text(one)) for example, one in asked])
        size, said, flat = self._job.group_size, list[Example](), 0
        for at in range(0, len(asked), size):
            group = [(*one, score) for one, score in zip(asked[at : at + size], told[at : at + size], strict=True)
                     if score is not None]
            worth = losses.advantages([score for *_, score in group])
            if worth is None:
                flat += 1
                continue
            pairs = zip(group, worth, strict=True)
            said += [replace(_said(example, one), advantage=advantage) for (example, one, _), advantage in pairs]
        scores = [score for score in told if score is not None]
        reward = sum(scores) / len(scores) if scores else None
        return Lesson(said, self._student.look(said, range(len(said))), reward, flat, len(told) - len(scores))

    def _text(self, sampled: Sampled) -> str:
        return str(self._tokenizer.decode(sampled.tokens, skip_special_tokens=True))


def _said(example: Example, sampled: Sampled) -> Example:
    return replace(example, kind="own", reply=sampled.tokens, logprobs=sampled.logprobs)


def _seed(seed: int, step: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}".encode()).digest()[:6])
