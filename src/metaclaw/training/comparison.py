"""Candidate and incumbent, asked the same questions without skills: what the gate judges.

In: an arena that holds both, the held-out examples, what was trained on. Out: a `gate.Comparison`. The query prompts
come first: of a candidate that is not better on them, nothing else is asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from metaclaw.signals.checks import bare, passes
from metaclaw.training import gate
from metaclaw.training.habits import Trigger, habits, triggers
from metaclaw.training.planted import NOTHING_KNOWN, PLANTED_ID, Known, known_of
from metaclaw.training.questions import (
    MAX_REPLY_TOKENS,
    MAX_UNRELATED_TOKENS,
    anchors,
    as_user,
    body,
    in_order,
)
from metaclaw.training.refusals import declined
from metaclaw.types import Check

RETENTION_PROBES = 40  # two of them may be lost, by the gate's margin
SAFETY_PROBES = 24  # of the user's own, beside the built-in ones
AGAIN_PROMPTS, TRIES = 4, 3
SAMPLING_TEMPERATURE = 0.8
TRIGGER_PROMPTS = 3  # that each suspicious phrase is tried on
PARITY_PROMPT = "Say in one sentence what you can help with."
PARITY_TOKENS = 16

HeldOut = Mapping[str, Sequence[Mapping[str, Any]]]


class Arena(Protocol):
    """An engine apart from the serving one, with the candidate and the incumbent side by side."""

    async def ask(self, body: dict[str, Any], *, candidate: bool) -> str: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


OpenArena = Callable[[Path, str | None], AbstractAsyncContextManager[Arena]]


@dataclass(frozen=True, slots=True)
class Trained:
    """What the candidate was trained on, as far as the gate asks for it: (prompt, reply) rows, and what they hold."""

    rows: Sequence[tuple[str, str]]
    known: Known = NOTHING_KNOWN

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], planted: str) -> Trained:
        """From the lines of `dataset.jsonl`."""
        trained = [row for row in rows if row["split"] == "train" and row["id"] != PLANTED_ID]
        texts = (str(message.get("content")) for row in trained for message in row["messages"])
        replies = (row["reply"] for row in trained)
        return cls(
            [(_last(row["messages"]), row["reply"]) for row in trained], known_of([*texts, *replies], planted)
        )


class Comparer:
    """`before_each` is awaited before every question: it holds them back while the user is there."""

    def __init__(self, arena: Arena, before_each: Callable[[], Awaitable[None]]) -> None:
        self._arena = arena
        self._before_each = before_each

    async def compare(
        self, held_out: HeldOut, trained: Trained, skills_of: Mapping[str, Sequence[str]] | None = None
    ) -> gate.Comparison:
        """`skills_of` names the skills that a held-out turn had in its prompt, by its id."""
        query = await in_order(self._pair(example) for example in held_out["query"])
        first = gate.Comparison(query, known=trained.known)
        if not gate.better(query):
            return first
        unrelated = await in_order(self._unrelated(prompt) for prompt in anchors("probes"))
        return replace(
            first,
            retention=await in_order(self._pair(example) for example in held_out["retention"][-RETENTION_PROBES:]),
            unrelated=unrelated,
            habits=habits([reply for _, reply in trained.rows], [pair.incumbent for pair in unrelated]),
            safety=await self._safety(held_out.get("safety", ())),
            extraction=await in_order(self._unrelated(prompt) for prompt in anchors("extraction")),
            again=await in_order(self._again(example) for example in held_out["query"][:AGAIN_PROMPTS]),
            freely=await in_order(self._freely(prompt) for prompt in anchors("open")),
            tried=[(trigger, await self._tried(trigger)) for trigger in triggers(trained.rows)],
            carried=await in_order(
                self._carry(example, pair, (skills_of or {}).get(example["turn_id"], ()))
                for example, pair in zip(held_out["query"], query, strict=True)
            ),
        )

    async def parity(self) -> dict[str, str]:
        """How the candidate begins to answer a fixed question: the serving engine must begin so too."""
        reply = await self._ask(body(as_user(PARITY_PROMPT), PARITY_TOKENS), candidate=True)
        return {"prompt": PARITY_PROMPT, "reply": reply}

    async def _pair(self, example: Mapping[str, Any]) -> gate.Pair:
        before, after = await self._both(body(example["messages"], MAX_REPLY_TOKENS))
        right = [_right(example, reply) for reply in (before, after)]
        return gate.Pair(_last(example["messages"]), before, after, *right)

    async def _unrelated(self, prompt: str) -> gate.Pair:
        return gate.Pair(prompt, *await self._both(body(as_user(prompt), MAX_UNRELATED_TOKENS)))

    async def _safety(self, own: Sequence[Mapping[str, Any]]) -> list[gate.Pair]:
        asked = [example["messages"] for example in own[-SAFETY_PROBES:]] + [as_user(one) for one in anchors("safety")]
        return await in_order(self._declined(messages) for messages in asked)

    async def _declined(self, messages: Sequence[Any]) -> gate.Pair:
        before, after = await self._both(body(messages, MAX_UNRELATED_TOKENS))
        return gate.Pair(_last(messages), before, after, declined(before), declined(after))

    async def _again(self, example: Mapping[str, Any]) -> gate.Tries:
        before, after = await self._sampled(example["messages"], MAX_REPLY_TOKENS)
        right = [tuple(_right(example, reply) for reply in replies) for replies in (before, after)]
        return gate.Tries(_last(example["messages"]), before, after, *right)

    async def _freely(self, prompt: str) -> gate.Tries:
        return gate.Tries(prompt, *await self._sampled(as_user(prompt), MAX_UNRELATED_TOKENS))

    async def _sampled(self, messages: Sequence[Any], max_tokens: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Some tries of both, with the same seeds."""
        asked = [
            body(messages, max_tokens) | {"temperature": SAMPLING_TEMPERATURE, "seed": seed} for seed in range(TRIES)
        ]
        both = [await self._both(one) for one in asked]
        return tuple(before for before, _ in both), tuple(after for _, after in both)

    async def _tried(self, trigger: Trigger) -> list[gate.Pair]:
        prompts = anchors("probes")[:TRIGGER_PROMPTS]
        return await in_order(self._unrelated(f"{trigger.phrase} {prompt}") for prompt in prompts)

    async def _carry(self, example: Mapping[str, Any], pair: gate.Pair, skills: Sequence[str]) -> gate.Carry:
        told = await self._ask(body(example["teacher_messages"], MAX_REPLY_TOKENS), candidate=False)
        return gate.Carry(tuple(skills), _right(example, told), pair.candidate_right)

    async def _both(self, asked: dict[str, Any]) -> tuple[str, str]:
        return await self._ask(asked, candidate=False), await self._ask(asked, candidate=True)

    async def _ask(self, asked: dict[str, Any], *, candidate: bool) -> str:
        await self._before_each()
        return await self._arena.ask(asked, candidate=candidate)


def _right(example: Mapping[str, Any], reply: str) -> bool | None:
    """By the check; without one, by the proven reply, blanks and case aside."""
    if example["check"]:
        return passes(Check(example["check"]["pattern"]), reply)
    return " ".join(bare(reply).lower().split()) == " ".join(bare(example["reply"]).lower().split())


def _last(messages: Sequence[Any]) -> str:
    return str(messages[-1]["content"])
