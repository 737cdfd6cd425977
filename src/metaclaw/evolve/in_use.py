"""What does the model make of a program? Asked before users meet it, on the failed request and on ones that went well.

A program's tests say what it returns, and nothing of what a model does with that. Measured on the embedded model: a
program that was right in all its tests took three right answers of three away, since the model told the result in words
of its own, or worked it out itself all the same. So the program is offered as the gateway offers it, with the skills
that the turn had, and the replies are scored as the turn was.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaclaw.context.offers import own_name
from metaclaw.dialects import own_tools_in_chat
from metaclaw.errors import SkillError
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.proof import Run
from metaclaw.evolve.verify import MOST_REQUEST_BYTES, replay_body
from metaclaw.library.tool import Tool, arguments_of, as_text
from metaclaw.sandbox import Call

Say = Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]
"""Asks a chat completion; the assistant's message."""
WentWell = Callable[[], Awaitable[Sequence[Failure]]]
"""Turns of a failure's kind that went well, each with what tells so."""
MOST_ASKED, SAMPLES = 2, 2  # requests that went well, and how often each is asked: one sample may miss by chance
MOST_ROUNDS = 2  # in which calls are run
MOST_TOLD = 500  # characters of a reply in the evidence


@dataclass(frozen=True, slots=True)
class InUse:
    """`mends`: the reply to the failed request is right, by a call; None where nothing tells. `broken` are replies to
    requests that went well without the program.
    """

    mends: bool | None
    broken: tuple[str, ...]
    asked: int

    def evidence(self) -> dict[str, Any]:
        return {"mends": self.mends, "went_well": self.asked, "broken": [reply[:MOST_TOLD] for reply in self.broken]}


async def in_use(tool: Tool, failure: Failure, well: Sequence[Failure], say: Say, run: Run) -> InUse:
    """Raises `UpstreamError` where the model cannot be asked, `SandboxError` where nothing may run code."""
    mends = await _mends(tool, failure, say, run) if _can_be_asked(failure) else None
    asked = [case for case in well if _can_be_asked(case)][:MOST_ASKED]
    replies = [(case, await _best_reply(tool, case, say, run)) for case in asked]
    broken = tuple(reply for case, reply in replies if not case.is_right(reply))
    return InUse(mends, broken, len(asked))


async def _mends(tool: Tool, failure: Failure, say: Say, run: Run) -> bool:
    """A reply that is right without a call is not the program's doing, which is then only in the way."""
    for _ in range(SAMPLES):
        reply, called = await reply_with(tool, replay_body(failure, failure.turn.injected), say, run)
        if called and failure.is_right(reply):
            return True
    return False


async def _best_reply(tool: Tool, case: Failure, say: Say, run: Run) -> str:
    """The first sample that is right, else the last."""
    reply = ""
    for _ in range(SAMPLES):
        reply, _called = await reply_with(tool, replay_body(case, case.turn.injected), say, run)
        if case.is_right(reply):
            break
    return reply


async def reply_with(tool: Tool, body: dict[str, Any], say: Say, run: Run) -> tuple[str, bool]:
    """The reply to a chat completion in which the program is offered, its calls run; and whether it was called."""
    function = {"name": own_name(tool.name), "description": tool.description, "parameters": dict(tool.parameters)}
    body = {**body, "tools": [{"type": "function", "function": function}], "messages": [*body["messages"]]}
    for number in range(MOST_ROUNDS):
        message = await say(body)
        calls = message.get("tool_calls") or []
        if not calls:
            return str(message.get("content") or ""), number > 0
        body["messages"] += [message]
        for call in calls:
            told = await _called(tool, call, run)
            body["messages"] += [{"role": "tool", "tool_call_id": call["id"], "content": told}]
    return str((await say({**body, "tool_choice": "none"})).get("content") or ""), True


async def _called(tool: Tool, call: Mapping[str, Any], run: Run) -> str:
    try:
        result = await run(Call(tool.source, tool.entry, arguments_of(tool, call["function"]["arguments"])))
    except SkillError as error:
        return str(error)
    return as_text(result.value) if result.ok else result.error


def _can_be_asked(case: Failure) -> bool:
    """Whether a reply can be scored, the gateway would offer a tool, and none of the client's may be called."""
    if not case.can_score or len(case.turn.request) > MOST_REQUEST_BYTES:
        return False
    body = replay_body(case, "")
    return not body.get("tools") and own_tools_in_chat.admits(body)
