"""Tokens a second and peak memory, ours against TRL's SFTTrainer, turn and turn about, each in a process of its own.

In: a model, rounds. Out: `trainer.json`. Throughput is the tokens of the conversations, once for each epoch, over the
time from the tokenised data to the last update: what our loop prepares on the way is in it. TRL runs as it comes,
with gradient checkpointing, and without: our speed is held against the faster of the two and our memory against the
leaner. Processor time is told beside it, since a machine that others use slows whoever is at work just then.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaclaw.bench import results
from metaclaw.bench.results import Arm, Check
from metaclaw.bench.trainer.data import rows
from metaclaw.errors import TrainingError
from metaclaw.serving.fetch import Silent
from metaclaw.serving.weights import resolve
from metaclaw.training.process import SHORT_SPIN

BENCH = "trainer"
LAYERS = {"upper-half": 0.5, "all-layers": 1.0}
"""What is adapted: our measured recipe, and every layer."""
CONTENDERS = {
    "ours": ("metaclaw.bench.trainer.our_side",), "trl": ("metaclaw.bench.trainer.trl_side", "on"),
    "trl-no-checkpointing": ("metaclaw.bench.trainer.trl_side", "off"),
}
FIGURES = ("seconds", "processor_seconds", "peak_mb", "loss", "tokens")
SMALL_MODEL_BYTES = 400_000_000  # the smallest models are trained in float32, as by the job


@dataclass(frozen=True, slots=True)
class Size:
    """How much is trained on."""

    examples: int = 48
    epochs: int = 3
    batch: int = 8


@dataclass(frozen=True, slots=True)
class Measured:
    tokens: int
    seconds: float
    processor_seconds: float
    peak_mb: int
    loss: float

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


def main(model: str, rounds: int, size: Size, models_dir: Path, results_dir: Path) -> Path:
    gguf = resolve(model, models_dir, Silent()).path
    folder = Path(_child("metaclaw.training.prepare", str(gguf), str(models_dir / "trainable"))[0]["folder"])
    dtype = "float32" if gguf.stat().st_size < SMALL_MODEL_BYTES else "bfloat16"
    found: dict[str, list[Measured]] = {}
    for number in range(rounds):
        for layers, share in LAYERS.items():
            for name in _turn(list(CONTENDERS), number):
                with tempfile.TemporaryDirectory() as scratch:
                    job = write_job(Path(scratch), size, folder, gguf, dtype, share)
                    measured = measure(name, job)
                found.setdefault(f"{name} {layers}", []).append(measured)
                print(f"{name} {layers}: {measured.tokens_per_second:.1f} tokens/s, {measured.peak_mb} MB", flush=True)
    command = f"metaclaw bench trainer --model {model} --rounds {rounds} --examples {size.examples}"
    return write(results_dir, command, model, dtype, size, found)


def write_job(folder: Path, size: Size, model: Path, gguf: Path, dtype: str, share: float) -> Path:
    job = {
        "model_dir": str(model), "base_gguf": str(gguf), "base_model": "bench", "objective": "sft", "dtype": dtype,
        "adapted_share": share, "epochs": size.epochs, "batch_size": size.batch, "threads": os.cpu_count() or 1,
        "kl_budget": None,
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    lines = [json.dumps(row) for row in rows(size.examples, seed=1)]
    (folder / "dataset.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def measure(contender: str, job: Path) -> Measured:
    """One run. Raises `TrainingError` with what it said last where it fails."""
    module, *more = CONTENDERS[contender]
    before = _children_seconds()
    done, times = _child(module, str(job), *more)
    return Measured(
        done["tokens"], times["saving"] - times["tokenised"], _children_seconds() - before, done["peak_rss_mb"],
        done["loss"],
    )  # fmt: skip


def write(
    folder: Path, command: str, model: str, dtype: str, size: Size, found: dict[str, list[Measured]]
) -> Path:
    arms = {
        name: Arm("tokens a second", round(_median(runs, "tokens_per_second"), 1), _range(runs), len(runs))
        for name, runs in found.items()
    }
    figures = {
        name: {key: round(_median(runs, key), 2) for key in FIGURES}
        for name, runs in found.items()
    }
    checks: dict[str, Check] = {}
    for layers in LAYERS:
        ours, *theirs = (found[f"{name} {layers}"] for name in CONTENDERS)
        speed = _median(ours, "tokens_per_second") / max(_median(runs, "tokens_per_second") for runs in theirs)
        memory = _median(ours, "peak_mb") / min(_median(runs, "peak_mb") for runs in theirs)
        checks[f"throughput ratio, {layers}"] = Check(round(speed, 3), "at least 1.0", speed >= 1.0)
        checks[f"memory ratio, {layers}"] = Check(round(memory, 3), "at most 1.0", memory <= 1.0)
    extra = {"dtype": dtype, "size": {"examples": size.examples, "epochs": size.epochs, "batch": size.batch},
             "figures": figures, "ci95": "of throughput: the least and the most of the rounds"}
    return results.write(folder, _name(model), command, model, [1], arms, checks, extra)


def _name(model: str) -> str:
    return BENCH if model.startswith("smollm2") else f"{BENCH}-{model}"


def _turn(names: list[str], number: int) -> list[str]:
    """Who begins changes with each round."""
    at = number % len(names)
    return names[at:] + names[:at]


def _child(module: str, *arguments: str) -> tuple[dict[str, Any], dict[str, float]]:
    """Its last event, and when each phase began."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env=os.environ | SHORT_SPIN,
    )  # fmt: skip
    last: dict[str, Any] = {}
    times: dict[str, float] = {}
    with process:
        assert process.stdout  # noqa: S101 - a pipe
        for line in process.stdout:
            if line.startswith('{"event"'):  # TRL prints dictionaries of its own
                last = json.loads(line)
                times.setdefault(str(last.get("phase")), time.monotonic())
    if process.returncode or last.get("event") != "done":
        raise TrainingError(f"{module} did not get to its end: {last.get('message') or last}")
    return last, times


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _median(runs: Sequence[Measured], key: str) -> float:
    return float(statistics.median(getattr(one, key) for one in runs))


def _range(runs: Sequence[Measured]) -> tuple[float, float]:
    values = [one.tokens_per_second for one in runs]
    return round(min(values), 1), round(max(values), 1)
