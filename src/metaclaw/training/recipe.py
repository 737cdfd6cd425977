"""What a training job is: its settings (`job.json`) and its examples (`dataset.jsonl`), read and checked.

The defaults are the measured recipe for a model of 1.5B parameters on two cores; docs/training.md has the figures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from metaclaw.errors import TrainingError


class TrainJob(BaseModel):
    """`job.json`. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_dir: Path
    """Folder that `metaclaw.training.model.prepare` made."""
    base_gguf: Path
    """The engine's file, whose names and shapes the GGUF adapter takes."""
    base_model: str
    """Public name of the base model, written into the adapter's configuration."""
    objective: Literal["distill", "sft"] = "distill"
    """What a practice reply teaches with: the model that sees the skills, or the reply itself."""
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
    kl: Literal["forward", "reverse"] = "forward"
    top_k: int = Field(32, ge=1)
    """The teacher's most likely tokens that are kept; the others count as one."""
    reply_weight: float = Field(1.0, ge=0)
    """Weight of the cross-entropy of the verified reply beside the divergence; only with `distill`."""
    replay_weight: float = Field(1.0, ge=0)
    """Weight of the divergence from the base model on replayed examples."""
    clip_norm: float = Field(1.0, gt=0)
    seed: int = 0
    threads: int = Field(2, ge=1)
    checkpoint_every_seconds: float = Field(30.0, ge=0)


class Row(BaseModel):
    """One line of `dataset.jsonl`: a conversation as the client sent it, and the reply that is learned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    split: Literal["train", "replay"]
    messages: list[dict[str, Any]] = Field(min_length=1)
    teacher_messages: list[dict[str, Any]] | None = None
    """The same with the skills in the system prompt; without it, the reply itself teaches."""
    reply: str = Field(min_length=1)
    weight: float = Field(1.0, ge=0)


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
