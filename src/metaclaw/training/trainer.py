"""The process `python -m metaclaw.training.trainer JOB_DIR`: one job, from its dataset to an adapter.

In: `job.json` and `dataset.jsonl`. Out: `adapter/` (PEFT), `adapter.gguf`, `result.json`, and one JSON object a line on
stdout: `phase`, `step` (`skipped` where one taught nothing), `query`, `checkpoint`, then `done` or `error`. It runs at
the lowest priority and may be stopped or killed at any moment: `features.safetensors` and `checkpoint.pt` are what it
goes on from, with the adapter that an uninterrupted run would have given. Exit codes: 0 done, 1 error, 74 the parent is
gone, 75 asked to stop.
"""

from __future__ import annotations

import hashlib
import json
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
from metaclaw.training.examples import Example, encode
from metaclaw.training.features import Features, Wanted
from metaclaw.training.gguf import convert_adapter
from metaclaw.training.own import Lesson, OwnWords
from metaclaw.training.plan import Step, learning_rate, plan
from metaclaw.training.recipe import SAMPLED_ONLY, TrainJob, read_job, read_rows
from metaclaw.training.scoring import CheckOrJudge, Scorer
from metaclaw.training.student import StepReport, Student, first_adapted_layer
from metaclaw.training.teacher import RemoteTeacher

ORPHANED = 74
INTERRUPTED = 75
KEPT_REPORTS = 8
"""The final figures are means over the last steps: one step alone is a handful of examples."""
BUDGET_STEPS = 3
"""The budget is held against their mean: a single step's few rehearsed tokens are no measure."""


class Interrupted(Exception):  # noqa: N818 - not an error: the parent asked
    """SIGTERM arrived."""


@dataclass
class Progress:
    """What a checkpoint keeps besides the adapters. `seconds` is working time over all runs, preparation included.

    `skipped_steps` taught nothing and changed nothing; `stopped` says why the run ended before its last step.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    train_seconds: float = 0.0
    recent: list[dict[str, Any]] = field(default_factory=list)
    own_samples: int = 0
    flat_groups: int = 0
    unscored_samples: int = 0
    skipped_steps: int = 0
    query_loss: float | None = None
    waited: int = 0
    stopped: str = ""

    def add(self, report: StepReport | None, lesson: Lesson, seconds: float) -> None:
        self.step += 1
        self.seconds += seconds
        self.train_seconds += seconds
        self.own_samples += len(lesson.examples)
        self.flat_groups += lesson.flat_groups
        self.unscored_samples += lesson.unscored
        if report is None:
            self.skipped_steps += 1
            return
        self.tokens += report.tokens
        self.recent = [*self.recent, asdict(report)][-KEPT_REPORTS:]

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.train_seconds if self.train_seconds else 0.0

    def mean(self, key: str, last: int = KEPT_REPORTS) -> float | None:
        values = [report[key] for report in self.recent[-last:]]
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
    if job.objective == "opd" and job.teacher is None:
        raise TrainingError("opd needs a teacher: set training.teacher_url and training.teacher_model")
    torch.set_num_threads(job.threads)
    say("phase", phase="loading")
    base, tokenizer = model.load(job.model_dir, getattr(torch, job.dtype))
    scorer = CheckOrJudge(job)
    examples = tokenise(job, job_dir, tokenizer, scorer)
    wanted = Wanted(
        first_adapted_layer(len(base.model.layers), job.adapted_share), job.top_k, taught=job.objective == "distill",
        base=not any(example.replay for example in examples),
    )
    kept = _features(job, job_dir, base, examples, wanted, stop)
    student = Student(base, job)
    teacher = RemoteTeacher(job.teacher, tokenizer, job.top_k) if job.objective == "opd" and job.teacher else None
    own = OwnWords(job, base, tokenizer, student, wanted, scorer, teacher)
    run = Run(job, job_dir, student, own, examples, kept, stop)
    run.progress.seconds += time.monotonic() - started
    run.to_the_end()
    _finish(job, job_dir, student, run.progress)


class Run:
    """The loop: one step after the other, from the checkpoint if there is one."""

    def __init__(
        self,
        job: TrainJob,
        job_dir: Path,
        student: Student,
        own: OwnWords,
        examples: list[Example],
        kept: Features,
        stop: threading.Event,
    ) -> None:
        self._job = job
        self._path = job_dir / "checkpoint.pt"
        self._student = student
        self._own = own
        self._examples = examples
        self._kept = kept
        self._query = [index for index, example in enumerate(examples) if example.kind == "query"]
        self._stop = stop
        self.progress = Progress()
        self._best: dict[str, torch.Tensor] | None = None
        if self._path.exists():
            found, self._best = student.restore(self._path)
            self.progress = Progress(**found)
            say("phase", phase="resumed", step=self.progress.step)

    def to_the_end(self) -> None:
        """Raises `Interrupted` with everything in the checkpoint."""
        say("phase", phase="training")
        steps = plan(self._job, self._examples)
        saved = time.monotonic()
        while self.progress.step < len(steps) and not self.progress.stopped:
            step, began = steps[self.progress.step], time.monotonic()
            try:
                report, lesson = self._step(step, learning_rate(self._job, self.progress.step, len(steps)))
            except Interrupted:
                self._checkpoint()
                raise
            self.progress.add(report, lesson, time.monotonic() - began)
            _say_step(report, lesson, self.progress, len(steps))
            self._look_whether_to_stop(step)
            if self.progress.step < len(steps) and time.monotonic() - saved >= self._job.checkpoint_every_seconds:
                self._checkpoint()
                saved = time.monotonic()
        if self._best is not None:
            self._student.take(self._best)

    def _step(self, step: Step, rate: float) -> tuple[StepReport | None, Lesson]:
        """No report where there was nothing to learn: the student stays as it is."""
        prompts = [self._examples[index] for index in step.own]
        lesson = self._own.lesson(prompts, self.progress.step, self._check)
        examples = [*(self._examples[index] for index in step.given), *lesson.examples]
        if not any(not example.replay for example in examples):
            return None, lesson
        features = self._kept.of(step.given).and_(lesson.features)
        report = self._student.step(examples, features, rate, self._check)
        for _ in range(self._job.updates_per_sample - 1 if lesson.examples else 0):
            report = self._student.step(examples, features, rate, lambda: None)  # half a step is no place to stop
        return report, lesson

    def _look_whether_to_stop(self, step: Step) -> None:
        progress, drift = self.progress, self.progress.mean("kl_to_base", BUDGET_STEPS)
        if self._job.kl_budget is not None and drift is not None and drift > self._job.kl_budget:
            progress.stopped = f"the divergence from the base, {drift:.3f} nats a token, is over its budget"
        elif step.last and self._query:
            loss = self._student.mean_loss(self._examples, self._query, self._kept)
            better = progress.query_loss is None or loss < progress.query_loss
            if better:
                progress.query_loss, progress.waited, self._best = loss, 0, self._student.adapter()
            else:
                progress.waited += 1
            if self._job.patience is not None and progress.waited >= self._job.patience:
                progress.stopped = f"no better on held-out query replies since epoch {step.epoch - progress.waited + 1}"
            say("query", epoch=step.epoch + 1, loss=loss, best=progress.query_loss)
        if progress.stopped:
            say("phase", phase="stopped", reason=progress.stopped, step=progress.step)

    def _check(self) -> None:
        _check(self._stop)

    def _checkpoint(self) -> None:
        self._student.checkpoint(self._path, asdict(self.progress), self._best)
        say("checkpoint", step=self.progress.step)


def tokenise(job: TrainJob, job_dir: Path, tokenizer: Any, scorer: Scorer) -> list[Example]:
    """All examples that fit `max_tokens` and that somebody can score; what was left out is said.

    Raises `TrainingError` when there is none to practise.
    """
    examples = [encode(tokenizer, row) for row in read_rows(job_dir)]
    fitting = [example for example in examples if example.tokens <= job.max_tokens]
    if not any(example.kind == "proven" for example in fitting):
        raise TrainingError(f"every example is longer than max_tokens = {job.max_tokens}")
    kept = [one for one in fitting if job.objective != "grpo" or one.kind != "proven" or scorer.can(one)]
    if not any(example.kind == "proven" for example in kept):
        raise TrainingError("grpo needs a check for its prompts, or a judge: set training.judge_url and judge_model")
    say(
        "phase", phase="tokenised", examples=len(kept), left_out=len(examples) - len(fitting),
        without_score=len(fitting) - len(kept),
    )
    return kept


def _features(
    job: TrainJob, job_dir: Path, base: Any, examples: list[Example], wanted: Wanted, stop: threading.Event
) -> Features:
    path, key = job_dir / "features.safetensors", _key(job, examples)
    found = features.load(path, len(examples), key)
    if found is not None:
        return found

    def on(done: int, total: int) -> None:
        say("phase", phase="teacher", done=done, total=total)
        _check(stop)

    given = [i for i, one in enumerate(examples) if one.kind != "proven" or job.objective not in SAMPLED_ONLY]
    computed = features.compute(base, examples, given, wanted, on)
    features.save(computed, path, key)
    return computed


def _key(job: TrainJob, examples: list[Example]) -> str:
    text = json.dumps([job.model_dump_json(), [asdict(example) for example in examples]])
    return hashlib.sha256(text.encode()).hexdigest()


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
        "query_loss": progress.query_loss,
        "stopped": progress.stopped,
        "own_samples": progress.own_samples,
        "flat_groups": progress.flat_groups,
        "unscored_samples": progress.unscored_samples,
        "skipped_steps": progress.skipped_steps,
        "peak_rss_mb": peak_rss_mb(),
        "recipe": job.model_dump(mode="json", exclude={"model_dir", "base_gguf"}),
    }
    unfinished = job_dir / "result.json.unfinished"
    unfinished.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(job_dir / "result.json")
    for scratch in ("checkpoint.pt", "features.safetensors"):
        (job_dir / scratch).unlink(missing_ok=True)
    say("done", **result)


def _say_step(report: StepReport | None, lesson: Lesson, progress: Progress, total_steps: int) -> None:
    if report is None:
        say("skipped", step=progress.step, total_steps=total_steps, flat_groups=lesson.flat_groups)
        return
    say(
        "step",
        step=progress.step,
        total_steps=total_steps,
        loss=report.loss,
        kl_to_base=report.kl_to_base,
        own=len(lesson.examples),
        reward=lesson.reward,
        flat_groups=lesson.flat_groups,
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
