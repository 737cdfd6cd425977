"""Bodies that are kept packed: what is read is what was sent, whatever happened to what a request builds on."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metaclaw.errors import StoreError
from metaclaw.journal import trajectories
from metaclaw.journal.packing import LEAST_BYTES, Bases, Packer
from metaclaw.journal.recorder import Recorder
from metaclaw.journal.redact import Redactor
from metaclaw.store import Database
from metaclaw.types import Turn, TurnKind
from metaclaw.zstd import zstd
from support import NAMESPACE, keep, make_turn


def prose(size: int, seed: int) -> str:
    """Text that does not pack by itself."""
    return random.Random(seed).randbytes(size // 2).hex()


def conversation(turns: int, size: int = 40_000, seed: int = 0, **changes: Any) -> list[Turn]:
    """An agent's: with every turn it sends all that was said, and a little more."""
    messages = [{"role": "system", "content": prose(size, seed)}]
    told = []
    for number in range(turns):
        messages.append({"role": "user", "content": f"Step {number}: {prose(300, seed + 1 + number)}"})
        request = json.dumps({"model": "m", "messages": messages}).encode()
        told.append(make_turn(request=request, **{"session": "s", **changes}))
    return told


def stored(database: Database) -> list[tuple[int, str | None]]:
    rows = database.read("SELECT length(request), builds_on FROM turns ORDER BY position")
    return [(size, builds_on) for size, builds_on in rows]


def read_back(database: Database) -> list[bytes]:
    return [turn.request for turn in trajectories.turns_after(database, NAMESPACE, 0)]


async def keep_all(database: Database, turns: list[Turn]) -> None:
    recorder = Recorder(database, Redactor(), durable_timeout_seconds=10)
    for turn in turns:
        assert await recorder.turn(turn)


async def test_a_conversation_is_kept_once_and_then_by_what_was_added(database: Database) -> None:
    turns = conversation(20)
    await keep_all(database, turns)
    [(first, alone), *others] = stored(database)
    assert (first, alone) == (len(turns[0].request), None)
    assert {builds_on for _, builds_on in others} == {turns[0].id}
    assert sum(size for size, _ in others) < 0.1 * sum(len(turn.request) for turn in turns[1:])
    assert read_back(database) == [turn.request for turn in turns]
    assert [turn.request for turn in trajectories.trajectory(database, NAMESPACE, "s").turns] == read_back(database)


async def test_turns_that_are_written_together_build_on_each_other(database: Database) -> None:
    turns = conversation(3)
    recorder = Recorder(database, Redactor(), durable_timeout_seconds=10)
    kept = [recorder.turn(turn) for turn in (make_turn(), *turns)]  # all but the first wait for it
    assert [await one for one in kept] == [True] * 4
    assert [builds_on for _, builds_on in stored(database)[1:]] == [None, turns[0].id, turns[0].id]
    assert read_back(database)[1:] == [turn.request for turn in turns]


@pytest.mark.parametrize(
    "second",
    [{"session": "t"}, {"agent": "sub"}, {"kind": TurnKind.SIDE}, {"namespace": "other"}],
    ids=lambda changed: next(iter(changed)),
)
async def test_what_is_erased_by_itself_builds_on_nothing_else(database: Database, second: dict[str, Any]) -> None:
    first, then = conversation(1)[0], conversation(2, **second)[1]
    await keep_all(database, [first, then])
    assert [builds_on for _, builds_on in stored(database)] == [None, None]


async def test_another_conversation_under_the_same_name_is_kept_whole_and_built_on(database: Database) -> None:
    before, after = conversation(2), conversation(2, seed=50)
    await keep_all(database, [*before, *after])
    assert [builds_on for _, builds_on in stored(database)] == [None, before[0].id, None, after[0].id]
    assert read_back(database) == [turn.request for turn in (*before, *after)]


async def test_a_small_request_is_kept_as_it_is(database: Database) -> None:
    turns = conversation(2, size=100)
    await keep_all(database, turns)
    assert stored(database) == [(len(turn.request), None) for turn in turns]


async def test_nothing_builds_on_a_turn_that_was_refused_or_erased(database: Database) -> None:
    first, second, third, fourth = conversation(4)
    recorder = Recorder(database, Redactor(), durable_timeout_seconds=10)
    await database.write_async(lambda one: one.execute(
        "CREATE TEMP TRIGGER full BEFORE INSERT ON turns BEGIN SELECT RAISE(ABORT, 'full'); END"
    ))  # fmt: skip
    assert not await recorder.turn(first)
    await database.write_async(lambda one: one.execute("DROP TRIGGER full"))
    assert await recorder.turn(second)
    await database.write_async(lambda one: one.execute("DELETE FROM turns WHERE id = ?", (second.id,)))
    assert await recorder.turn(third)
    assert await recorder.turn(fourth)
    assert [builds_on for _, builds_on in stored(database)] == [None, third.id]
    assert read_back(database) == [third.request, fourth.request]


async def test_a_request_whose_foundation_is_gone_or_changed_is_told_and_not_guessed(database: Database) -> None:
    first, second = conversation(2)
    await keep_all(database, [first, second])
    await database.write_async(lambda one: one.execute(
        "UPDATE turns SET request = zeroblob(length(request)) WHERE id = ?", (first.id,)
    ))  # fmt: skip
    with pytest.raises(StoreError, match=f"builds on that of turn {first.id} cannot be read"):
        trajectories.turn(database, NAMESPACE, second.id)
    await database.write_async(lambda one: one.execute("DELETE FROM turns WHERE id = ?", (first.id,)))
    with pytest.raises(StoreError, match=f"that of turn {first.id}, is gone"):
        trajectories.turn(database, NAMESPACE, second.id)


async def test_a_long_reply_is_kept_compressed_and_a_short_one_as_it_is(database: Database) -> None:
    chunk = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" so"}}]}\n\n'
    long, short = make_turn(response=chunk * 500), make_turn(response=chunk * 5)
    odd = make_turn(response=zstd.compress(random.Random(1).randbytes(9_000)))  # looks compressed already
    await keep(database, long, short, odd)
    rows = database.read("SELECT length(response), response_packed FROM turns ORDER BY position")
    assert rows[0][0] < len(long.response) / 50
    assert [row[1] for row in rows] == [1, 0, 1]
    found = trajectories.turns_after(database, NAMESPACE, 0)
    assert [turn.response for turn in found] == [long.response, short.response, odd.response]
    await database.write_async(lambda one: one.execute("UPDATE turns SET response = x'00' WHERE id = ?", (long.id,)))
    with pytest.raises(StoreError, match="A reply in the store cannot be read"):
        trajectories.turn(database, NAMESPACE, long.id)


async def test_a_session_that_is_erased_while_it_is_read_is_read_as_it_was(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = conversation(3)
    await keep_all(database, turns)
    read = Bases.whole

    def erased_first(bases: Bases, stored: bytes, builds_on: str | None) -> bytes:
        database.write(lambda one: one.execute("DELETE FROM turns"))
        return read(bases, stored, builds_on)

    monkeypatch.setattr(Bases, "whole", erased_first)
    assert read_back(database) == [turn.request for turn in turns]
    assert read_back(database) == []


async def test_many_sessions_are_known_within_bounds(database: Database) -> None:
    packer = Packer(most_bytes=100_000)
    first, *others = [conversation(2, seed=10 * number, session=f"s{number}") for number in range(4)]
    for turn, _ in (first, *others):
        assert packer.pack(database._writer, turn, turn.request) == (turn.request, None)
    await keep(database, *(turn for turn, _ in (first, *others)))
    assert packer.pack(database._writer, others[-1][1], others[-1][1].request)[1] == others[-1][0].id
    assert packer.pack(database._writer, first[1], first[1].request)[1] is None  # forgotten for those after it


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_whatever_is_sent_is_read(database: Database, data: st.DataObject) -> None:
    pieces = st.sampled_from([prose(size, seed).encode() for size in (200, 3_000, 60_000) for seed in (1, 2)])
    bodies = data.draw(st.lists(st.lists(pieces, min_size=1, max_size=6).map(b"".join), min_size=1, max_size=6))
    turns = [
        make_turn(request=body, session=data.draw(st.sampled_from("ab")), agent=data.draw(st.sampled_from(["", "x"])))
        for body in bodies
    ]
    await keep_all(database, turns)
    for turn in turns:
        found = trajectories.turn(database, NAMESPACE, turn.id)
        assert found is not None
        assert found.request == turn.request
    assert any(len(body) >= LEAST_BYTES for body in bodies) or all(b is None for _, b in stored(database)[-len(turns):])
