"""The watch over a canary, on a journal with signals: it passes it on or takes it back by itself, with a verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from judged_adapters import admitted_adapter
from metaclaw.serving.promotion import Promotions
from metaclaw.serving.routes import Routes
from metaclaw.serving.trial import Bar, Step
from metaclaw.serving.watch import CanaryWatch
from metaclaw.signals import ledger
from metaclaw.store import Database
from metaclaw.training.registry import Registry
from metaclaw.types import AdapterState, Signal, TurnKind
from metaclaw.upstream.route import falls_to
from support import NAMESPACE, keep, make_turn

MINUTE = 60.0


class Watched:
    """A trial that began at `since`, and a clock that a test moves."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.routes = Routes(database, NAMESPACE)
        self.registry = Registry(database, NAMESPACE, folder / "adapters")
        promotions = Promotions(self.routes, self.registry, 0.5)
        self.name = admitted_adapter(self.registry, folder, "a").name
        promotions.offer(self.registry.get(self.name))
        self.policy = f"tiny@{self.name}"
        self.routes.canary_serves(self.name)
        self.since = self.now = self.routes.state().canary_since or 0.0
        self.watch = CanaryWatch(
            database, NAMESPACE, self.routes, promotions, lambda adapter: f"tiny@{adapter}", Bar(8, 24 * 60 * MINUTE),
            now=lambda: self.now,
        )

    async def work(self, sessions: int, fails: float, canary_fails: float) -> None:
        """Sessions one after the other; of each arm, the first of every ten fail."""
        counts = {True: 0, False: 0}
        for _ in range(sessions):
            self.now += MINUTE
            turn = make_turn(created_at=self.now)
            await keep(self.database, turn)
            canary = falls_to(self.policy, turn.session, 0.5)
            counts[canary] += 1
            if counts[canary] % 10 < 10 * (canary_fails if canary else fails):
                self.fail(turn.id)
            self.watch.look()

    def fail(self, turn_id: str) -> None:
        ledger.record(self.database, NAMESPACE, [Signal(turn_id, "check", -1.0, "it does not match")])


@pytest.fixture
def watched(database: Database, tmp_path: Path) -> Watched:
    return Watched(database, tmp_path)


async def test_a_canary_that_does_no_harm_serves_all(watched: Watched) -> None:
    await watched.work(60, 0.2, 0.2)
    state = watched.routes.state()
    assert (state.wanted, state.canary) == (watched.name, None)
    verdict = watched.registry.verdicts(watched.name)[-1]
    assert verdict.decision.startswith("serves all: ")
    assert verdict.evidence["canary"]["sessions"] >= 8


async def test_a_canary_that_fails_is_taken_back_by_itself(watched: Watched) -> None:
    await watched.work(80, 0.1, 1.0)
    state = watched.routes.state()
    assert (state.wanted, state.canary) == (None, None)
    verdict = watched.registry.verdicts(watched.name)[-1]
    assert verdict.decision.startswith("rolled back: ")
    assert verdict.effect < 0
    assert verdict.confidence >= 0.95
    assert watched.registry.get(watched.name).state is AdapterState.ROLLED_BACK


async def test_a_session_counts_when_its_time_is_over_with_what_came_in_it(watched: Watched) -> None:
    began = watched.since + MINUTE
    turns = [
        make_turn(session="s", created_at=began), make_turn(session="s", created_at=began + 10 * MINUTE),
        make_turn(session="s", created_at=began + 16 * MINUTE), make_turn(session="old", created_at=watched.since - 1),
        make_turn(session="side", created_at=began, kind=TurnKind.SIDE),
    ]
    await keep(watched.database, *turns)
    watched.fail(turns[2].id)  # after the quarter of an hour: no matter

    def seen() -> list[tuple[str, bool]]:
        state = watched.routes.state()
        return [(one.name, one.failed) for one in watched.watch.sessions(state, watched.name, watched.since)]

    watched.now = began + 14 * MINUTE
    assert seen() == []
    watched.now = began + 15 * MINUTE
    assert seen() == [("s", False)]
    watched.fail(turns[1].id)
    assert seen() == [("s", True)]


async def test_a_request_that_the_upstream_failed_counts_as_a_failure(watched: Watched) -> None:
    await keep(watched.database, make_turn(session="s", created_at=watched.since, status=502))
    watched.now += 16 * MINUTE
    [session] = watched.watch.sessions(watched.routes.state(), watched.name, watched.since)
    assert session.failed


async def test_without_sessions_time_passes_it_and_without_a_canary_nothing_happens(watched: Watched) -> None:
    watched.now += 25 * 60 * MINUTE
    assert watched.watch.look() is Step.PASS
    assert watched.routes.state().wanted == watched.name
    assert watched.watch.look() is Step.GO_ON
