"""What a token costs, by hand: a vocabulary of three, one position."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch

from metaclaw.training import objectives
from metaclaw.training.objectives import Taught
from tiny import example, tiny_job

LOGITS_NV = torch.tensor([[0.5, 0.25, 0.25]]).log()
TEACHER = Taught(torch.tensor([[0.25, 0.5]]).log(), torch.tensor([[0, 1]]), torch.tensor([0.5]).log())
FORWARD = 0.25 * math.log(0.25 / 0.5) + 0.5 * math.log(0.5 / 0.25) + 0.25 * math.log(0.25 / 0.25)
REVERSE = 0.5 * math.log(0.5 / 0.25) + 0.25 * math.log(0.25 / 0.5) + 0.25 * math.log(0.25 / 0.25)
SAID = replace(example(0), reply=(1,))  # the student: 1/4, the teacher: 1/2
JOB = tiny_job(Path(), importance_cap=3.0, reply_weight=0.5)


def cost(example_: object, taught: Taught | None = TEACHER) -> float:
    return objectives.cost(JOB, example_, LOGITS_NV, taught).item()  # type: ignore[arg-type]


def close(value: float, wanted: float) -> bool:
    return abs(value - wanted) < 1e-5


def test_a_proven_reply_without_a_teacher_is_imitated() -> None:
    assert close(cost(SAID, None), math.log(4))


def test_a_proven_reply_of_text_alone_is_not_weighed() -> None:
    assert close(cost(SAID), FORWARD + 0.5 * math.log(4))


def test_a_recorded_reply_counts_by_how_likely_the_teacher_finds_it() -> None:
    recorded = replace(SAID, logprobs=(math.log(0.4),))
    assert close(cost(recorded), 0.5 / 0.4 * FORWARD + 0.5 * math.log(4))
    unlikely = replace(SAID, logprobs=(math.log(0.01),))
    assert close(cost(unlikely), 3.0 * FORWARD + 0.5 * math.log(4)), "the weight is capped"


def test_a_replayed_reply_holds_the_student_to_the_base_whatever_was_recorded() -> None:
    assert close(cost(replace(SAID, kind="replay", logprobs=(-5.0,))), FORWARD)


def test_the_students_own_words_are_drawn_to_the_teacher() -> None:
    fresh = replace(SAID, kind="own", logprobs=(math.log(0.25),))
    assert close(cost(fresh), REVERSE)
    stale = replace(fresh, logprobs=(math.log(0.5),))
    assert close(cost(stale), 0.5 * REVERSE), "half as likely now as when it was sampled"


def test_a_scored_sample_is_paid_by_its_advantage() -> None:
    sample = replace(SAID, kind="own", logprobs=(math.log(0.25),), advantage=1.5)
    assert close(cost(sample, None), -1.5)
    stale = replace(sample, logprobs=(math.log(0.1),))
    assert close(cost(stale, None), -1.5 * 1.2), "clipped"


def test_the_token_that_ends_a_reply_needs_no_record() -> None:
    logits_NV = LOGITS_NV.repeat(2, 1)
    both = replace(SAID, kind="own", reply=(1, 0), logprobs=(math.log(0.5),))
    taught = Taught(TEACHER.top_NK.repeat(2, 1), TEACHER.ids_NK.repeat(2, 1), TEACHER.said_N.repeat(2))
    got_N = objectives.cost(JOB, both, logits_NV, taught)
    torch.testing.assert_close(got_N, torch.tensor([0.5 * REVERSE, REVERSE]))


def test_drift_is_the_divergence_from_the_base() -> None:
    assert close(objectives.drift(LOGITS_NV.requires_grad_(), TEACHER).item(), FORWARD)
    assert not objectives.drift(LOGITS_NV.requires_grad_(), TEACHER).requires_grad
