"""The process `python -m metaclaw.training.trainer JOB_DIR`: one job, from its dataset to an adapter.

In: `job.json`, which says where the student learns, and `dataset.jsonl`. Out: `adapter/` (PEFT), `adapter.gguf`,
`result.json`, and one JSON object a line on stdout: `phase`, `step` (`skipped` where one taught nothing), `query`,
`checkpoint`, then `done` or `error`. It runs while nobody else does, and may be stopped or killed at any moment:
`features.safetensors` and the backend's checkpoint are what it goes on from; with the backend `local`, to the adapter
that an uninterrupted run would have given. Exit codes: 0 done, 1 error, 74 the parent is gone, 75 asked to stop.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from metaclaw.errors import TemplateError, TrainingError
from metaclaw.leash import die_with_parent, step_aside
from metaclaw.training import features, model, tinker_student
from metaclaw.training.backend import Backend
from metaclaw.training.examples import Example, encode
from metaclaw.training.features import Features
from metaclaw.training.gguf import convert_adapter
from metaclaw.training.own import OwnWords
from metaclaw.training.recipe import SAMPLED_ONLY, Row, TrainJob, read_job, read_rows
from metaclaw.training.run import Interrupted, Progress, Run, check, peak_rss_mb, say
from metaclaw.training.scoring import CheckOrJudge, Scorer
from metaclaw.training.student import CHECKPOINT, Student
from metaclaw.training.teacher import RemoteTeacher
from metaclaw.training.tinker_service import Service
from metaclaw.training.tinker_student import TinkerStudent

ORPHANED = 74
INTERRUPTED = 75


def main(arguments: list[str]) -> int:
    die_with_parent()
    step_aside(entirely=True)
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
    tokenizer = model.load_tokenizer(job.model_dir)
    scorer = CheckOrJudge(job)
    examples = tokenise(job, job_dir, tokenizer, scorer)
    student = _backend(job, tokenizer, examples, stop)
    kept = _features(job, job_dir, student, examples, stop)
    teacher = RemoteTeacher(job.teacher, tokenizer, job.top_k) if job.objective == "opd" and job.teacher else None
    own = OwnWords(job, tokenizer, student, scorer, teacher)
    run = Run(job, job_dir, student, own, examples, kept, stop)
    run.progress.seconds += time.monotonic() - started
    run.to_the_end()
    _finish(job, job_dir, student, run.progress)


def _backend(job: TrainJob, tokenizer: Any, examples: list[Example], stop: threading.Event) -> Backend:
    end = int(tokenizer.eos_token_id)
    rehearsed = any(example.replay for example in examples)
    if job.tinker is None:
        base, _ = model.load(job.model_dir, getattr(torch, job.dtype))
        return Student(base, job, end, tells_base=not rehearsed)
    if not rehearsed:
        raise TrainingError("With a Tinker API, the distance from the base is measured on rehearsed replies: add some")
    service = Service(job.tinker, lambda: check(stop))
    return TinkerStudent(job, job.tinker, end, service, lambda: check(stop))


def tokenise(job: TrainJob, job_dir: Path, tokenizer: Any, scorer: Scorer) -> list[Example]:
    """All examples that the chat template takes, that fit `max_tokens` and that somebody can score; how many were left
    out is said.

    Raises `TrainingError` when there is none to practise.
    """
    rows = read_rows(job_dir)
    examples = [example for row in rows if (example := _encoded(tokenizer, row))]
    if not any(example.kind == "proven" for example in examples):
        raise TrainingError("the model's chat template refuses every example")
    fitting = [example for example in examples if example.tokens <= job.max_tokens]
    if not any(example.kind == "proven" for example in fitting):
        raise TrainingError(f"every example is longer than max_tokens = {job.max_tokens}")
    kept = [one for one in fitting if job.objective != "grpo" or one.kind != "proven" or scorer.can(one)]
    if not any(example.kind == "proven" for example in kept):
        raise TrainingError("grpo needs a check for its prompts, or a judge elsewhere: set judge.url and judge.model")
    say(
        "phase", phase="tokenised", examples=len(kept), left_out=len(examples) - len(fitting),
        without_score=len(fitting) - len(kept), refused_by_template=len(rows) - len(examples),
    )
    return kept


def _encoded(tokenizer: Any, row: Row) -> Example | None:
    try:
        return encode(tokenizer, row)
    except TemplateError:
        return None


def _features(
    job: TrainJob, job_dir: Path, student: Backend, examples: list[Example], stop: threading.Event
) -> Features:
    path, key = job_dir / "features.safetensors", _key(job, examples)
    found = features.load(path, len(examples), key)
    if found is not None:
        return found

    def on(done: int, total: int) -> None:
        say("phase", phase="teacher", done=done, total=total)
        check(stop)

    given = [i for i, one in enumerate(examples) if one.kind != "proven" or job.objective not in SAMPLED_ONLY]
    computed = student.look(examples, given, on)
    features.save(computed, path, key)
    return computed


def _key(job: TrainJob, examples: list[Example]) -> str:
    text = json.dumps([job.model_dump_json(), [asdict(example) for example in examples]])
    return hashlib.sha256(text.encode()).hexdigest()


def _finish(job: TrainJob, job_dir: Path, student: Backend, progress: Progress) -> None:
    """The adapter in both formats, then the result that vouches for them, then the scratch files go."""
    say("phase", phase="saving")
    for leftover in ("adapter", "adapter.unfinished"):
        shutil.rmtree(job_dir / leftover, ignore_errors=True)
    student.save_adapter(job_dir / "adapter")
    _convert(job, job_dir)
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
    for scratch in (CHECKPOINT, tinker_student.CHECKPOINT, "features.safetensors"):
        (job_dir / scratch).unlink(missing_ok=True)
    say("done", **result)


def _convert(job: TrainJob, job_dir: Path) -> None:
    """Raises `TrainingError` where the engine cannot serve it; the adapter as PEFT has it stays in the job's folder."""
    try:
        convert_adapter(job_dir / "adapter", job.base_gguf, job_dir / "adapter.gguf")
    except TrainingError as error:
        if job.tinker is None:
            raise
        raise TrainingError(
            f"The adapter is trained, and lies in {job_dir / 'adapter'}, but the embedded engine cannot serve it, so"
            f" that no gate can try it: {error}. Is {job.tinker.model} on the server the model that is embedded here,"
            f" {job.base_model}?"
        ) from error


def _end_with_parent() -> None:
    """End at once when stdin does: the parent holds its other end. Every file is written whole or not at all."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(ORPHANED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
