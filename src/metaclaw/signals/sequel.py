"""What came after a turn: its tool results, the user's next words, or the same request again.

In: a turn and a later one of the same session. Out: a `Sequel`, or None where the later turn does not follow on it:
agents run side conversations under one session name. Only the messages after the turn are looked at; the history that
agents send along each time is compared at one place, where the turn ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from metaclaw.dialects.base import parse_object
from metaclaw.dialects.boilerplate import strip_boilerplate
from metaclaw.dialects.chat import SYSTEM_ROLES, text_of
from metaclaw.dialects.translation import DIALECTS
from metaclaw.errors import RequestError
from metaclaw.signals.tools import ToolResult, results_in
from metaclaw.types import Message, Turn


@dataclass(frozen=True, slots=True)
class Sequel:
    """`messages` begin with the reply, where the client sent it back; `said` are the user's own words in them.

    `before` is the conversation that led to the reply. `regenerated` says that the same request was sent once more,
    after its reply had come.
    """

    before: Sequence[Message] = ()
    messages: Sequence[Message] = ()
    said: str = ""
    results: Sequence[ToolResult] = field(default_factory=tuple)
    regenerated: bool = False


def conversation_of(turn: Turn) -> Sequence[Message]:
    """The request's messages in the shape of `chat`; none where its format is not known."""
    dialect = DIALECTS.get(turn.dialect)
    try:
        return dialect.conversation(parse_object(turn.request)) if dialect else ()
    except RequestError:  # written by a version that took what this one refuses
        return ()


def sequel(before: Turn, later: Turn, messages: Sequence[Message] | None = None) -> Sequel | None:
    """What `later` says of `before`. `messages` are those of `later`, where they are at hand."""
    asked, now = conversation_of(before), conversation_of(later) if messages is None else messages
    if not asked or not now:
        return None
    if (end := _end_of(before, asked, now)) is not None:
        return _sequel(now[:end], _until_the_next_reply(now[end:]))
    if len(asked) == len(now) and all(map(_same, asked, now)):
        return Sequel(before=asked, regenerated=later.created_at >= _ended_at(before))
    if _system(asked) != _system(now) or any(message.get("role") == "assistant" for message in [*asked, *now]):
        return None
    return _sequel(asked, [message for message in now if message.get("role") not in SYSTEM_ROLES])  # only what is new


def _sequel(before: Sequence[Message], messages: Sequence[Message]) -> Sequel:
    words = [text_of(message.get("content")) for message in messages if message.get("role") == "user"]
    said = "\n".join(filter(None, map(strip_boilerplate, words)))
    return Sequel(before, messages, said, tuple(results_in(messages)))


def _end_of(before: Turn, asked: Sequence[Message], now: Sequence[Message]) -> int | None:
    """Where the reply to `before` stands in the later conversation."""
    end = len(asked)
    if len(now) > end and now[end].get("role") == "assistant" and _same(asked[-1], now[end - 1]):
        return end
    if not before.reply.strip():
        return None
    replies = (index for index in reversed(range(len(now))) if now[index].get("role") == "assistant")
    # history that was shortened or rewritten: the reply itself is still there
    return next((i for i in replies if text_of(now[i].get("content")).strip() == before.reply.strip()), None)


def _until_the_next_reply(messages: Sequence[Message]) -> Sequence[Message]:
    answered = False
    for index, message in enumerate(messages):
        is_reply = message.get("role") == "assistant"
        if is_reply and answered:
            return messages[:index]
        answered = answered or not is_reply
    return messages


def _same(one: Message, other: Message) -> bool:
    return one.get("role") == other.get("role") and _text(one) == _text(other)


def _text(message: Message) -> str:
    return strip_boilerplate(text_of(message.get("content")))


def _system(messages: Sequence[Message]) -> str:
    return _text(messages[0]) if messages[0].get("role") in SYSTEM_ROLES else ""


def _ended_at(turn: Turn) -> float:
    return turn.created_at + turn.timings.get("total_seconds", 0.0)
