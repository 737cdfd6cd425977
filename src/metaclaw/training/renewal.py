"""Turns of an older generation, proved again under this one.

Each change of the library puts all turns before it out of use for training: what was right then need not be now. Those
that came with a client's check are asked again, with the skills that fit them now, while nobody is there. Where the
reply passes the check, the side call that asked is itself a turn of this generation, with a reward that was measured
under it, and stands for the turn in the dataset. Each turn is asked once a generation.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaclaw.dialects.base import object_or_empty
from metaclaw.dialects.translation import as_chat
from metaclaw.errors import RequestError, UpstreamError
from metaclaw.journal.erasing import erase_late, erased_among, was_erased
from metaclaw.signals import ledger
from metaclaw.signals.checks import passes
from metaclaw.signals.sequel import conversation_of
from metaclaw.store import Connection, Database
from metaclaw.training.dataset import Candidate
from metaclaw.training.questions import BESIDE_THE_USER, MAX_REPLY_TOKENS, body, in_order
from metaclaw.training.quiet import Quietly
from metaclaw.types import Message, Signal, Turn

MOST_FAILURES = 3
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
    quietly: Quietly, failures: MutableMapping[str, int],
) -> int:
    """Ask them again, and note what came of it. Returns how many hold. Raises `UpstreamError` where nobody answers.

    `failures` counts by turn how often the model failed at it, also in earlier calls: after the third time it does not
    hold, and is in the way of the others no more.
    """

    async def one(candidate: Candidate) -> bool:
        turn, check = candidate.turn, candidate.check

        async def put() -> tuple[str, str] | None:
            if erased_among(database, namespace, [turn.id]):  # while the user was there
                return None
            return await ask(_question(turn), turn.session)

        try:
            answered = await quietly(put)
        except UpstreamError as error:
            if error.status >= 500:
                failures[turn.id] = failures.get(turn.id, 0) + 1
            breaks_it = error.status >= 500 and failures[turn.id] >= MOST_FAILURES
            if error.may_pass and not breaks_it:  # another time
                raise
            answered = "", ""  # too long by now, with the skills; or the model breaks at it
        if answered is None:
            return False
        called, reply = answered
        holds = bool(called) and check is not None and passes(check, reply) is True
        asked = _Asked(turn, generation, called, holds)
        return await database.write_async(lambda connection: _note(connection, namespace, asked))

    return sum(await in_order(map(one, candidates), BESIDE_THE_USER))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A turn, and the call that asked it again."""

    turn: Turn
    generation: int
    call: str
    holds: bool


def _note(connection: Connection, namespace: str, asked: _Asked) -> bool:
    """Note it, with the signal where it holds. Where the turn or the call was erased meanwhile, no call stays."""
    if any(was_erased(connection, namespace, one) for one in (asked.turn.id, asked.call)):
        if asked.call:
            erase_late(connection, namespace, asked.turn.session, asked.call)
        return False
    if asked.holds:
        told = f"asked again under generation {asked.generation}: the check passed"
        ledger.insert(connection, namespace, [Signal(asked.call, "check", 1.0, told, asked.turn.id)])
    renewed_by = asked.call if asked.holds else None
    connection.execute(
        "INSERT OR REPLACE INTO renewals VALUES (?, ?, ?, ?, ?)",
        (namespace, asked.turn.id, asked.generation, renewed_by, time.time()),
    )
    return asked.holds


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
