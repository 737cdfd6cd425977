"""Sessions open, close and are found again; and which one a conversation without a name belongs to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaclaw.errors import RequestError
from metaclaw.journal import open_sessions
from metaclaw.journal.open_sessions import OpenSessions
from metaclaw.journal.recorder import Recorder
from metaclaw.journal.redact import Redactor
from metaclaw.store import Database
from metaclaw.types import Session, TurnKind
from support import NAMESPACE, make_turn

IDLE = 100.0
Opener = Callable[[], OpenSessions]


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(database: Database, clock: Clock) -> Opener:
    """Each call is a gateway that starts anew."""
    return lambda: OpenSessions(database, NAMESPACE, IDLE, clock)


async def keep(
    database: Database, session: str, at: float, prefix: str = "", closes: bool = False, **more: Any
) -> None:
    recorder = Recorder(database, Redactor(), durable_timeout_seconds=10)
    assert await recorder.turn(make_turn(session=session, created_at=at, **more), prefix, closes)


def over(database: Database, now: float, after: float = 0.0) -> list[tuple[str, float]]:
    found = open_sessions.closed(database, NAMESPACE, IDLE, now, after)
    return [(session.name, session.closed_at) for session in found]


# -- conversations that nobody names -----------------------------------------------------------------------------------


def test_a_beginning_names_one_session_until_it_was_idle_for_too_long(opened: Opener, clock: Clock) -> None:
    gateway = opened()
    first = gateway.place("p")
    assert first[0].endswith("-p")
    assert first[1] == ""
    clock.now += IDLE
    assert gateway.place("p") == first
    assert gateway.place("q") != first
    clock.now += IDLE + 1
    assert gateway.place("p") != first


def test_a_reply_that_is_kept_tells_its_session_until_that_is_over(opened: Opener, clock: Clock) -> None:
    gateway = opened()
    gateway.replied("r1", "s", "sub")
    gateway.replied("r2", "t", "")
    assert [gateway.of_reply(one) for one in ("r1", "r2", "r3")] == [("s", "sub"), ("t", ""), None]
    gateway.forget("s")
    assert [gateway.of_reply(one) for one in ("r1", "r2")] == [None, ("t", "")]
    clock.now += IDLE + 1
    assert gateway.of_reply("r2") is None


async def test_a_gateway_that_starts_anew_finds_the_session_in_the_store(
    opened: Opener, clock: Clock, database: Database
) -> None:
    session, _ = opened().place("p")
    await keep(database, session, clock.now, "p")
    clock.now += IDLE
    assert opened().place("p") == (session, "")
    clock.now += 1
    assert opened().place("p") != (session, "")


async def test_a_session_that_was_closed_is_not_found_again(opened: Opener, clock: Clock, database: Database) -> None:
    gateway = opened()
    session, _ = gateway.place("p")
    await keep(database, session, clock.now, "p")
    clock.now += 1
    await gateway.close(session)
    assert gateway.place("p")[0] != session
    assert opened().place("p")[0] != session


def test_the_next_turn_after_a_closing_one_opens_a_new_session(opened: Opener, clock: Clock) -> None:
    gateway = opened()
    session, _ = gateway.place("p")
    gateway.forget(session)
    clock.now += 1
    assert gateway.place("p")[0] != session


def test_an_unknown_beginning_within_a_known_trace_is_a_sub_agent(opened: Opener, clock: Clock) -> None:
    gateway = opened()
    session, _ = gateway.place("main", "trace-1")
    assert gateway.place("sub", "trace-1") == (session, "sub")
    assert gateway.place("main", "trace-2") == (session, "")  # the user's next message: another trace
    assert gateway.place("sub", "trace-2") == (session, "sub")
    assert gateway.place("other", "trace-2") == (session, "other")
    assert gateway.place("stranger", "trace-3")[0] != session
    clock.now += IDLE + 1
    assert gateway.place("sub", "trace-2")[0] != session


def test_a_side_call_joins_a_session_and_opens_none(opened: Opener) -> None:
    gateway = opened()
    assert gateway.place("title", "trace-1", opens=False) == ("title", "")
    session, agent = gateway.place("main", "trace-1")
    assert agent == ""
    assert gateway.place("title", "trace-1", opens=False) == (session, "title")
    assert gateway.place("main", opens=False) == (session, "")


def test_what_is_kept_in_mind_is_bounded(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_sessions, "MOST_KNOWN", 3)
    gateway = opened()
    for number in range(10):
        gateway.place(f"p{number}", f"t{number}")
    assert (list(gateway._known), list(gateway._traces)) == (["p7", "p8", "p9"], ["t7", "t8", "t9"])


def test_finding_an_earlier_session_takes_an_index(database: Database) -> None:
    [plan] = database.read(f"EXPLAIN QUERY PLAN {open_sessions.LATEST}", ("n", "p"))
    assert "USING INDEX sessions_by_prefix" in plan[-1]


def test_a_store_that_cannot_be_read_costs_the_link_and_no_reply(tmp_path: Path, clock: Clock) -> None:
    with Database(tmp_path / "store.db") as database:
        database.write(lambda connection: connection.execute("DROP TABLE sessions"))
        assert OpenSessions(database, NAMESPACE, IDLE, clock).place("p")[0].endswith("-p")


# -- rows for whoever learns -------------------------------------------------------------------------------------------


async def test_a_session_is_over_when_idle_or_when_a_turn_says_so(database: Database) -> None:
    await keep(database, "idle", 1_000)
    await keep(database, "idle", 1_050)
    await keep(database, "said", 1_020, closes=True)
    [said] = open_sessions.closed(database, NAMESPACE, IDLE, 1e12, after=1_151)
    assert said == Session("said", 1_020, 1_020, said.closed_at)
    assert over(database, 1_149) == []
    assert over(database, 1_150) == [("idle", 1_150)]
    assert over(database, 1_150, after=1_150) == []
    assert open_sessions.closed(database, "other", IDLE, 1e12) == []


async def test_the_next_turn_under_a_name_opens_it_again(database: Database) -> None:
    await keep(database, "s", 1_000, closes=True)
    at = over(database, 1e12)[0][1]
    await keep(database, "s", at + 10)
    assert over(database, at + 10) == []
    assert over(database, at + 10 + IDLE) == [("s", at + 10 + IDLE)]


async def test_a_turn_that_was_under_way_does_not_open_what_was_closed_meanwhile(
    database: Database, opened: Opener, clock: Clock
) -> None:
    await keep(database, "s", 990)
    await opened().close("s")
    await keep(database, "s", 995)
    assert over(database, clock.now) == [("s", clock.now)]


async def test_a_side_call_opens_no_session_but_may_close_one(database: Database) -> None:
    await keep(database, "s", 1_000, kind=TurnKind.SIDE)
    assert over(database, 1e12) == []
    await keep(database, "s", 1_001)
    await keep(database, "s", 1_090, kind=TurnKind.SIDE)
    assert over(database, 1_101) == [("s", 1_101)]
    await keep(database, "s", 1_002, kind=TurnKind.SIDE, closes=True)
    assert over(database, 1_101) == []
    assert [name for name, _ in over(database, 1e12)] == ["s"]


async def test_an_unknown_session_cannot_be_closed(opened: Opener) -> None:
    with pytest.raises(RequestError, match="no session 'none'") as refused:
        await opened().close("none")
    assert (refused.value.status, refused.value.code) == (404, "unknown_session")
