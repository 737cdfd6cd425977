"""Jobs: one at a time, held by a lease that lapses with its holder, and a mark of what was trained on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from metaclaw.scheduler.leases import GRACE_SECONDS, LEASE_SECONDS
from metaclaw.store import Database
from metaclaw.training import jobs as module
from metaclaw.training.jobs import JobRow, Jobs
from support import NAMESPACE


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: now[0]))
    return now


@pytest.fixture
def learners(database: Database, tmp_path: Path, clock: list[float]) -> tuple[Jobs, Jobs]:
    return Jobs(database, NAMESPACE, tmp_path), Jobs(database, NAMESPACE, tmp_path)


def taken(jobs: Jobs) -> JobRow:
    row = jobs.take()
    assert row is not None
    return row


def test_a_new_job_gets_a_folder_of_its_own(learners: tuple[Jobs, Jobs], tmp_path: Path) -> None:
    jobs, _ = learners
    assert jobs.latest() is None
    row = taken(jobs)
    assert row == JobRow(row.id, "running", tmp_path / row.id, {}, row.created_at, row.created_at)
    assert jobs.latest() == row


def test_a_second_learner_gets_nothing_while_the_lease_holds(
    learners: tuple[Jobs, Jobs], clock: list[float]
) -> None:
    first, second = learners
    row = taken(first)
    clock[0] += LEASE_SECONDS - 1
    assert second.take() is None
    first.report(row, "running", {"step": 3})  # extends it
    clock[0] += LEASE_SECONDS - 1
    assert second.take() is None


def test_a_lease_that_lapsed_is_taken_over_with_its_progress(learners: tuple[Jobs, Jobs], clock: list[float]) -> None:
    first, second = learners
    row = taken(first)
    first.report(row, "paused", {"step": 3})
    clock[0] += LEASE_SECONDS + 1
    assert not first.holds(row)  # lets go by itself,
    assert second.take() is None  # and is given the time to
    clock[0] += GRACE_SECONDS
    assert taken(second) == JobRow(row.id, "paused", row.folder, {"step": 3}, row.created_at, clock[0])
    assert first.take() is None
    assert second.holds(row)


def test_who_lost_the_lease_writes_nothing(learners: tuple[Jobs, Jobs], clock: list[float]) -> None:
    first, second = learners
    row = taken(first)
    assert first.report(row, "running", {"step": 3}).result()
    clock[0] += LEASE_SECONDS + GRACE_SECONDS + 1
    again = taken(second)
    assert not first.report(row, "done", {"step": 9}).result()
    assert second.latest() == again == JobRow(row.id, "running", row.folder, {"step": 3}, row.created_at, clock[0])
    assert second.report(row, "done", {"step": 4}).result()


def test_the_holder_takes_its_own_job_up_again(learners: tuple[Jobs, Jobs]) -> None:
    first, _ = learners
    assert taken(first).id == taken(first).id


@pytest.mark.parametrize("ended", ["done", "failed"])
def test_after_a_finished_job_comes_a_new_one_for_whoever_asks(
    learners: tuple[Jobs, Jobs], clock: list[float], ended: str
) -> None:
    first, second = learners
    row = taken(first)
    first.report(row, ended, {})
    clock[0] += 1
    fresh = taken(second)
    assert fresh.id != row.id
    assert second.latest() == fresh
    assert first.take() is None


def test_only_finished_jobs_say_what_was_trained_on(learners: tuple[Jobs, Jobs], clock: list[float]) -> None:
    jobs, _ = learners
    assert jobs.trained_through("tiny") == 0
    for state, through in (("done", 40), ("failed", 90), ("done", 25)):
        jobs.report(taken(jobs), state, {"through": through})
        clock[0] += 1
    jobs.report(taken(jobs), "running", {"through": 120})
    taken(jobs)  # a write of ours: what was reported before it is stored
    assert jobs.trained_through("tiny") == 40


def test_a_new_base_model_has_seen_nothing(learners: tuple[Jobs, Jobs], clock: list[float]) -> None:
    jobs, _ = learners
    for base, through in (("tiny", 40), ("large", 25)):
        jobs.report(taken(jobs), "done", {"through": through, "base_model": base})
        clock[0] += 1
    taken(jobs)
    assert [jobs.trained_through(base) for base in ("tiny", "large", "newer")] == [40, 25, 0]


def test_namespaces_have_their_own_jobs(learners: tuple[Jobs, Jobs], database: Database, tmp_path: Path) -> None:
    row = taken(learners[0])
    other = Jobs(database, "other", tmp_path)
    assert taken(other).id != row.id
    assert other.trained_through("tiny") == 0
