"""The process `python -m metaclaw.training.trainer JOB_DIR`: one job, from its dataset to an adapter.

In: `job.json` and `dataset.jsonl`. Out: `adapter/` (PEFT), `adapter.gguf`, `result.json`, and one JSON object a line on
stdout: `phase`, `step`, `checkpoint`, then `done` or `error`. It runs at the lowest priority and may be stopped or
killed at any moment: `features.safetensors` and `checkpoint.pt` are what it goes on from, with the adapter that
an uninterrupted run would have given. Exit codes: 0 done, 1 error, 74 the parent is gone, 75 asked to stop.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import resource
import shutil
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from metaclaw.errors import TrainingError
from metaclaw.leash import die_with_parent
from metaclaw.training import features, model
from metaclaw.training.examples import Example, encode, steps_of_epoch
from metaclaw.training.features import Features
from metaclaw.training.gguf import convert_adapter
from metaclaw.training.recipe import TrainJob, read_job, read_rows
from metaclaw.training.student import StepReport, Student, first_adapted_layer

ORPHANED = 74
INTERRUPTED = 75
KEPT_REPORTS = 8
"""The final figures are means over the last steps: one step alone is a handful of examples."""


class Interrupted(Exception):  # noqa: N818 - not an error: the parent asked
    """SIGTERM arrived."""


@dataclass
class Progress:
    """What a checkpoint keeps besides the adapter. `seconds` is working time over all runs, preparation included."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    train_seconds: float = 0.0
    recent: list[dict[str, Any]] = field(default_factory=list)

    def add(self, report: StepReport, seconds: float) -> None:
        self.step += 1
        self.tokens += report.tokens
        self.seconds += seconds
        self.train_seconds += seconds
        self.recent = [*self.recent, asdict(report)][-KEPT_REPORTS:]

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.train_seconds if self.train_seconds else 0.0

    def mean(self, key: str) -> float | None:
        values = [report[key] for report in self.recent if report[key] is not None]
        return sum(values) / len(values) if values else None


def main(arguments: list[str]) -> int:
    die_with_parent()
    os.nice(19)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        train(Path(arguments[0]), stop)
    except Interrupted:
        return INTERRUPTED
    except TrainingError as error:
        say("error", message=str(error))
        return 1
    except (OSError, RuntimeError, MemoryError) as error:  # a full disk, memory, torch: the edge of the process
        say("error", message=f"{type(error).__name__}: {error}")
        return 1
    return 0


def train(job_dir: Path, stop: threading.Event) -> None:
    """The job from wherever it stands to its result. Raises `TrainingError` or `Interrupted`."""
    started = time.monotonic()
    job = read_job(job_dir)
    torch.set_num_threads(job.threads)
    say("phase", phase="loading")
    base, tokenizer = model.load(job.model_dir, getattr(torch, job.dtype))
    examples = tokenise(job, job_dir, tokenizer)
    kept = _features(job, job_dir, base, examples, stop)
    student = Student(base, job)
    progress = _resume(job_dir, student)
    progress.seconds += time.monotonic() - started
    _loop(job, job_dir, student, examples, kept, progress, stop)
    _finish(job, job_dir, student, progress)


def _loop(
    job: TrainJob,
    job_dir: Path,
    student: Student,
    examples: list[Example],
    kept: Features,
    progress: Progress,
    stop: threading.Event,
) -> None:
    say("phase", phase="training")
    steps = plan(job, len(examples))
    saved = time.monotonic()
    while progress.step < len(steps):
        began = time.monotonic()
        try:
            rate = learning_rate(job, progress.step, len(steps))
            report = student.step(examples, steps[progress.step], kept, rate, lambda: _check(stop))
        except Interrupted:
            _checkpoint(job_dir, student, progress)
            raise
        progress.add(report, time.monotonic() - began)
        _say_step(report, progress, len(steps))
        if progress.step < len(steps) and time.monotonic() - saved >= job.checkpoint_every_seconds:
            _checkpoint(job_dir, student, progress)
            saved = time.monotonic()


def plan(job: TrainJob, examples: int) -> list[list[int]]:
    """Indices of the examples of each step, all epochs in order; it depends on the job alone."""
    epochs = (steps_of_epoch(examples, job.batch_size, job.seed, epoch) for epoch in range(job.epochs))
    return [step for epoch in epochs for step in epoch][: job.max_steps]


def learning_rate(job: TrainJob, step: int, total: int) -> float:
    """A linear warm-up, then half a cosine down to a tenth."""
    warmup = max(1, round(job.warmup_share * total))
    if step < warmup:
        return job.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    return job.learning_rate * (0.1 + 0.45 * (1 + math.cos(math.pi * done)))


def tokenise(job: TrainJob, job_dir: Path, tokenizer: Any) -> list[Example]:
    """All examples that fit `max_tokens`; what was left out is said. Raises `TrainingError` when none is left."""
    examples = [encode(tokenizer, row) for row in read_rows(job_dir)]
    fitting = [example for example in examples if example.tokens <= job.max_tokens]
    if not any(not example.replay for example in fitting):
        raise TrainingError(f"every example is longer than max_tokens = {job.max_tokens}")
    say("phase", phase="tokenised", examples=len(fitting), left_out=len(examples) - len(fitting))
    return fitting


def _features(job: TrainJob, job_dir: Path, base: Any, examples: list[Example], stop: threading.Event) -> Features:
    path, key = job_dir / "features.safetensors", _key(job, examples)
    found = features.load(path, len(examples), key)
    if found is not None:
        return found

    def on(done: int, total: int) -> None:
        say("phase", phase="teacher", done=done, total=total)
        _check(stop)

    first = first_adapted_layer(len(base.model.layers), job.adapted_share)
    computed = features.compute(base, examples, first, job.top_k, job.objective == "distill", on)
    features.save(computed, path, key)
    return computed


def _key(job: TrainJob, examples: list[Example]) -> str:
    text = json.dumps([job.model_dump_json(), [asdict(example) for example in examples]])
    return hashlib.sha256(text.encode()).hexdigest()


def _resume(job_dir: Path, student: Student) -> Progress:
    path = job_dir / "checkpoint.pt"
    if not path.exists():
        return Progress()
    progress = Progress(**student.restore(path))
    say("phase", phase="resumed", step=progress.step)
    return progress


def _checkpoint(job_dir: Path, student: Student, progress: Progress) -> None:
    student.checkpoint(job_dir / "checkpoint.pt", asdict(progress))
    say("checkpoint", step=progress.step)


def _finish(job: TrainJob, job_dir: Path, student: Student, progress: Progress) -> None:
    """The adapter in both formats, then the result that vouches for them, then the scratch files go."""
    say("phase", phase="saving")
    for leftover in ("adapter", "adapter.unfinished"):
        shutil.rmtree(job_dir / leftover, ignore_errors=True)
    student.save_adapter(job_dir / "adapter")
    convert_adapter(job_dir / "adapter", job.base_gguf, job_dir / "adapter.gguf")
    result = {
        "steps": progress.step,
        "seconds": round(progress.seconds, 1),
        "train_seconds": round(progress.train_seconds, 1),
        "tokens": progress.tokens,
        "tokens_per_second": round(progress.tokens_per_second, 1),
        "loss": progress.mean("loss"),
        "kl_to_base": progress.mean("kl_to_base"),
        "peak_rss_mb": peak_rss_mb(),
        "recipe": job.model_dump(mode="json", exclude={"model_dir", "base_gguf"}),
    }
    unfinished = job_dir / "result.json.unfinished"
    unfinished.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(job_dir / "result.json")
    for scratch in ("checkpoint.pt", "features.safetensors"):
        (job_dir / scratch).unlink(missing_ok=True)
    say("done", **result)


def _say_step(report: StepReport, progress: Progress, total_steps: int) -> None:
    say(
        "step",
        step=progress.step,
        total_steps=total_steps,
        loss=report.loss,
        kl_to_base=report.kl_to_base,
        tokens_per_second=round(progress.tokens_per_second, 1),
        eta_seconds=round(progress.train_seconds / progress.step * (total_steps - progress.step), 1),
        peak_rss_mb=peak_rss_mb(),
    )


def say(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


def peak_rss_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise Interrupted


def _end_with_parent() -> None:
    """End at once when stdin does: the parent holds its other end. Every file is written whole or not at all."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
