"""What a change of the library put out of use is asked again; what holds stands for it, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from metaclaw.errors import UpstreamError
from metaclaw.journal import erasing
from metaclaw.library.catalog import Catalog
from metaclaw.signals import ledger
from metaclaw.store import Database
from metaclaw.training.dataset import Entry
from metaclaw.training.questions import MAX_REPLY_TOKENS
from metaclaw.training.quiet import Quiet
from metaclaw.training.renewal import plain, renew
from metaclaw.training.selection import finished, renewable, select
from metaclaw.types import Signal, SkillState, ToolCall, ToolUse, Turn, TurnKind
from support import NAMESPACE, keep, make_feedback, make_skill, make_turn, request_bytes

PATTERN = r"\d{8}\.md"
RIGHT, WRONG = "20260131.md", "notes.md"


class Gateway:
    """Answers what it is asked again by `replies`, session by session, and keeps the call as the gateway does.

    A number is the status with which it refuses.
    """

    def __init__(self, database: Database, catalog: Catalog, replies: dict[str, str]) -> None:
        self._database, self._catalog, self._replies = database, catalog, replies
        self.asked: list[str] = []
        self.bodies: list[Mapping[str, Any]] = []

    async def __call__(self, body: Mapping[str, Any], session: str) -> tuple[str, str]:
        self.asked.append(session)
        self.bodies.append(body)
        reply = self._replies.get(session, RIGHT)
        if reply.isdigit():
            raise UpstreamError(int(reply), "upstream_error", "no")
        call = make_turn(
            str(body["messages"][-1]["content"]), reply, session=session, kind=TurnKind.SIDE, side="declared",
            generation=self._catalog.generation(), skills=tuple(skill.ref for skill in self._catalog.live()),
        )
        await keep(self._database, call)
        return call.id, reply


@pytest.fixture
def catalog(database: Database, tmp_path: Path) -> Catalog:
    return Catalog(database, NAMESPACE, tmp_path / "skills")


def publish(catalog: Catalog, name: str = "b", support: Sequence[str] = ()) -> int:
    return catalog.publish(make_skill(name), SkillState.ACTIVE, "test", support)[1]


async def work(database: Database, catalog: Catalog, session: str, **changes: Any) -> Turn:
    """A turn that went well and whose client sent a check."""
    turn = make_turn(**{
        "reply": RIGHT, "session": session, "generation": catalog.generation(), "skills": ("a@1",), **changes,
    })
    await keep(database, turn, make_feedback(turn, "", 1.0, PATTERN))
    ledger.record(database, NAMESPACE, [Signal(turn.id, "check", 1.0, "it passed")])
    return turn


async def renewed(database: Database, catalog: Catalog, replies: dict[str, str] | None = None) -> list[str]:
    """The sessions that were asked."""
    gateway = Gateway(database, catalog, replies or {})
    found = plain(renewable(database, NAMESPACE, 48))
    await renew(database, NAMESPACE, catalog.generation(), found, gateway, Quiet().ask, {})
    return gateway.asked


def entered(database: Database) -> list[Entry]:
    return [one for one in select(database, NAMESPACE, 99).data.manifest if one.split != "out"]


async def test_what_holds_under_the_new_generation_is_learned_from_again(database: Database, catalog: Catalog) -> None:
    publish(catalog, "a")
    turns = [await work(database, catalog, f"s{number}") for number in range(4)]
    assert len(entered(database)) == 4
    now = publish(catalog)
    assert entered(database) == []
    assert sorted(await renewed(database, catalog, {"s1": WRONG})) == ["s0", "s1", "s2", "s3"]
    found = entered(database)
    assert {(one.session, one.generation) for one in found} == {(f"s{number}", now) for number in (0, 2, 3)}
    assert {one.reason for one in found} == {"asked again, and proven by its signals (check)"}
    assert not {one.turn_id for one in found} & {turn.id for turn in turns}
    assert all(one.signals == (("check", 1.0),) for one in found)
    data = select(database, NAMESPACE, 99).data
    assert {example.check.pattern for example in data.train + data.query if example.check} == {PATTERN}


async def test_it_is_asked_once_a_generation(database: Database, catalog: Catalog) -> None:
    publish(catalog, "a")
    await work(database, catalog, "s0")
    publish(catalog)
    assert await renewed(database, catalog, {"s0": WRONG}) == ["s0"]
    assert await renewed(database, catalog) == []
    publish(catalog, "c")
    assert entered(database) == []
    assert await renewed(database, catalog) == ["s0"]
    assert [one.session for one in entered(database)] == ["s0"]


async def test_what_the_model_refuses_does_not_hold_and_where_there_is_none_it_waits(
    database: Database, catalog: Catalog
) -> None:
    publish(catalog, "a")
    await work(database, catalog, "s0")
    publish(catalog)
    for status in ("503", "429"):
        with pytest.raises(UpstreamError):
            await renewed(database, catalog, {"s0": status})
    assert await renewed(database, catalog, {"s0": "400"}) == ["s0"]
    assert (await renewed(database, catalog), entered(database)) == ([], [])


async def test_a_turn_at_which_the_model_fails_again_and_again_is_in_the_way_of_no_other(
    database: Database, catalog: Catalog
) -> None:
    publish(catalog, "a")
    for name in ("s0", "s1"):
        await work(database, catalog, name)
    now = publish(catalog)
    gateway, failures = Gateway(database, catalog, {"s1": "502"}), dict[str, int]()

    async def night() -> int:
        found = plain(renewable(database, NAMESPACE, 48))
        return await renew(database, NAMESPACE, now, found, gateway, Quiet().ask, failures)

    for _ in range(2):
        with pytest.raises(UpstreamError):
            await night()
    await night()
    assert [one.session for one in entered(database)] == ["s0"]
    assert gateway.asked.count("s1") == 3
    assert (await night(), gateway.asked.count("s1")) == (0, 3)


async def test_what_was_asked_again_stands_where_it_was_first_asked(database: Database, catalog: Catalog) -> None:
    publish(catalog, "a")
    first = [await work(database, catalog, f"s{number}") for number in range(3)]
    through = select(database, NAMESPACE, 99).through
    publish(catalog)
    last = await work(database, catalog, "s3")
    await renewed(database, catalog)
    selection = select(database, NAMESPACE, 99, explain=False)
    assert [one.session for one in selection.data.manifest] == [turn.session for turn in (*first, last)]
    assert (selection.fresh(0), selection.fresh(through)) == (4, 1)


async def test_only_what_a_check_can_tell_and_words_can_ask_is_asked(database: Database, catalog: Catalog) -> None:
    publish(catalog, "a")
    source = await work(database, catalog, "source")
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    called = request_bytes("Call it.", messages=[
        {"role": "user", "content": "Call it."}, {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "done"},
    ])
    await work(database, catalog, "called", request=called)
    await work(database, catalog, "tools", request=request_bytes("Call it.", tools=[{"type": "function"}]))
    ran = ToolCall("sum@1", "{}", "3", ok=True, milliseconds=1.0)
    await work(database, catalog, "computed", tools=ToolUse(("sum@1",), (ran,)))
    await work(database, catalog, "offered", tools=ToolUse(("sum@1",)))
    await work(database, catalog, "broken", complete=False)
    await keep(database, make_turn(session="unchecked", reply=RIGHT, generation=catalog.generation()))
    await work(database, catalog, "plain")
    publish(catalog, support=[source.id])
    await work(database, catalog, "current")
    assert await renewed(database, catalog) == ["plain", "offered"]


async def test_the_reply_is_wanted_in_the_form_that_the_client_wanted(database: Database, catalog: Catalog) -> None:
    publish(catalog, "a")
    schema = {"name": "file", "schema": {"type": "object"}, "strict": True}
    in_chat = {"type": "json_schema", "json_schema": schema}
    asked = json.loads(request_bytes("Name it.", response_format=in_chat))
    in_responses = {"input": "Name it.", "text": {"format": {"type": "json_schema", **schema}}}
    kept_elsewhere = in_responses | {"previous_response_id": "resp_1"}
    await work(database, catalog, "chat", request=json.dumps(asked).encode())
    await work(database, catalog, "responses", dialect="responses", request=json.dumps(in_responses).encode())
    await work(database, catalog, "elsewhere", dialect="responses", request=json.dumps(kept_elsewhere).encode())
    await work(database, catalog, "long", reply="It is in 20260131.md. " * 100)
    publish(catalog)
    gateway = Gateway(database, catalog, {})
    found = plain(renewable(database, NAMESPACE, 48))
    await renew(database, NAMESPACE, catalog.generation(), found, gateway, Quiet().ask, {})
    bodies = dict(zip(gateway.asked, gateway.bodies, strict=True))
    assert {session: body.get("response_format") for session, body in bodies.items()} == {
        "chat": in_chat, "responses": in_chat, "elsewhere": None, "long": None,
    }
    assert all(body["messages"][-1]["content"] for body in bodies.values())
    assert (bodies["chat"]["max_tokens"], bodies["long"]["max_tokens"]) == (MAX_REPLY_TOKENS, 1100)


async def test_support_stays_out_also_when_it_became_that_later(database: Database, catalog: Catalog) -> None:
    publish(catalog, "a")
    turn = await work(database, catalog, "s0")
    publish(catalog)
    await renewed(database, catalog)
    assert len(entered(database)) == 1
    catalog.hold(make_skill("c"), "waits", [turn.id])  # the generation stays
    assert entered(database) == []


@pytest.mark.parametrize("late", [False, True])
async def test_what_is_erased_while_it_waits_or_is_asked_does_not_come_back(
    database: Database, catalog: Catalog, late: bool
) -> None:
    publish(catalog, "a")
    for name in ("s0", "s1"):
        await work(database, catalog, name, query=f"What is private to {name}?")
    now = publish(catalog)
    gateway = Gateway(database, catalog, {})

    def forget(session: str) -> None:
        trace = erasing.found(database, NAMESPACE, session)
        database.write(lambda one: ledger.erase(one, trace.all_turns))
        database.write(lambda one: erasing.erase(one, NAMESPACE, trace))

    async def ask(body: Mapping[str, Any], session: str) -> tuple[str, str]:
        if not late:
            forget(session)
        answered = await gateway(body, session)
        if late:
            forget(session)
        return answered

    found = plain(renewable(database, NAMESPACE, 48))
    forget("s1")
    assert await renew(database, NAMESPACE, now, found, ask, Quiet().ask, {}) == 0
    assert (gateway.asked, entered(database)) == (["s0"], [])
    for table in ("turns", "sessions"):
        assert database.read(f"SELECT 1 FROM {table} WHERE session <> ''") == []


async def test_it_leaves_for_no_other_trainer_and_goes_with_its_session(database: Database, catalog: Catalog) -> None:
    publish(catalog, "a")
    await work(database, catalog, "s0")
    await work(database, catalog, "s1", query="Another question, which is long enough to be quoted.")
    publish(catalog)
    await renewed(database, catalog)
    assert finished(database, NAMESPACE) == []
    calls = {one.session: one.turn_id for one in entered(database)}
    trace = erasing.found(database, NAMESPACE, "s0")
    assert calls["s0"] in trace.turns
    assert calls["s1"] not in trace.all_turns
