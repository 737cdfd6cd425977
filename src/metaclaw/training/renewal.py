"""Turns of an older generation, proved again under this one.

Each change of the library puts all turns before it out of use for training: what was right then need not be now. Those
that came with a client's check are asked again, with the skills that fit them now, while nobody is there. Where the
reply passes the check, the side call that asked is itself a turn of this generation, with a reward that was measured
under it, and stands for the turn in the dataset. Each turn is asked once a generation.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from metaclaw.dialects.base import object_or_empty
from metaclaw.dialects.translation import as_chat
from metaclaw.errors import RequestError, UpstreamError
from metaclaw.signals import ledger
from metaclaw.signals.checks import passes
from metaclaw.signals.sequel import conversation_of
from metaclaw.store import Connection, Database
from metaclaw.training.dataset import Candidate
from metaclaw.training.questions import MAX_REPLY_TOKENS, body, in_order
from metaclaw.types import Message, Signal, Turn

LATER = (408, 429)
SPOKEN = frozenset({"system", "developer", "user", "assistant"})

CHARACTERS_A_TOKEN = 2  # at least, in most languages: a reply as long as the first one fits

AskAgain = Callable[[Mapping[str, Any], str], Awaitable[tuple[str, str]]]
"From a chat completion's body and its session's name to the id of the call's turn, and the reply."


def plain(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that can be asked by their words alone: the client's tools are not at hand, and what a program of ours
    computed teaches nothing.
    """
    return [one for one in candidates if _is_plain(one.turn)]


async def renew(
    database: Database, namespace: str, generation: int, candidates: Sequence[Candidate], ask: AskAgain,
    may_ask: Callable[[], Awaitable[None]],
) -> int:
    """Ask them again, and note what came of it. Returns how many hold. Raises `UpstreamError` where nobody answers."""

    async def one(candidate: Candidate) -> bool:
        await may_ask()
        turn, check = candidate.turn, candidate.check
        try:
            called, reply = await ask(_question(turn), turn.session)
        except UpstreamError as error:
            if error.status >= 500 or error.status in LATER:  # nobody there, or no room: another time
                raise
            called, reply = "", ""  # too long by now, with the skills
        holds = bool(called) and check is not None and passes(check, reply) is True
        if holds:
            told = Signal(called, "check", 1.0, f"asked again under generation {generation}: the check passed", turn.id)
            ledger.record(database, namespace, [told])
        noted = (namespace, turn.id, generation, called if holds else None, time.time())
        await database.write_async(lambda connection: _note(connection, noted))
        return holds

    return sum(await in_order(map(one, candidates)))


def _note(connection: Connection, values: tuple[str, str, int, str | None, float]) -> None:
    connection.execute("INSERT OR REPLACE INTO renewals VALUES (?, ?, ?, ?, ?)", values)


def _question(turn: Turn) -> dict[str, Any]:
    """The turn's conversation, with the form that its client wanted the reply in."""
    asked = body(conversation_of(turn), max(MAX_REPLY_TOKENS, len(turn.reply) // CHARACTERS_A_TOKEN))
    try:
        form = as_chat(turn.dialect, object_or_empty(turn.request)).get("response_format")
    except RequestError:  # it has what a chat completion cannot say; its words can be asked all the same
        form = None
    return {**asked, "response_format": form} if form else asked


def _is_plain(turn: Turn) -> bool:
    if (turn.tools and turn.tools.calls) or object_or_empty(turn.request).get("tools"):
        return False
    return all(map(_is_said, conversation_of(turn)))


def _is_said(message: Message) -> bool:
    return message.get("role") in SPOKEN and isinstance(message.get("content"), str) and not message.get("tool_calls")
