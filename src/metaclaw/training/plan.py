"""The order of a job: which rows each step takes, in whose words, and how fast it learns. Pure; from the job alone.

So a resumed run needs no more than the number of the step at which it stood.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from metaclaw.training.examples import Example
from metaclaw.training.recipe import SAMPLED_ONLY, TrainJob


@dataclass(frozen=True, slots=True)
class Step:
    """Indices of examples: `given` are learned from as they are, `own` the student answers itself."""

    epoch: int
    given: tuple[int, ...]
    own: tuple[int, ...]
    last: bool
    """Of its epoch."""


def plan(job: TrainJob, examples: Sequence[Example]) -> list[Step]:
    steps = [step for epoch in range(job.epochs) for step in _epoch(job, examples, epoch)]
    return steps[: job.max_steps]


def _epoch(job: TrainJob, examples: Sequence[Example], epoch: int) -> list[Step]:
    """Practice and rehearsal, each shuffled and dealt evenly to the fewest steps of at most `batch_size`.

    Where there is any rehearsal, each step has some, so that each one tells how far the student is from the base.
    """
    shuffled = random.Random(f"{job.seed}/{epoch}")
    practice = [index for index, one in enumerate(examples) if one.kind == "proven"]
    replay = [index for index, one in enumerate(examples) if one.replay]
    own = _own(job, examples, practice, epoch)
    shuffled.shuffle(practice)
    shuffled.shuffle(replay)
    count = -(-(len(practice) + len(replay)) // job.batch_size)
    steps = []
    for at in range(count):
        taken = practice[at::count]
        rehearsed = replay[at::count] or [replay[at % len(replay)]] if replay else []
        given = (*(index for index in taken if index not in own), *rehearsed)
        steps.append(Step(epoch, given, tuple(index for index in taken if index in own), at == count - 1))
    return steps


def _own(job: TrainJob, examples: Sequence[Example], practice: Sequence[int], epoch: int) -> frozenset[int]:
    """The practice prompts that the student answers itself in this epoch."""
    if job.objective in SAMPLED_ONLY:
        return frozenset(practice)
    taught = [index for index in practice if examples[index].teacher_prompt]
    if job.objective == "sft" or epoch < job.warm_epochs:
        return frozenset()
    return frozenset(random.Random(f"{job.seed}/{epoch}/own").sample(taught, round(job.own_share * len(taught))))


def learning_rate(job: TrainJob, step: int, total: int) -> float:
    """A linear warm-up, then half a cosine down to a tenth."""
    warmup = max(1, round(job.warmup_share * total))
    if step < warmup:
        return job.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    return job.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))
