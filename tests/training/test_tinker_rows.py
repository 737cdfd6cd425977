"""What a token is worth in the words of the Tinker API, against values worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from metaclaw.config.slow_loop import TrainingSettings
from metaclaw.training import outside
from metaclaw.training.objectives import Taught
from metaclaw.training.recipe import TrainJob
from metaclaw.training.tinker_rows import LEAST_TAUGHT, drift, needs_teacher, row_of
from tiny import example, tiny_job

HALF, TENTH = math.log(0.5), math.log(0.1)


def job(objective: str = "distill", **settings: Any) -> TrainJob:
    return tiny_job(Path(), objective=objective, **settings)


def taught(*said: float) -> Taught:
    return Taught(torch.empty(0), torch.empty(0), torch.tensor(said))


def test_a_proven_reply_counts_twice_in_distillation_and_once_as_it_is() -> None:
    proven = example(1, reply=(4, 0), weight=0.5)
    assert row_of(job(), proven, None).worth == (1.0, 1.0)
    assert row_of(job(reply_weight=0.0), proven, None).worth == (0.5, 0.5)
    assert row_of(job("sft"), proven, None).worth == (0.5, 0.5)
    assert row_of(job(replay_weight=3.0), example(1, "replay", reply=(4, 0)), None).worth == (3.0, 3.0)


def test_recorded_tokens_are_weighed_by_the_teacher_and_never_above_the_cap() -> None:
    recorded = example(1, reply=(4, 5, 0), logprobs=(HALF, TENTH))
    assert row_of(job(), recorded, taught(TENTH, HALF, HALF)).worth == pytest.approx((1.2, 3.0, 2.0))


def test_own_words_are_worth_what_the_teacher_finds_likelier() -> None:
    own = example(1, "own", reply=(4, 5), logprobs=(HALF, TENTH))
    row = row_of(job(), own, taught(TENTH, -math.inf))
    assert row.loss == "importance_sampling"
    assert row.worth == pytest.approx((TENTH - HALF, LEAST_TAUGHT - TENTH))
    assert row.over_prompt(row.logprobs) == [0, 0, 0, HALF, TENTH]
    assert row.cost(job(), (HALF, TENTH)) == pytest.approx(-sum(row.worth))


@pytest.mark.parametrize(("now", "cost"), [(0.5, -2.0), (0.9, -2.4), (0.25, -1.0)])
def test_a_groups_sample_is_paid_by_its_advantage_within_the_clip(now: float, cost: float) -> None:
    row = row_of(job("grpo"), example(1, "own", reply=(4,), logprobs=(HALF,), advantage=2.0), None)
    assert (row.loss, row.worth) == ("ppo", (2.0,))
    assert row.cost(job("grpo"), [math.log(now)]) == pytest.approx(cost)


def test_the_drift_of_samples_of_the_base_is_the_divergence_on_average() -> None:
    base, student = (0.5, 0.3, 0.2), (0.2, 0.3, 0.5)
    seen = sum(p * drift(math.log(p), math.log(q)) for p, q in zip(base, student, strict=True))
    assert seen == pytest.approx(sum(p * math.log(p / q) for p, q in zip(base, student, strict=True)))
    assert drift(HALF, HALF) == 0
    assert drift(TENTH, HALF) > 0


def test_the_base_is_asked_only_for_what_it_is_needed_for() -> None:
    assert needs_teacher(job("sft"), example(1, "replay"))
    assert needs_teacher(job(), example(1, "own"))
    assert needs_teacher(job(), example(1, logprobs=(HALF,)))
    assert not needs_teacher(job(), example(1))
    assert not needs_teacher(job("sft"), example(1, logprobs=(HALF,)))
    assert not needs_teacher(job("opd"), example(1, "own"))
    assert not needs_teacher(job(), example(1, "query"))


def test_settings_name_the_server_and_no_file_holds_its_key() -> None:
    settings = TrainingSettings.model_validate(
        {"backend": "tinker", "tinker_url": "http://gpu:8000", "tinker_model": "Qwen/X", "tinker_api_key": "tml-1"}
    )
    told = outside.endpoints(settings, None)
    assert told["tinker"] == {"url": "http://gpu:8000", "model": "Qwen/X", "key_variable": outside.TINKER_KEY}
    assert outside.keys(settings, None) == {outside.TINKER_KEY: "tml-1"}
    assert "tml-1" not in str(told)
    assert outside.endpoints(TrainingSettings(), None) == {}


@pytest.mark.parametrize(
    ("settings", "named"),
    [({}, "tinker_model"), ({"tinker_model": "x", "replay_examples": 0}, "replay_examples")],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        TrainingSettings.model_validate({"backend": "tinker", **settings})
