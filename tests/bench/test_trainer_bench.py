"""The comparison with TRL, short of TRL itself: what is counted, who is held against whom, and what is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metaclaw.bench.trainer import run
from metaclaw.bench.trainer.data import rows
from metaclaw.bench.trainer.run import CONTENDERS, LAYERS, Measured, Size
from metaclaw.errors import TrainingError
from metaclaw.training.recipe import read_job, read_rows


def test_no_two_conversations_begin_alike() -> None:
    found = rows(48, seed=1)
    assert len({row["messages"][0]["content"].split(":")[0] for row in found}) == 48
    assert rows(48, seed=1) == found


def test_the_job_is_one_that_our_trainer_takes(tmp_path: Path) -> None:
    folder = run.write_job(tmp_path, Size(examples=5), tmp_path, tmp_path / "x.gguf", "float32", 1.0)
    job = read_job(folder)
    assert (job.objective, job.adapted_share, job.epochs, job.batch_size) == ("sft", 1.0, 3, 8)
    assert len(read_rows(folder)) == 5


def test_speed_is_held_against_the_faster_and_memory_against_the_leaner(tmp_path: Path) -> None:
    figures = {"ours": (20.0, 900), "trl": (40.0, 1000), "trl-no-checkpointing": (25.0, 2000)}
    found = {
        f"{name} {layers}": [Measured(1000, seconds + turn, 1.0, memory, 2.0) for turn in (-1, 0, 5)]
        for name, (seconds, memory) in figures.items() for layers in LAYERS
    }
    told = json.loads(run.write(tmp_path, "x", "smollm2-135m", "float32", Size(), found).read_text())
    assert told["checks"]["throughput ratio, upper-half"] == {"value": 1.25, "bar": "at least 1.0", "holds": True}
    assert told["checks"]["memory ratio, all-layers"] == {"value": 0.9, "bar": "at most 1.0", "holds": True}
    assert told["arms"]["ours upper-half"]["value"] == 50.0
    assert set(told["arms"]) == {f"{name} {layers}" for name in CONTENDERS for layers in LAYERS}


def test_a_side_that_fails_ends_the_comparison_in_its_words(tmp_path: Path) -> None:
    job = run.write_job(tmp_path, Size(examples=1), tmp_path / "nowhere", tmp_path / "x.gguf", "float32", 1.0)
    with pytest.raises(TrainingError, match="did not get to its end"):
        run.measure("ours", job)
