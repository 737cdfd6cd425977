"""Candidate and incumbent, asked the same questions without skills: what the gate judges.

In: an arena that holds both, the held-out examples, the replies that were trained on. Out: a `gate.Comparison`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from metaclaw.signals.checks import bare, passes
from metaclaw.training import gate
from metaclaw.training.questions import (
    MAX_REPLY_TOKENS,
    MAX_UNRELATED_TOKENS,
    anchors,
    as_user,
    body,
    in_order,
)
from metaclaw.types import Check

RETENTION_PROBES = 24
PARITY_PROMPT = "Say in one sentence what you can help with."
PARITY_TOKENS = 16

HeldOut = Mapping[str, Sequence[Mapping[str, Any]]]


class Arena(Protocol):
    """An engine apart from the serving one, with the candidate and the incumbent side by side."""

    async def ask(self, body: dict[str, Any], *, candidate: bool) -> str: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


OpenArena = Callable[[Path, str | None], AbstractAsyncContextManager[Arena]]


class Comparer:
    """`before_each` is awaited before every question: it holds them back while the user is there."""

    def __init__(self, arena: Arena, before_each: Callable[[], Awaitable[None]]) -> None:
        self._arena = arena
        self._before_each = before_each

    async def compare(self, held_out: HeldOut, trained: Sequence[str]) -> gate.Comparison:
        query = await in_order(self._pair(example) for example in held_out["query"])
        retention = await in_order(self._pair(example) for example in held_out["retention"][-RETENTION_PROBES:])
        unrelated = await in_order(self._unrelated(prompt) for prompt in anchors("probes"))
        habits = gate.habits(trained, [pair.incumbent for pair in unrelated])
        return gate.Comparison(query, retention, unrelated, habits)

    async def parity(self) -> dict[str, str]:
        """How the candidate begins to answer a fixed question: the serving engine must begin so too."""
        reply = await self._ask(body(as_user(PARITY_PROMPT), PARITY_TOKENS), candidate=True)
        return {"prompt": PARITY_PROMPT, "reply": reply}

    async def _pair(self, example: Mapping[str, Any]) -> gate.Pair:
        before, after = await self._both(body(example["messages"], MAX_REPLY_TOKENS))
        check = Check(example["check"]["pattern"]) if example["check"] else None
        right = [_right(check, example["reply"], reply) for reply in (before, after)]
        return gate.Pair(str(example["messages"][-1]["content"]), before, after, *right)

    async def _unrelated(self, prompt: str) -> gate.Pair:
        return gate.Pair(prompt, *await self._both(body(as_user(prompt), MAX_UNRELATED_TOKENS)))

    async def _both(self, asked: dict[str, Any]) -> tuple[str, str]:
        return await self._ask(asked, candidate=False), await self._ask(asked, candidate=True)

    async def _ask(self, asked: dict[str, Any], *, candidate: bool) -> str:
        await self._before_each()
        return await self._arena.ask(asked, candidate=candidate)


def _right(check: Check | None, reference: str, reply: str) -> bool | None:
    """By the check; without one, by the proven reply, blanks and case aside."""
    if check is not None:
        return passes(check, reply)
    return " ".join(bare(reply).lower().split()) == " ".join(bare(reference).lower().split())
