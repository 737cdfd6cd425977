"""The job runs while the user is away: started in a window, paused the moment the user is heard, and resumed after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest

from metaclaw.errors import LeaseLostError, OvertakenError, StoreError, TrainingError
from metaclaw.scheduler.board import Board
from metaclaw.scheduler.machine import Phase
from metaclaw.scheduler.scheduler import ASK_AGAIN, GIVE_UP_SECONDS, Scheduler
from metaclaw.scheduler.windows import Rule, Senses
from metaclaw.store import Database
from support import NAMESPACE, until


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 4, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class FakeJob:
    """Runs until it is told how to end; keeps what was done to it."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.is_ready = True
        self.end = asyncio.Event()
        self.fails_with: Exception | None = None
        self.unreadable = 0
        self.wants_more = False  # than who asks

    def ready(self, asked: bool = False) -> bool:
        if self.unreadable:
            self.unreadable -= 1
            raise StoreError("locked")
        return self.is_ready and (asked or not self.wants_more)

    async def run(self) -> None:
        self.told.append("run")
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.told.append("cancelled")
            raise
        self.end.clear()
        if self.fails_with:
            raise self.fails_with
        self.is_ready = False
        self.told.append("done")

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def job() -> AsyncIterator[FakeJob]:
    fake = FakeJob()
    yield fake
    fake.end.set()
    await asyncio.sleep(0)  # what still runs ends


def scheduler_for(job: FakeJob, clock: Clock) -> Scheduler:
    return Scheduler(job, clock, Rule(900, None, 60))


async def at_work(job: FakeJob, clock: Clock) -> Scheduler:
    scheduler = scheduler_for(job, clock)
    clock.forward(900)
    scheduler.step()
    await until(lambda: job.told == ["run"])
    return scheduler


async def test_the_job_starts_when_a_window_opens(job: FakeJob, clock: Clock) -> None:
    scheduler = scheduler_for(job, clock)
    clock.forward(899)
    scheduler.step()
    await asyncio.sleep(0)
    assert job.told == []
    assert scheduler.window.reason == "quiet for 899 of 900 s"
    clock.forward(1)
    scheduler.step()
    scheduler.step()
    await asyncio.sleep(0)
    assert job.told == ["run"]
    assert scheduler.window.open


async def test_it_does_not_start_while_there_is_too_little_to_do(job: FakeJob, clock: Clock) -> None:
    job.is_ready = False
    scheduler = scheduler_for(job, clock)
    clock.forward(900)
    scheduler.step()
    await asyncio.sleep(0)
    assert job.told == []
    job.is_ready = True
    scheduler.step()
    await asyncio.sleep(0)
    assert job.told == []  # asked again after a while only: the answer costs a read of the journal
    clock.now += ASK_AGAIN
    scheduler.step()
    await asyncio.sleep(0)
    assert job.told == ["run"]


async def test_the_user_is_heard_and_the_job_pauses_in_the_same_breath(job: FakeJob, clock: Clock) -> None:
    scheduler = await at_work(job, clock)
    scheduler.heard(1)
    assert job.told == ["run", "pause"]  # nothing was awaited in between
    scheduler.heard(2)
    assert job.told == ["run", "pause"]
    assert scheduler.window.reason == "2 requests under way"


async def test_it_resumes_when_it_has_been_quiet_again(job: FakeJob, clock: Clock) -> None:
    scheduler = await at_work(job, clock)
    scheduler.heard(1)
    clock.forward(10_000)
    scheduler.step()
    assert job.told[-1] == "pause"  # one long request
    scheduler.heard(0)
    clock.forward(899)
    scheduler.step()
    assert job.told[-1] == "pause"
    clock.forward(1)
    scheduler.step()
    assert job.told == ["run", "pause", "resume"]
    job.end.set()
    await until(lambda: job.told[-1] == "done")


async def test_a_job_that_ended_while_paused_does_not_leave_the_next_one_paused(job: FakeJob, clock: Clock) -> None:
    scheduler = await at_work(job, clock)
    scheduler.heard(1)
    job.end.set()
    await until(lambda: job.told[-1] == "done")
    job.is_ready = True
    scheduler.heard(0)
    clock.forward(900)
    scheduler.step()
    scheduler.step()
    await asyncio.sleep(0)
    assert job.told == ["run", "pause", "done", "run"]
    scheduler.heard(1)
    assert job.told[-1] == "pause"


@pytest.mark.parametrize("error", [TrainingError("no memory"), ValueError("a fault of ours")])
async def test_a_job_that_failed_waits_for_the_users_next_visit(job: FakeJob, clock: Clock, error: Exception) -> None:
    job.fails_with = error
    scheduler = await at_work(job, clock)
    job.end.set()
    await until(lambda: not job.end.is_set())
    await asyncio.sleep(0)
    for _ in range(3):
        clock.forward(10_000)
        scheduler.step()
        await asyncio.sleep(0)
    assert job.told == ["run"]
    scheduler.heard(1)
    scheduler.heard(0)
    clock.forward(900)
    scheduler.step()
    await asyncio.sleep(0)
    assert job.told == ["run", "run"]


async def test_it_runs_by_itself_through_a_locked_store_and_takes_the_job_with_it(job: FakeJob, clock: Clock) -> None:
    job.unreadable = 1
    scheduler = scheduler_for(job, clock)
    clock.forward(900)
    running = asyncio.create_task(scheduler.run())
    await until(lambda: not job.unreadable)
    clock.now += ASK_AGAIN
    async with asyncio.timeout(10):
        while job.told != ["run"]:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert job.told == ["run", "cancelled"]


class Touched:
    """Senses of a machine whose keyboard is touched when `touch` is called."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = clock()
        self.closed = False

    def touch(self) -> None:
        self._last = self._clock()

    async def look(self) -> Senses:
        return Senses(last_input=self._last)

    async def run(self) -> None:
        return None

    async def close(self) -> None:
        self.closed = True


async def sees(condition: Callable[[], bool]) -> None:
    """Until the scheduler, which steps in real time, has seen it; and no later than the promised second."""
    async with asyncio.timeout(1.0):
        while not condition():
            await asyncio.sleep(0.01)


async def ended(running: asyncio.Task[None]) -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_touch_of_the_keyboard_pauses_the_job_within_a_second(job: FakeJob, clock: Clock) -> None:
    senses = Touched(clock)
    clock.forward(900)
    scheduler = Scheduler(job, clock, Rule(900, None, 60), senses)
    clock.forward(900)
    running = asyncio.create_task(scheduler.run())
    await sees(lambda: job.told == ["run"])
    senses.touch()
    await sees(lambda: job.told == ["run", "pause"])
    await ended(running)
    assert senses.closed


async def test_it_is_paused_so_also_while_the_board_cannot_be_read(
    job: FakeJob, clock: Clock, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    senses, board = Touched(clock), Board(database, NAMESPACE)
    clock.forward(900)
    scheduler = Scheduler(job, clock, Rule(900, None, 60), senses, board)
    clock.forward(900)
    running = asyncio.create_task(scheduler.run())
    await sees(lambda: job.told == ["run"])

    def locked() -> float | None:
        raise StoreError("locked")

    monkeypatch.setattr(board, "held_seconds", locked)
    senses.touch()
    await sees(lambda: job.told == ["run", "pause"])
    await ended(running)


async def test_a_machine_that_slept_pauses_the_job_as_it_wakes(job: FakeJob, clock: Clock) -> None:
    scheduler = await at_work(job, clock)
    running = asyncio.create_task(scheduler.run())
    await asyncio.sleep(0)  # it has begun
    clock.forward(8 * 3600)
    await sees(lambda: job.told == ["run", "pause"])
    await ended(running)


async def test_training_that_was_asked_for_runs_now_and_is_answered(
    job: FakeJob, clock: Clock, database: Database
) -> None:
    board = Board(database, NAMESPACE)
    job.wants_more = True
    scheduler = Scheduler(job, clock, Rule(900, None, 60), board=board)
    clock.forward(10)
    running = asyncio.create_task(scheduler.run())
    await sees(lambda: board.seen()[0] != {})
    assert (board.seen()[0]["phase"], board.seen()[0]["open"]) == ("resting", False)
    board.ask()
    clock.forward(10)
    await sees(lambda: job.told == ["run"])
    await sees(lambda: board.seen()[0]["phase"] == "working")
    job.end.set()
    await sees(lambda: board.asked_seconds() is None)
    assert board.answered() == "It ran."
    await ended(running)


async def test_who_asks_for_what_cannot_begin_is_told_why(job: FakeJob, clock: Clock, database: Database) -> None:
    moment = [1_000.0]
    board = Board(database, NAMESPACE, lambda: moment[0])
    board.ask()
    moment[0] += GIVE_UP_SECONDS + 1
    job.is_ready = False
    scheduler = Scheduler(job, clock, Rule(900, None, 60), board=board)
    clock.forward(10)
    running = asyncio.create_task(scheduler.run())
    await sees(lambda: board.asked_seconds() is None)
    assert "too few proven turns" in board.answered()
    assert job.told == []
    await ended(running)


async def test_a_person_holds_a_job_and_lets_it_go_on(job: FakeJob, clock: Clock, database: Database) -> None:
    board = Board(database, NAMESPACE)
    scheduler = Scheduler(job, clock, Rule(900, None, 60), board=board)
    clock.forward(900)
    running = asyncio.create_task(scheduler.run())
    await sees(lambda: job.told == ["run"])
    board.hold()
    await sees(lambda: job.told == ["run", "pause"])
    await sees(lambda: board.seen()[0]["reason"] == "paused by a person")
    board.take_back()
    clock.forward(10)
    await sees(lambda: job.told == ["run", "pause", "resume"])
    await ended(running)


async def test_what_is_held_does_not_begin(job: FakeJob, clock: Clock, database: Database) -> None:
    board = Board(database, NAMESPACE)
    scheduler = Scheduler(job, clock, Rule(900, None, 60), board=board)
    board.hold()
    clock.forward(900)
    running = asyncio.create_task(scheduler.run())
    await sees(lambda: board.seen()[0] != {})
    assert (job.told, board.seen()[0]["open"]) == ([], False)
    board.ask()  # who asks for it wants it
    clock.forward(10)
    await sees(lambda: job.told == ["run"])
    await ended(running)


def test_a_hold_for_some_time_ends_by_itself(database: Database) -> None:
    moment = [1_000.0]
    board = Board(database, NAMESPACE, lambda: moment[0])
    assert board.held_seconds() is None
    board.hold(60)
    assert board.held_seconds() == 60
    moment[0] += 60
    assert board.held_seconds() is None
    board.hold()
    moment[0] += 1e9
    assert board.held_seconds() == float("inf")


async def test_a_job_that_another_learner_has_is_left_alone_for_a_while(job: FakeJob, clock: Clock) -> None:
    job.fails_with = LeaseLostError("Another learner works for this namespace.")
    scheduler = await at_work(job, clock)
    job.end.set()
    await until(lambda: scheduler.phase is Phase.RESTING)
    clock.now += ASK_AGAIN
    scheduler.step()
    await asyncio.sleep(0)
    assert job.told == ["run"]
    clock.forward(30)
    scheduler.step()
    await asyncio.sleep(0)
    assert job.told == ["run", "run"]


async def test_after_a_job_that_the_library_has_overtaken_the_next_one_begins(
    job: FakeJob, clock: Clock, database: Database
) -> None:
    board = Board(database, NAMESPACE)
    board.ask()
    job.fails_with = OvertakenError("The library has changed.")
    scheduler = Scheduler(job, clock, Rule(900, None, 60), board=board)
    clock.forward(10)
    running = asyncio.create_task(scheduler.run())
    await sees(lambda: job.told == ["run"])
    job.end.set()
    await sees(lambda: scheduler.phase is Phase.RESTING)
    assert board.asked_seconds() is not None  # nobody was told that it failed
    clock.now += ASK_AGAIN
    await sees(lambda: job.told == ["run", "run"])
    await ended(running)
