"""What a training job is: its settings (`job.json`) and its examples (`dataset.jsonl`), read and checked.

The defaults are the measured recipe for a model of 1.5B parameters on two cores; docs/training.md has the figures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from metaclaw.errors import TrainingError

Objective = Literal["distill", "sft", "grpo", "opd"]
SAMPLED_ONLY = ("grpo", "opd")
"""Objectives that learn from nothing but the student's own samples, and rehearsal."""


class Endpoint(BaseModel):
    """An OpenAI-compatible API, or the Tinker API. Its key comes in the environment variable `key_variable`, so that no
    file holds it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    """Its base, with /v1 for OpenAI's."""
    model: str
    key_variable: str = ""


class TrainJob(BaseModel):
    """`job.json`. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_dir: Path
    """Folder that `metaclaw.training.model.prepare` made."""
    base_gguf: Path
    """The engine's file, whose names and shapes the GGUF adapter takes."""
    base_model: str
    """Public name of the base model, written into the adapter's configuration."""
    objective: Objective = "distill"
    """Who teaches: the model that sees the skills (`distill`), the proven reply itself (`sft`), a check or a judge over
    several samples (`grpo`), or a stronger model (`opd`)."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Of the frozen weights; the adapter itself is always float32. SmolLM2 needs float32."""
    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0)
    adapted_share: float = Field(0.5, gt=0, le=1)
    """Upper share of the layers that is adapted. What is below runs once an example, not once a step."""
    learning_rate: float = Field(5e-4, gt=0)
    warmup_share: float = Field(0.1, ge=0, le=1)
    epochs: int = Field(3, ge=1)
    max_steps: int | None = Field(None, ge=1)
    batch_size: int = Field(8, ge=1)
    """Examples of an optimiser step."""
    max_tokens: int = Field(1024, ge=16)
    """An example longer than this (prompt and reply) is left out and counted."""
    top_k: int = Field(32, ge=1)
    """The teacher's most likely tokens that are kept; the others count as one."""
    reply_weight: float = Field(1.0, ge=0)
    """Weight of the cross-entropy of the verified reply beside the divergence; only with `distill`."""
    replay_weight: float = Field(1.0, ge=0)
    """Weight of the divergence from the base model on replayed examples."""
    own_share: float = Field(0.5, ge=0, le=1)
    """Only with `distill`: the share of the practice prompts that the student answers itself; the others have their
    proven reply. With `grpo` and `opd` it answers all."""
    warm_epochs: int = Field(1, ge=0)
    """Only with `distill`: so many epochs on proven replies alone, so that there is something to correct."""
    group_size: int = Field(4, ge=2)
    """Only with `grpo`: samples of one prompt."""
    reply_tokens: int = Field(128, ge=1)
    """The longest reply that the student samples."""
    updates_per_sample: int = Field(1, ge=1)
    """How often a step's samples are used. After the first time they are stale, by an update each time."""
    importance_cap: float = Field(2.0, gt=0)
    """Largest weight of a token that is likelier now than when it was sampled."""
    policy_clip: float = Field(0.2, gt=0, lt=1)
    """Only with `grpo`: how far the ratio to the sampling policy may go."""
    kl_budget: float | None = Field(0.5, gt=0)
    """Divergence from the base in nats a token, as a mean over the last steps, at which the run stops."""
    patience: int | None = Field(1, ge=1)
    """So many epochs without getting better on the `query` rows stop the run; the best epoch's adapter is kept."""
    teacher: Endpoint | None = None
    """Only with `opd`: the stronger model, which must have the student's tokens."""
    tinker: Endpoint | None = None
    """The Tinker API behind which the student learns, its `url` empty for the cloud service, and the base model's name
    there; without it, the student learns in the trainer's process."""
    judge: Endpoint | None = None
    """Only with `grpo`: who scores what no check can."""
    judge_votes: int = Field(3, ge=1)
    clip_norm: float = Field(1.0, gt=0)
    seed: int = 0
    threads: int = Field(2, ge=1)
    checkpoint_every_seconds: float = Field(30.0, ge=0)


class Tokens(BaseModel):
    """What the engine sampled for a reply."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tokens: tuple[int, ...] = Field(min_length=1)
    logprobs: tuple[float, ...]

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        if len(self.tokens) != len(self.logprobs):
            raise ValueError("one log-probability for each token")
        return self


class Row(BaseModel):
    """One line of `dataset.jsonl`: a conversation as the client sent it, and the reply that is learned.

    Those of the split `query` are never trained on: they tell when to stop.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    split: Literal["train", "replay", "query"]
    messages: list[dict[str, Any]] = Field(min_length=1)
    teacher_messages: list[dict[str, Any]] | None = None
    """The same with the skills in the system prompt; without it, the reply itself teaches."""
    reply: str = Field(min_length=1)
    weight: float = Field(1.0, ge=0)
    check: str | None = None
    """The pattern that a right reply matches as a whole."""
    sampled: Tokens | None = None
    """Without it the reply is text only, and nothing weighs it by probability."""


def read_job(job_dir: Path) -> TrainJob:
    """Raises `TrainingError` naming the key that cannot be used."""
    try:
        return TrainJob.model_validate_json((job_dir / "job.json").read_bytes())
    except (OSError, ValidationError) as error:
        raise TrainingError(f"job.json cannot be used: {error}") from error


def read_rows(job_dir: Path) -> list[Row]:
    """Raises `TrainingError` naming the line that cannot be used."""
    try:
        lines = (job_dir / "dataset.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise TrainingError(f"dataset.jsonl cannot be read: {error}") from error
    rows = [_row(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not any(row.split == "train" for row in rows):
        raise TrainingError("dataset.jsonl holds no example to train on")
    return rows


def _row(number: int, line: str) -> Row:
    try:
        return Row.model_validate(json.loads(line))
    except ValueError as error:  # a ValidationError is one too
        raise TrainingError(f"dataset.jsonl, line {number}: {error}") from error
