"""The job under its lease: what another learner has taken over is stopped, and not touched. It goes on while it may."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from metaclaw.config.slow_loop import TrainingSettings
from metaclaw.errors import EngineError, LeaseLostError, OvertakenError, StoreError, TrainingError
from metaclaw.library.catalog import Catalog
from metaclaw.scheduler.leases import GRACE_SECONDS, LEASE_SECONDS
from metaclaw.signals import ledger
from metaclaw.store import Database
from metaclaw.training import jobs as module
from metaclaw.training.comparison import OpenArena
from metaclaw.training.gate import LEAST_TO_TELL, Comparison, Pair
from metaclaw.training.job import MOST_STUMBLES, Ask, TrainingJob
from metaclaw.training.jobs import JobRow, Jobs
from metaclaw.training.judging import Compared, Judging
from metaclaw.training.questions import BESIDE_THE_USER
from metaclaw.training.registry import Registry
from metaclaw.training.selection import Evidence
from metaclaw.types import Adapter, AdapterState, Signal, SkillState, Turn
from small_adapter import write_adapter
from support import NAMESPACE, keep, make_skill, make_turn, until


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: now[0]))
    return now


def never(*_: Any) -> Any:
    raise AssertionError("not to be called")


def job_of(
    jobs: Jobs, database: Database, folder: Path, open_arena: OpenArena = never, ask: Ask = never,
    offer: Callable[[Adapter], object] = never,
) -> TrainingJob:
    return TrainingJob(
        database=database, namespace=NAMESPACE, settings=TrainingSettings(), base_model="none",
        base_gguf=folder / "none.gguf", prepared_dir=folder / "prepared", jobs=jobs,
        ask=ask, evidence=lambda: Evidence(0),
        judging=Judging(Registry(database, NAMESPACE, folder / "adapters"), "none", lambda: None, open_arena, offer),
    )


async def test_a_job_that_was_taken_over_in_a_pause_does_not_go_on(
    database: Database, tmp_path: Path, clock: list[float]
) -> None:
    ours, others = (Jobs(database, NAMESPACE, tmp_path) for _ in range(2))
    row = ours.take()
    assert row is not None
    row.folder.mkdir()
    (row.folder / "dataset.jsonl").touch()  # the next step is a child process, which waits for the pause to end
    job = job_of(ours, database, tmp_path)
    job.pause()
    running = asyncio.create_task(job.run())
    await until(lambda: (latest := ours.latest()) is not None and latest.progress.get("phase") is not None)
    clock[0] += LEASE_SECONDS + GRACE_SECONDS + 1  # the machine slept
    taken = others.take()
    assert taken is not None
    assert taken.id == row.id
    job.resume()
    with pytest.raises(LeaseLostError):
        await running
    assert others.holds(taken)
    assert others.latest() == taken  # nothing was written into it


async def begun(jobs: Jobs, database: Database) -> tuple[JobRow, Turn]:
    """A job with its dataset built from one turn of now; its next step is a child process."""
    turn = make_turn()
    await keep(database, turn)
    row = jobs.take()
    assert row is not None
    row.folder.mkdir()
    (row.folder / "manifest.jsonl").write_text(json.dumps({"turn_id": turn.id, "split": "train", "skills": []}))
    (row.folder / "dataset.jsonl").write_text("{}")
    return row, turn


async def under_way(job: TrainingJob, jobs: Jobs) -> asyncio.Task[None]:
    """The job, which waits for the pause to end with its child process to begin."""
    job.pause()
    running = asyncio.create_task(job.run())
    await until(lambda: (latest := jobs.latest()) is not None and latest.progress.get("phase") is not None)
    return running


def changed_library(database: Database, folder: Path, support: Sequence[str]) -> None:
    catalog = Catalog(database, NAMESPACE, folder / "skills")
    if support:
        catalog.hold(make_skill(), "waits", support)  # the generation stays
    else:
        catalog.publish(make_skill(), SkillState.ACTIVE, "test", [])


@pytest.mark.parametrize("as_support", [True, False])
async def test_a_job_goes_on_only_while_what_entered_may_still_train(
    database: Database, tmp_path: Path, as_support: bool
) -> None:
    jobs = Jobs(database, NAMESPACE, tmp_path)
    row, turn = await begun(jobs, database)
    job = job_of(jobs, database, tmp_path)
    running = await under_way(job, jobs)
    changed_library(database, tmp_path, [turn.id] if as_support else [])
    job.resume()
    with pytest.raises(OvertakenError, match="may not train any more"):
        await running
    latest = jobs.latest()
    assert latest is not None
    assert (latest.id, latest.state) == (row.id, "failed")
    assert [path.name for path in row.folder.iterdir()] == ["manifest.jsonl"]


async def test_a_job_that_is_at_work_looks_now_and_then_whether_it_may(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs(database, NAMESPACE, tmp_path)
    await begun(jobs, database)
    monkeypatch.setattr("metaclaw.training.job.RENEW_SECONDS", 0.01)
    running = await under_way(job_of(jobs, database, tmp_path), jobs)
    changed_library(database, tmp_path, [])
    with pytest.raises(OvertakenError):
        await running


async def test_a_job_that_is_taken_up_after_the_library_changed_is_not_trained(
    database: Database, tmp_path: Path
) -> None:
    jobs = Jobs(database, NAMESPACE, tmp_path)
    await begun(jobs, database)
    changed_library(database, tmp_path, [])
    with pytest.raises(OvertakenError):
        await job_of(jobs, database, tmp_path).run()
    row = jobs.take()
    assert row is not None
    assert row.progress == {}  # a new one


async def test_a_job_that_was_begun_on_another_base_model_fails_and_makes_room(
    database: Database, tmp_path: Path, clock: list[float]
) -> None:
    jobs = Jobs(database, NAMESPACE, tmp_path)
    row = jobs.take()
    assert row is not None
    jobs.report(row, "running", {"base_model": "another"}).result()
    row.folder.mkdir()
    for name in ("dataset.jsonl", "features.safetensors", "checkpoint.pt"):
        (row.folder / name).touch()
    with pytest.raises(TrainingError, match="Another base model"):
        await job_of(jobs, database, tmp_path).run()
    latest = jobs.latest()
    assert latest is not None
    assert latest.state == "failed"
    assert [path.name for path in row.folder.iterdir()] == ["dataset.jsonl"]  # nobody goes on from what is gone


async def test_a_job_that_stumbles_in_one_phase_again_and_again_fails_and_makes_room(
    database: Database, tmp_path: Path
) -> None:
    jobs = Jobs(database, NAMESPACE, tmp_path)
    row, _ = await begun(jobs, database)
    (row.folder / "result.json").write_text("{}")  # the gate is next

    def no_engine(*_: Any) -> Any:
        raise EngineError("The engine for arena did not start.")

    states = []
    for _ in range(MOST_STUMBLES):
        (row.folder / "adapter").mkdir(exist_ok=True)
        with pytest.raises(EngineError):
            await job_of(jobs, database, tmp_path, no_engine).run()
        latest = jobs.latest()
        assert latest is not None
        states.append((latest.id == row.id, latest.state))
    assert states == [(True, "paused"), (True, "paused"), (True, "failed")]
    assert latest is not None
    assert latest.progress["error"] == "The engine for arena did not start. (3 times in the phase 'gate')"


async def test_questions_do_not_go_on_when_the_user_is_back(database: Database, tmp_path: Path) -> None:
    for number in range(4 * LEAST_TO_TELL):
        turn = make_turn(session=f"s{number}", skills=("a@1",))
        await keep(database, turn)
        ledger.record(database, NAMESPACE, [Signal(turn.id, "check", 1.0, "it passed")])
    under_way: set[int] = set()

    async def ask(body: dict[str, Any]) -> str:
        under_way.add(id(body))
        try:
            await asyncio.Event().wait()
        finally:
            under_way.remove(id(body))
        return ""

    job = job_of(Jobs(database, NAMESPACE, tmp_path), database, tmp_path, ask=ask)
    running = asyncio.create_task(job.run())
    await until(lambda: len(under_way) == BESIDE_THE_USER)
    job.pause()
    await until(lambda: not under_way)
    job.resume()
    await until(lambda: len(under_way) == BESIDE_THE_USER)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not under_way


@pytest.mark.parametrize("came_to_it", [True, False])
async def test_a_job_that_ended_between_its_verdict_and_its_report_is_not_judged_again(
    database: Database, tmp_path: Path, clock: list[float], came_to_it: bool
) -> None:
    jobs, registry = Jobs(database, NAMESPACE, tmp_path), Registry(database, NAMESPACE, tmp_path / "adapters")
    row = jobs.take()
    assert row is not None
    row.folder.mkdir()
    for name, text in (("manifest.jsonl", ""), ("dataset.jsonl", ""), ("result.json", "{}")):
        (row.folder / name).write_text(text, encoding="utf-8")
    write_adapter(row.folder / "adapter")
    better = Comparison((Pair("Q", "old", "new", incumbent_right=False, candidate_right=True),) * LEAST_TO_TELL)

    def ends(adapter: Adapter) -> None:
        raise StoreError("database or disk is full")

    with pytest.raises(StoreError):
        Judging(registry, "none", lambda: None, never, ends).decide(row.folder, Compared(None, better, {}), 0)
    [adapter] = registry.all()
    if came_to_it:  # and more was found of it since
        registry.note(adapter.name, registry.verdicts(adapter.name)[0], AdapterState.PROMOTED)
    offered: list[str] = []
    await job_of(jobs, database, tmp_path, offer=lambda one: offered.append(one.name)).run()
    latest = jobs.latest()
    assert latest is not None
    assert (latest.state, latest.progress["adapter"]) == ("done", adapter.name)
    assert latest.progress["decision"].startswith("promoted: better")
    assert (offered, registry.all()) == ([] if came_to_it else [adapter.name], [adapter])


async def test_what_another_learner_works_on_is_left_to_it(
    database: Database, tmp_path: Path, clock: list[float]
) -> None:
    ours, others = (Jobs(database, NAMESPACE, tmp_path) for _ in range(2))
    assert others.take() is not None
    job = job_of(ours, database, tmp_path)
    assert job.ready()
    with pytest.raises(LeaseLostError, match="Another learner works"):
        await job.run()


async def test_nothing_is_trained_that_the_gate_could_not_let_serve(database: Database, tmp_path: Path) -> None:
    job = job_of(Jobs(database, NAMESPACE, tmp_path), database, tmp_path)
    for number in range(2 * LEAST_TO_TELL):
        assert not job.ready(asked=True)
        turn = make_turn(session=f"s{number}", skills=("a@1",))
        await keep(database, turn)
        ledger.record(database, NAMESPACE, [Signal(turn.id, "check", 1.0, "it passed")])
    assert job.ready(asked=True)
    await database.write_async(lambda one: one.execute("DELETE FROM signals WHERE turn_id = ?", (turn.id,)))
    with pytest.raises(TrainingError, match=f"7 proven turns to train on, and 2 to test on.* needs {LEAST_TO_TELL}"):
        await job.run()
