"""The loop of a training job: one step after the other, until the last one or until there is a reason to stop before.

In: a student, what it learns from, and the job's folder with a checkpoint in it if there was an earlier run. Out: the
student, as it should be kept, and the progress. Says each step on stdout as a line of JSON.
"""

from __future__ import annotations

import json
import resource
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from metaclaw.training.backend import Backend, Between, StepReport
from metaclaw.training.examples import Example
from metaclaw.training.features import Features
from metaclaw.training.own import Lesson, OwnWords
from metaclaw.training.plan import Step, learning_rate, plan
from metaclaw.training.recipe import TrainJob

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


class Run:
    """The loop: one step after the other, from the checkpoint if there is one."""

    def __init__(
        self,
        job: TrainJob,
        job_dir: Path,
        student: Backend,
        own: OwnWords,
        examples: list[Example],
        kept: Features,
        stop: threading.Event,
    ) -> None:
        self._job = job
        self._folder = job_dir
        self._student = student
        self._own = own
        self._examples = examples
        self._kept = kept
        self._query = [index for index, example in enumerate(examples) if example.kind == "query"]
        self._stop = stop
        self.progress = Progress()
        if found := student.restore(job_dir):
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
        self._student.take_best()

    def _step(self, step: Step, rate: float) -> tuple[StepReport | None, Lesson]:
        """No report where there was nothing to learn: the student stays as it is."""
        prompts = [self._examples[index] for index in step.own]
        lesson = self._own.lesson(prompts, self.progress.step, self._check)
        examples = [*(self._examples[index] for index in step.given), *lesson.examples]
        if not any(not example.replay for example in examples):
            return None, lesson
        features = self._kept.of(step.given).and_(lesson.features)
        report = self._update(examples, features, rate, self._check)
        for _ in range(self._job.updates_per_sample - 1 if lesson.examples else 0):
            report = self._update(examples, features, rate, lambda: None)  # half a step is no place to stop
        return report, lesson

    def _update(self, examples: list[Example], features: Features, rate: float, between: Between) -> StepReport:
        report = self._student.forward_backward(examples, features, between)
        self._student.optim_step(rate)
        return report

    def _look_whether_to_stop(self, step: Step) -> None:
        progress, drift = self.progress, self.progress.mean("kl_to_base", BUDGET_STEPS)
        if self._job.kl_budget is not None and drift is not None and drift > self._job.kl_budget:
            progress.stopped = f"the divergence from the base, {drift:.3f} nats a token, is over its budget"
        elif step.last and self._query:
            loss = self._student.mean_loss(self._examples, self._query, self._kept)
            better = progress.query_loss is None or loss < progress.query_loss
            if better:
                progress.query_loss, progress.waited = loss, 0
                self._student.keep_best()
            else:
                progress.waited += 1
            if self._job.patience is not None and progress.waited >= self._job.patience:
                progress.stopped = f"no better on held-out query replies since epoch {step.epoch - progress.waited + 1}"
            say("query", epoch=step.epoch + 1, loss=loss, best=progress.query_loss)
        if progress.stopped:
            say("phase", phase="stopped", reason=progress.stopped, step=progress.step)

    def _check(self) -> None:
        check(self._stop)

    def _checkpoint(self) -> None:
        self._student.checkpoint(self._folder, asdict(self.progress))
        say("checkpoint", step=self.progress.step)


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


def check(stop: threading.Event) -> None:
    """Raises `Interrupted` where we were asked to stop."""
    if stop.is_set():
        raise Interrupted
