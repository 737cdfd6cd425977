"""Turns and feedback: what was kept reads back as it was, and what is lost is counted."""

from __future__ import annotations

import json
import struct
import threading
from typing import Any

import pytest

from metaclaw.errors import RequestError
from metaclaw.journal import trajectories
from metaclaw.journal.recorder import Recorder
from metaclaw.journal.redact import Redactor
from metaclaw.store import Connection, Database
from metaclaw.types import Sampled, ToolCall, ToolUse, TurnKind
from support import NAMESPACE, keep, make_feedback, make_turn

KEY = "sk-proj-" + "aB3dE6gH9j" * 3


async def test_a_turn_reads_back_as_it_was_written(database: Database) -> None:
    turn = make_turn(
        skills=("a@1", "b@2"), injected="text", generation=3, usage={"total": 5}, timings={"ms": 1.5}, agent="sub",
        side="title", drawn=("a@1", "c@1"), withheld=("c@1",), holdout_share=0.05,
        tools=ToolUse(("c@1", "d@2"), (ToolCall("c@1", '{"x": "\u00e9 \ud83d"}', 'Error: "no"', False, 1.25),)),
    )
    await keep(database, turn)
    found = trajectories.turn(database, NAMESPACE, turn.id)
    assert found is not None
    assert found.position > 0
    assert {name: getattr(found, name) for name in turn.__slots__ if name != "position"} == {
        name: getattr(turn, name) for name in turn.__slots__ if name != "position"
    }
    assert trajectories.turn(database, "other", turn.id) is None


async def test_secrets_are_on_no_byte_of_the_disk(database: Database) -> None:
    called = ToolCall("c@1", f'{{"key": "{KEY}"}}', f"{{'key': '{KEY}'}}", True, 1.0)
    turn = make_turn(
        f"Use {KEY}", f"I used {KEY}", response=f'{{"x": "{KEY}"}}'.encode(), tools=ToolUse(("c@1",), (called,))
    )
    await keep(database, turn, make_feedback(turn, f"Why {KEY}?"))
    files = [path.read_bytes() for path in database.path.parent.glob("store.db*")]
    assert files
    assert not any(KEY.encode() in content for content in files)
    found = trajectories.turn(database, NAMESPACE, turn.id)
    assert found is not None
    assert found.reply == "I used [redacted:api-key]"


async def test_only_what_holds_a_secret_in_pieces_is_kept_in_one(database: Database) -> None:
    called = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": f'{{"at": "{KEY}"}}'}}
    pieces = [{"content": "Well."}, {"tool_calls": [called | {"index": 0, "function": {"name": "look"}}]}, *(
        {"tool_calls": [{"index": 0, "function": {"arguments": one}}]} for one in ('{"at": "', KEY[:20], KEY[20:], '"}')
    )]
    stream = b"".join(b"data: " + json.dumps({"choices": [{"delta": one}]}).encode() + b"\n\n" for one in pieces)
    tokens = {"content": [{"token": KEY[:20]}, {"token": KEY[20:]}]}
    message = {"role": "assistant", "content": f"Use {KEY}"}
    whole = {"choices": [{"message": message, "logprobs": None}], "x_new": 1}
    odd = {"choices": [{"message": message, "logprobs": tokens}]}
    turns = [
        make_turn(reply="Well.", response=stream, aside=f'{{"at": "{KEY}"}}'),
        make_turn(reply="Well.", response=stream[:90], aside="look"),
        make_turn(reply=f"Use {KEY}", response=json.dumps(whole).encode()),
        make_turn(reply=f"Use {KEY}", response=json.dumps(odd).encode()),
        make_turn(reply="", response=stream[:90], aside=f"A thought of {KEY}", dialect="responses"),
    ]
    await keep(database, *turns)
    in_one, clean, kept, without_tokens, broken = [
        turn.response for turn in trajectories.turns_after(database, NAMESPACE, 0)
    ]
    assert json.loads(in_one)["choices"][0]["message"]["tool_calls"][0]["function"] == {
        "name": "look", "arguments": '{"at": "[redacted:api-key]"}'
    }
    assert clean == stream[:90]
    assert json.loads(kept)["x_new"] == 1
    assert json.loads(without_tokens)["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Use [redacted:api-key]"}}
    ]
    assert json.loads(broken)["output"] == []


@pytest.mark.parametrize(
    "text", [{"query": f"Use {KEY}"}, {"reply": f"I used {KEY}"}, {"response": KEY.encode()}, {"request": KEY.encode()},
             {"aside": KEY, "response": b"data: {}\n\n"}]
)
async def test_the_tokens_of_a_turn_are_kept_unless_anything_was_taken_out_of_it(
    database: Database, text: dict[str, Any]
) -> None:
    told = Sampled((1, 70_000), (-0.5, -2.25))
    clean, silent, secret = make_turn(sampled=told), make_turn(), make_turn(sampled=told, **text)
    await keep(database, clean, silent, secret)
    [(turn_id, namespace, tokens, logprobs)] = database.read("SELECT turn_id, namespace, tokens, logprobs FROM samples")
    assert (turn_id, namespace) == (clean.id, NAMESPACE)
    assert (struct.unpack("<2i", tokens), struct.unpack("<2f", logprobs)) == (told.tokens, told.logprobs)
    assert len(trajectories.turns_after(database, NAMESPACE, 0)) == 3


async def test_who_learns_is_woken_after_the_commit(database: Database) -> None:
    turn = make_turn()
    seen: list[tuple[bool, bool]] = []
    recorder = Recorder(
        database, Redactor(), 10,
        lambda urgent: seen.append((urgent, trajectories.turn(database, NAMESPACE, turn.id) is not None)),
    )
    assert await recorder.turn(turn)
    assert seen == [(False, True)]
    await recorder.feedback(make_feedback(turn))
    assert seen == [(False, True), (True, True)]


async def test_a_slow_store_costs_the_turn_its_wait_and_nothing_else(database: Database) -> None:
    release = threading.Event()

    def block(connection: Connection) -> None:
        release.wait(10)

    blocked = database.submit(block)
    recorder = Recorder(database, Redactor(), durable_timeout_seconds=0.01)
    late = make_turn()
    assert not await recorder.turn(late)
    assert recorder.lost == {"turn: store too slow": 1}
    release.set()
    blocked.result(10)
    patient = Recorder(database, Redactor(), durable_timeout_seconds=10)
    assert await patient.turn(make_turn())
    assert trajectories.turn(database, NAMESPACE, late.id) is not None
    assert (recorder.lost, recorder.late) == ({}, 1)


async def test_a_refused_turn_is_counted(database: Database) -> None:
    recorder = Recorder(database, Redactor(), 10)
    turn = make_turn()
    assert await recorder.turn(turn)
    assert not await recorder.turn(turn)
    assert recorder.lost.total() == 1


async def test_feedback_on_an_unknown_turn_is_the_clients_mistake(database: Database) -> None:
    recorder = Recorder(database, Redactor(), 10)
    with pytest.raises(RequestError) as refused:
        await recorder.feedback(make_feedback(make_turn(), "hello"))
    assert (refused.value.status, refused.value.code) == (404, "unknown_turn")


async def test_a_trajectory_is_a_session_in_order_with_its_feedback(database: Database) -> None:
    first, second = make_turn(session="s"), make_turn(session="s")
    side, other = make_turn(session="s", kind=TurnKind.SIDE), make_turn(session="t")
    said = make_feedback(first, "fine", 1.0, r"\d+")
    await keep(database, first, side, other, second, said)
    found = trajectories.trajectory(database, NAMESPACE, "s")
    assert [turn.id for turn in found.turns] == [first.id, second.id]
    assert [(item.text, item.score, item.check) for item in found.feedback[first.id]] == [("fine", 1.0, said.check)]
    last = trajectories.last_turn_of(database, NAMESPACE, "s")
    assert last is not None
    assert last.id == second.id
    positions = [turn.position for turn in trajectories.turns_after(database, NAMESPACE, 0)]
    assert positions == sorted(positions)
    assert trajectories.turns_after(database, NAMESPACE, positions[-1]) == []


async def test_the_turns_before_are_the_whole_main_ones_of_session_and_agent_newest_first(database: Database) -> None:
    first, last = make_turn(session="s"), make_turn(session="s")
    broken, aside = make_turn(session="s", complete=False), make_turn(session="s", kind=TurnKind.SIDE)
    elsewhere, of_another = make_turn(session="other"), make_turn(session="s", agent="sub")
    second = make_turn(session="s")
    for turn in (first, broken, aside, elsewhere, of_another, second, last):
        await keep(database, turn)
    stored = trajectories.turn(database, NAMESPACE, last.id)
    assert stored is not None
    before = trajectories.turns_before(database, stored, 5)
    assert [turn.id for turn in before] == [second.id, first.id]
    assert trajectories.turns_before(database, stored, 1) == before[:1]
    assert trajectories.turns_before(database, before[-1], 5) == []
