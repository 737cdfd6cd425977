"""What was learned from, as others train on it: OpenAI's fine-tuning lines, chat examples and preference pairs.

In: finished turns with their signals. Out: JSON objects, one a line. Pure. The messages are the client's own, without
injected skills; of a message only what the format knows is kept. Source: OpenAI's guides on supervised fine-tuning and
direct preference optimization.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from metaclaw.dialects.base import parse_object
from metaclaw.dialects.reply_message import reply_message
from metaclaw.dialects.translation import as_chat
from metaclaw.errors import RequestError
from metaclaw.signals.sequel import sequel
from metaclaw.training.dataset import Candidate, why_not

KNOWN = ("role", "content", "name", "tool_calls", "tool_call_id")
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """A turn that gives no line, and why."""

    turn_id: str
    reason: str


def chat_lines(candidates: Sequence[Candidate]) -> Iterator[Line | Refused]:
    """Each turn that went well, as a conversation that ends with its reply."""
    for one in candidates:
        reason, spoken = why_not(one), _spoken(one)
        if reason or spoken is None:
            yield Refused(one.turn.id, reason or UNREADABLE)
        else:
            asked, reply = spoken
            yield {"messages": [*asked["messages"], reply], **{k: v for k, v in asked.items() if k != "messages"}}


def preference_lines(candidates: Sequence[Candidate]) -> Iterator[Line | Refused]:
    """Each turn that failed, beside a reply that went well: to the very same request, or to its correction."""
    good = [one for one in candidates if not why_not(one) and not _calls(one)]
    answers: dict[str, Candidate] = {}
    for one in good:
        answers[_asked_key(one)] = one  # the newest
    for one in candidates:
        if not one.outcome.failed:
            continue
        better = answers.get(_asked_key(one)) or _correction(one, good)
        spoken, wanted = _spoken(one), _spoken(better) if better else None
        if spoken is None or _calls(one):
            yield Refused(one.turn.id, "it calls tools, and pairs hold text only" if spoken else UNREADABLE)
        elif wanted is None:
            yield Refused(one.turn.id, "no better reply to the same request is known")
        elif wanted[1]["content"] == spoken[1]["content"]:
            yield Refused(one.turn.id, "the better reply says the same")
        else:
            yield {"input": spoken[0], "preferred_output": [wanted[1]], "non_preferred_output": [spoken[1]]}


UNREADABLE = "its request or reply cannot be read"


def _correction(failed: Candidate, good: Sequence[Candidate]) -> Candidate | None:
    """The first good turn of the same agent that follows on it."""
    turn = failed.turn
    for one in good:
        later = one.turn
        if later.position > turn.position and (later.session, later.agent) == (turn.session, turn.agent):
            followed = sequel(turn, later)
            return one if followed and not followed.regenerated else None
    return None


def _spoken(one: Candidate) -> tuple[Line, Line] | None:
    """What was asked, with the tools that were offered, and the reply; None where either cannot be read."""
    reply = reply_message(one.turn.dialect, one.turn.response)
    try:
        body = as_chat(one.turn.dialect, parse_object(one.turn.request))
    except RequestError:
        return None
    if reply is None or not body.get("messages"):
        return None
    asked: Line = {"messages": [_plain(message) for message in body["messages"]]}
    tools = [tool for tool in body.get("tools") or [] if isinstance(tool, dict) and tool.get("type") == "function"]
    if tools:
        asked["tools"] = tools
        if "parallel_tool_calls" in body:
            asked["parallel_tool_calls"] = body["parallel_tool_calls"]
    return asked, _plain(reply)


def _plain(message: Any) -> Line:
    return {key: message[key] for key in KNOWN if message.get(key) is not None}


def _calls(one: Candidate) -> bool:
    spoken = _spoken(one)
    return spoken is not None and "tool_calls" in spoken[1]


def _asked_key(one: Candidate) -> str:
    spoken = _spoken(one)
    return json.dumps(spoken[0], sort_keys=True) if spoken else one.turn.id
