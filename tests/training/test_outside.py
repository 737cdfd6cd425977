"""Models elsewhere: what `job.json` says of them, and where their keys are."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from metaclaw.config.fast_loop import JudgeSettings
from metaclaw.config.secret import known_secrets
from metaclaw.config.settings import Settings
from metaclaw.config.slow_loop import TrainingSettings
from metaclaw.runtime.greeting import shareable
from metaclaw.training.outside import JUDGE_KEY, TEACHER_KEY, endpoints, keys
from metaclaw.training.recipe import TrainJob

TEACHER: dict[str, Any] = {
    "objective": "opd", "teacher_url": "http://big:8000/v1", "teacher_model": "big",
    "teacher_api_key": "teacher-secret",
}
JUDGE = JudgeSettings(url="http://judge/v1", model="judge-1", api_key=SecretStr("judge-secret"), votes=5)


def job_of(training: TrainingSettings, judge: JudgeSettings | None) -> TrainJob:
    told = {"model_dir": "m", "base_gguf": "g", "base_model": "b", "objective": training.objective}
    return TrainJob.model_validate({**told, **endpoints(training, judge)})


def test_a_teacher_is_named_in_the_job_and_its_key_is_not() -> None:
    training = TrainingSettings.model_validate(TEACHER)
    job = job_of(training, JUDGE)
    assert job.teacher
    assert (job.teacher.url, job.teacher.model, job.judge) == ("http://big:8000/v1", "big", None)
    assert "secret" not in job.model_dump_json()
    assert keys(training, JUDGE) == {TEACHER_KEY: "teacher-secret", JUDGE_KEY: "judge-secret"}
    assert job.teacher.key_variable == TEACHER_KEY


def test_a_judge_scores_groups_only_where_it_is_elsewhere() -> None:
    training = TrainingSettings(objective="grpo")
    job = job_of(training, JUDGE)
    assert job.judge
    assert (job.judge.model, job.judge_votes, job.teacher) == ("judge-1", 5, None)
    assert job_of(training, JudgeSettings()).judge is None
    assert job_of(training, None).judge is None
    assert keys(training, None) == {}


def test_the_default_objective_asks_nobody_else() -> None:
    assert endpoints(TrainingSettings(), JUDGE) == {}


def test_a_stronger_teacher_must_be_named() -> None:
    for missing in ("teacher_url", "teacher_model"):
        with pytest.raises(ValidationError, match=r"needs training.teacher_url and training.teacher_model"):
            TrainingSettings.model_validate({key: value for key, value in TEACHER.items() if key != missing})


def test_the_learner_gets_the_key_and_the_log_masks_it(tmp_path: Any) -> None:
    settings = Settings.model_validate({"data_dir": str(tmp_path), "training": TEACHER})
    assert "teacher-secret" in known_secrets(settings)
    again = Settings.model_validate(shareable(settings))
    assert again.training.teacher_api_key == SecretStr("teacher-secret")
