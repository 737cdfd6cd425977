"""Models elsewhere that a training job may ask: `opd`'s teacher, `grpo`'s judge, and the Tinker API's student, from the
settings to `job.json`.

Their keys travel in the environment of the trainer's process: no file of a job holds one.
"""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from metaclaw.config.fast_loop import JudgeSettings
from metaclaw.config.slow_loop import TrainingSettings

TEACHER_KEY, JUDGE_KEY = "METACLAW_TRAINER_TEACHER_KEY", "METACLAW_TRAINER_JUDGE_KEY"
TINKER_KEY = "METACLAW_TRAINER_TINKER_KEY"
TINKER_CHECKPOINT_SECONDS = 300.0
"""A checkpoint on a server is a request and a file there."""


def endpoints(training: TrainingSettings, judge: JudgeSettings | None) -> dict[str, Any]:
    """What the job's settings say of them."""
    told: dict[str, Any] = {}
    if training.objective == "opd":
        told["teacher"] = _endpoint(training.teacher_url, training.teacher_model, TEACHER_KEY)
    if training.objective == "grpo" and judge and judge.url:
        told |= {"judge": _endpoint(judge.url, judge.model, JUDGE_KEY), "judge_votes": judge.votes}
    if training.backend == "tinker":
        told["tinker"] = _endpoint(training.tinker_url, training.tinker_model, TINKER_KEY)
        told["checkpoint_every_seconds"] = TINKER_CHECKPOINT_SECONDS
    return told


def keys(training: TrainingSettings, judge: JudgeSettings | None) -> dict[str, str]:
    """What the trainer's environment says of them."""
    found: dict[str, SecretStr | None] = {TEACHER_KEY: training.teacher_api_key}
    found[JUDGE_KEY] = judge.api_key if judge else None
    found[TINKER_KEY] = training.tinker_api_key
    return {name: key.get_secret_value() for name, key in found.items() if key}


def _endpoint(url: str | None, model: str | None, variable: str) -> dict[str, str]:
    return {"url": url or "", "model": model or "", "key_variable": variable}
