"""What a model makes of a program: asked with it, on the real sandbox, by models that use it well, badly, or not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from metaclaw.config.fast_loop import SandboxSettings
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.in_use import in_use, reply_with
from metaclaw.library.tool import Tool
from metaclaw.sandbox import Sandbox
from metaclaw.types import Check
from support import make_turn

TOOL = Tool(
    "minutes-to-hours", "Write minutes as hours and minutes.",
    {"type": "object", "properties": {"minutes": {"type": "integer"}}, "required": ["minutes"]}, {"type": "string"},
    "hours", 'def hours(minutes: int) -> str:\n    return f"{minutes // 60}:{minutes % 60:02d}"\n',
)
ASKED = [{"role": "user", "content": "Go."}]
CLOCK = Check(r"\d+:\d\d")
FAILED = Failure(make_turn("How long is 162 minutes?", "162 min"), "We write lengths as hours and minutes.", CLOCK)
WELL = Failure(make_turn("How long is 75 minutes?", "1:15"), "", CLOCK)


@pytest.fixture
async def sandbox(nothing_left: None) -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(SandboxSettings())
    yield sandbox
    await sandbox.close()


class Caller:
    """Calls the tool it is offered with `arguments`, and makes its reply of what came back by `words`."""

    def __init__(self, words: Callable[[str], str], arguments: str = '{"minutes": 162}', calls: int = 1) -> None:
        self._words, self._arguments, self._calls = words, arguments, calls
        self.bodies: list[dict[str, Any]] = []

    async def __call__(self, body: dict[str, Any]) -> Mapping[str, Any]:
        self.bodies.append(json.loads(json.dumps(body)))
        results = [one["content"] for one in body["messages"] if one["role"] == "tool"]
        if len(results) < self._calls and body.get("tool_choice") != "none":
            function = {"name": body["tools"][0]["function"]["name"], "arguments": self._arguments}
            call = {"id": f"c{len(results)}", "type": "function", "function": function}
            return {"role": "assistant", "content": None, "tool_calls": [call]}
        return {"role": "assistant", "content": self._words(results[-1] if results else "")}


async def test_a_model_that_tells_what_the_program_said_is_mended(sandbox: Sandbox) -> None:
    model = Caller(lambda told: told)
    used = await in_use(TOOL, FAILED, [WELL], model, sandbox.run)
    assert (used.mends, used.broken, used.asked) == (True, (), 1)
    offered = model.bodies[0]["tools"][0]["function"]
    assert (offered["name"], offered["parameters"]) == ("metaclaw_minutes-to-hours", TOOL.parameters)


async def test_a_model_that_words_it_anew_breaks_what_went_well(sandbox: Sandbox) -> None:
    used = await in_use(TOOL, FAILED, [WELL], Caller(lambda told: f"It is {told} long."), sandbox.run)
    assert (used.mends, used.broken) == (False, ("It is 2:42 long.",))
    assert used.evidence() == {"mends": False, "went_well": 1, "broken": ["It is 2:42 long."]}


async def test_one_bad_sample_breaks_nothing(sandbox: Sandbox) -> None:
    replies = iter(["It is so long.", "2:42", "I do not know.", "1:15"])
    used = await in_use(TOOL, FAILED, [WELL], Caller(lambda _: next(replies), calls=0), sandbox.run)
    assert (used.mends, used.broken) == (False, ())


async def test_a_model_that_is_right_without_a_call_is_not_mended_by_the_program(sandbox: Sandbox) -> None:
    used = await in_use(TOOL, FAILED, [], Caller(lambda _: "2:42", calls=0), sandbox.run)
    assert used.mends is False


async def test_one_call_of_two_that_is_right_mends(sandbox: Sandbox) -> None:
    said = iter(["It is so long.", "2:42"])
    used = await in_use(TOOL, FAILED, [], Caller(lambda _: next(said)), sandbox.run)
    assert used.mends is True


async def test_the_skills_of_the_turn_are_there_as_they_were(sandbox: Sandbox) -> None:
    turn = make_turn("How long is 75 minutes?", "1:15", injected="<learned-skills>\nA rule.\n</learned-skills>")
    model = Caller(lambda told: told)
    await in_use(TOOL, FAILED, [Failure(turn, "", CLOCK)], model, sandbox.run)
    assert any("A rule." in str(body["messages"]) for body in model.bodies)
    assert not any("A rule." in str(body["messages"]) for body in model.bodies[:2])


async def test_what_nothing_can_score_and_clients_with_tools_are_not_asked(sandbox: Sandbox) -> None:
    said = Failure(make_turn("How long?", "162 min"), "We write lengths otherwise.")
    model = Caller(lambda told: told)
    fields: tuple[dict[str, Any], ...] = ({"tools": [{}]}, {"tool_choice": "none"})
    requests = [json.dumps({"model": "m", "messages": ASKED, **more}).encode() for more in fields]
    others = [Failure(make_turn("Go.", "1:15", request=request), "", CLOCK) for request in requests]
    used = await in_use(TOOL, said, others, model, sandbox.run)
    assert (used.mends, used.asked, model.bodies) == (None, 0, [])


@pytest.mark.parametrize(
    ("arguments", "told"), [('{"minutes": "x"}', "minutes"), ("{", ""), ('{"minutes": 75}', "1:15")]
)
async def test_a_call_that_cannot_run_is_told_so(sandbox: Sandbox, arguments: str, told: str) -> None:
    body = {"messages": [{"role": "user", "content": "How long?"}]}
    reply, called = await reply_with(TOOL, body, Caller(lambda said: said, arguments), sandbox.run)
    assert (told in reply, called) == (True, True)
    assert body == {"messages": [{"role": "user", "content": "How long?"}]}


async def test_a_model_that_never_stops_calling_has_to_answer(sandbox: Sandbox) -> None:
    model = Caller(lambda told: told, calls=99)
    assert await reply_with(TOOL, {"messages": ASKED}, model, sandbox.run) == ("2:42", True)
    assert model.bodies[-1]["tool_choice"] == "none"
