"""The loop with a model of few weights: what it learns, when it stops, and that it goes on where it stood."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from metaclaw.training import objectives
from metaclaw.training.examples import Example
from metaclaw.training.run import Interrupted, Run
from metaclaw.training.student import Student
from tiny import END, Scored, Taught, example, tiny_job, tiny_run

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # PEFT asks transformers so

TOLERANCE = 1e-6
"""Largest difference of any weight between a resumed run and an uninterrupted one."""
OBJECTIVES = ("distill", "sft", "grpo", "opd")
GOOD = 13


def data(query: bool = True) -> list[Example]:
    kinds = ["proven"] * 6 + ["replay"] * 3 + (["query"] * 2 if query else [])
    recorded = {1: {"logprobs": (-1.0, -0.5, -2.0)}}
    return [example(at, kind, **recorded.get(at, {})) for at, kind in enumerate(kinds)]  # type: ignore[arg-type]


def run_of(folder: Path, objective: str, stop: threading.Event | None = None, **settings: Any) -> Run:
    job = tiny_job(folder, objective=objective, updates_per_sample=2, patience=None, **settings)
    scorer = Scored(lambda text: float(text.split().count(str(GOOD))))
    rows = data(query=objective in ("sft", "grpo"))
    return tiny_run(job, rows, stop, scorer=scorer, teacher=Taught(GOOD) if objective == "opd" else None)


def student_of(run: Run) -> Student:
    assert isinstance(run._student, Student)
    return run._student


def weights(run: Run) -> dict[str, torch.Tensor]:
    return student_of(run).adapter()


def difference(one: Run, other: Run) -> float:
    return max(float((a - weights(other)[name]).abs().max()) for name, a in weights(one).items())


class AfterCalls(threading.Event):
    """Set when it has been asked so often."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_run_that_is_stopped_again_and_again_ends_in_the_same_adapter(objective: str, tmp_path: Path) -> None:
    whole = run_of(tmp_path / "whole", objective)
    whole.to_the_end()
    stops, calls = 0, 1 if objective == "sft" else 4
    while True:
        part = run_of(tmp_path / "parts", objective, AfterCalls(calls + stops % 3))
        try:
            part.to_the_end()
            break
        except Interrupted:
            stops += 1
    assert stops >= 3
    assert difference(whole, part) <= TOLERANCE
    kept, again = vars(whole.progress), vars(part.progress)
    clocks = ("seconds", "train_seconds", "recent")
    assert {k: v for k, v in kept.items() if k not in clocks} == {k: v for k, v in again.items() if k not in clocks}
    for one, two in zip(kept["recent"], again["recent"], strict=True):
        assert one == pytest.approx(two, abs=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_step_tells_how_far_from_the_base_it_is(
    objective: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_of(tmp_path / "job", objective).to_the_end()
    said = [*map(json.loads, capsys.readouterr().out.splitlines())]
    steps = [event for event in said if event["event"] in ("step", "skipped")]
    assert [step["step"] for step in steps] == list(range(1, 10))
    learned = [step for step in steps if step["event"] == "step"]
    assert all(step["kl_to_base"] >= 0 for step in learned)
    assert any(step["kl_to_base"] > 1e-4 for step in learned)


def chance_of(run: Run, word: int) -> float:
    """The mean probability of a word as the first of a reply, over the practice prompts."""
    prompts = [one.prompt for one in run._examples if one.kind == "proven"]
    with torch.no_grad():
        model = student_of(run)._model
        said = [model(torch.tensor([prompt])).logits[0, -1].softmax(-1)[word].item() for prompt in prompts]
    return float(sum(said) / len(said))


@pytest.mark.parametrize("objective", ["grpo", "opd"])
def test_what_is_paid_for_or_taught_becomes_likelier(objective: str, tmp_path: Path) -> None:
    job = tiny_job(
        tmp_path / "job", objective=objective, epochs=12, learning_rate=0.03, group_size=6, reply_tokens=3,
    )
    scorer = Scored(lambda text: float(text.split()[:1] == [str(GOOD)]))
    run = tiny_run(job, data(query=False), scorer=scorer, teacher=Taught(GOOD) if objective == "opd" else None)
    before = chance_of(run, GOOD)
    run.to_the_end()
    assert chance_of(run, GOOD) > 2 * before
    assert run.progress.own_samples > 0


def distance(run: Run) -> float:
    """KL of the student from the teacher at the first word, over the practice prompts."""
    student, found = student_of(run), []
    with torch.no_grad():
        for one in run._examples:
            if one.kind == "proven" and one.teacher_prompt:
                said = student._model(torch.tensor([one.prompt])).logits[0, -1].log_softmax(-1)
                with student.as_base():
                    told = student._model(torch.tensor([one.teacher_prompt])).logits[0, -1].log_softmax(-1)
                found.append((said.exp() * (said - told)).sum().item())
    return float(sum(found) / len(found))


def test_by_its_own_words_alone_the_student_comes_nearer_to_the_teacher(tmp_path: Path) -> None:
    job = tiny_job(tmp_path / "job", own_share=1.0, warm_epochs=0, epochs=12, learning_rate=0.03, top_k=24)
    run = tiny_run(job, data(query=False))
    before = distance(run)
    run.to_the_end()
    assert distance(run) < 0.7 * before


@pytest.mark.parametrize(("worth", "unscored"), [(1.0, 0), (None, 4 * 6 * 3)])
def test_a_group_without_variance_is_skipped_and_counted(tmp_path: Path, worth: float | None, unscored: int) -> None:
    """Rehearsal or not: without a lesson the student stays as it is."""
    job = tiny_job(tmp_path / "job", objective="grpo")
    run = tiny_run(job, data(query=False), scorer=Scored(lambda text: worth))
    before = weights(run)
    run.to_the_end()
    assert all(torch.equal(before[name], now) for name, now in weights(run).items())
    progress = run.progress
    assert (progress.step, progress.skipped_steps, progress.own_samples) == (9, 9, 0)
    assert (progress.flat_groups, progress.unscored_samples) == (6 * 3, unscored)


def test_without_rehearsal_the_distance_is_taken_where_it_practises(tmp_path: Path) -> None:
    run = tiny_run(tiny_job(tmp_path / "job", objective="sft", epochs=4), [example(at) for at in range(4)])
    run.to_the_end()
    assert run.progress.recent[0]["kl_to_base"] == pytest.approx(0, abs=1e-6)
    assert run.progress.recent[-1]["kl_to_base"] > 1e-3


def test_a_spent_budget_stops_the_run(tmp_path: Path) -> None:
    job = tiny_job(tmp_path / "job", objective="sft", epochs=30, learning_rate=0.05, kl_budget=0.05, replay_weight=0.0)
    run = tiny_run(job, data(query=False))
    run.to_the_end()
    assert run.progress.step < 90
    assert "over its budget" in run.progress.stopped
    assert all(report["kl_to_base"] < 0.05 for report in run.progress.recent[:-2])
    again = tiny_run(job, data(query=False))
    again.to_the_end()
    assert (again.progress.step, again.progress.stopped) == (run.progress.step, run.progress.stopped)


def test_the_best_epoch_on_the_query_rows_is_kept(tmp_path: Path) -> None:
    """Queries that want the opposite of the practice get worse as it is learned: the first epoch is the best."""
    rows = [*(example(at) for at in range(6)), *(example(at, "query", reply=(5, 6, 7, END)) for at in range(3))]
    job = tiny_job(tmp_path / "job", objective="sft", epochs=20, learning_rate=0.05, patience=2)
    run = tiny_run(job, rows)
    run.to_the_end()
    assert run.progress.stopped.startswith("no better on held-out query replies")
    assert run.progress.step < 40
    best = run._student.mean_loss(rows, [6, 7, 8], run._kept)
    assert best == pytest.approx(run.progress.query_loss, abs=1e-6)


def test_recorded_probabilities_change_what_is_learned_and_only_then(tmp_path: Path, monkeypatch: Any) -> None:
    """The text-only rows of a run never meet the weighing."""
    weighed: list[str] = []
    real = objectives._weight

    def spy(job: Any, one: Example, now_N: Any) -> Any:
        weighed.append(one.id)
        return real(job, one, now_N)

    monkeypatch.setattr(objectives, "_weight", spy)
    run = tiny_run(tiny_job(tmp_path / "job", own_share=0.0), data())
    run.to_the_end()
    assert set(weighed) == {"1"}
