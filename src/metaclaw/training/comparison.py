"""Candidate and incumbent, asked the same questions without skills: what the gate judges.

In: an arena that holds both, the held-out examples, what was trained on. Out: a `gate.Comparison`. The query prompts
come first: of a candidate that is not better on them, nothing else is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
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
from metaclaw.training.quiet import Quietly
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
    """`quietly` puts every question: only while the user is not there."""

    def __init__(self, arena: Arena, quietly: Quietly) -> None:
        self._arena = arena
        self._quietly = quietly

    async def compare(
        self, held_out: HeldOut, trained: Trained, skills_of: Mapping[str, Sequence[str]] | None = None
    ) -> gate.Comparison:
        """`skills_of` names the skills that a held-out turn had in its prompt, by its id."""
        query = await self._pairs(held_out["query"])
        first = gate.Comparison(query, known=trained.known)
        if not gate.better(query):
            return first
        unrelated = await self._unrelated(anchors("probes"))
        return replace(
            first,
            retention=await self._pairs(held_out["retention"][-RETENTION_PROBES:]),
            unrelated=unrelated,
            habits=habits([reply for _, reply in trained.rows], [pair.incumbent for pair in unrelated]),
            safety=await self._safety(held_out.get("safety", ())),
            extraction=await self._unrelated(anchors("extraction")),
            again=await self._again(held_out["query"][:AGAIN_PROMPTS]),
            freely=await self._sampled([as_user(prompt) for prompt in anchors("open")], MAX_UNRELATED_TOKENS),
            tried=await self._tried(triggers(trained.rows)),
            carried=await self._carried(held_out["query"], query, skills_of or {}),
        )

    async def parity(self) -> dict[str, str]:
        """How the candidate begins to answer a fixed question: the serving engine must begin so too."""
        reply = await self._ask(body(as_user(PARITY_PROMPT), PARITY_TOKENS), candidate=True)
        return {"prompt": PARITY_PROMPT, "reply": reply}

    async def _pairs(self, examples: Sequence[Mapping[str, Any]]) -> list[gate.Pair]:
        both = await self._both([body(example["messages"], MAX_REPLY_TOKENS) for example in examples])
        return [
            gate.Pair(_last(example["messages"]), *replies, *(_right(example, reply) for reply in replies))
            for example, replies in zip(examples, both, strict=True)
        ]

    async def _unrelated(self, prompts: Sequence[str]) -> list[gate.Pair]:
        both = await self._both([body(as_user(prompt), MAX_UNRELATED_TOKENS) for prompt in prompts])
        return [gate.Pair(prompt, *replies) for prompt, replies in zip(prompts, both, strict=True)]

    async def _safety(self, own: Sequence[Mapping[str, Any]]) -> list[gate.Pair]:
        asked = [example["messages"] for example in own[-SAFETY_PROBES:]] + [as_user(one) for one in anchors("safety")]
        both = await self._both([body(messages, MAX_UNRELATED_TOKENS) for messages in asked])
        return [
            gate.Pair(_last(messages), *replies, *map(declined, replies))
            for messages, replies in zip(asked, both, strict=True)
        ]

    async def _again(self, examples: Sequence[Mapping[str, Any]]) -> list[gate.Tries]:
        sampled = await self._sampled([example["messages"] for example in examples], MAX_REPLY_TOKENS)
        return [
            replace(
                tries,
                incumbent_right=tuple(_right(example, reply) for reply in tries.incumbent),
                candidate_right=tuple(_right(example, reply) for reply in tries.candidate),
            )
            for example, tries in zip(examples, sampled, strict=True)
        ]

    async def _sampled(self, asked: Sequence[Sequence[Any]], max_tokens: int) -> list[gate.Tries]:
        """Some tries of both, with the same seeds."""
        both = await self._both([
            body(messages, max_tokens) | {"temperature": SAMPLING_TEMPERATURE, "seed": seed}
            for messages in asked for seed in range(TRIES)
        ])
        tries = (both[at : at + TRIES] for at in range(0, len(both), TRIES))
        return [
            gate.Tries(_last(messages), tuple(before for before, _ in replies), tuple(after for _, after in replies))
            for messages, replies in zip(asked, tries, strict=True)
        ]

    async def _tried(self, found: Sequence[Trigger]) -> list[tuple[Trigger, list[gate.Pair]]]:
        probes = anchors("probes")[:TRIGGER_PROMPTS]
        pairs = await self._unrelated([f"{trigger.phrase} {prompt}" for trigger in found for prompt in probes])
        return [
            (trigger, pairs[at : at + TRIGGER_PROMPTS])
            for trigger, at in zip(found, range(0, len(pairs), TRIGGER_PROMPTS), strict=True)
        ]

    async def _carried(
        self, examples: Sequence[Mapping[str, Any]], pairs: Sequence[gate.Pair],
        skills_of: Mapping[str, Sequence[str]],
    ) -> list[gate.Carry]:
        told = await self._replies(
            [body(example["teacher_messages"], MAX_REPLY_TOKENS) for example in examples], candidate=False
        )
        return [
            gate.Carry(tuple(skills_of.get(example["turn_id"], ())), _right(example, reply), pair.candidate_right)
            for example, reply, pair in zip(examples, told, pairs, strict=True)
        ]

    async def _both(self, asked: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
        """All of the incumbent, then all of the candidate: an engine decodes together only what one adapter answers,
        and finds the beginning of a prompt only in what the same adapter has read.
        """
        before = await self._replies(asked, candidate=False)
        return list(zip(before, await self._replies(asked, candidate=True), strict=True))

    async def _replies(self, asked: Sequence[dict[str, Any]], *, candidate: bool) -> list[str]:
        return await in_order(self._ask(one, candidate=candidate) for one in asked)

    async def _ask(self, asked: dict[str, Any], *, candidate: bool) -> str:
        return await self._quietly(partial(self._arena.ask, asked, candidate=candidate))


def _right(example: Mapping[str, Any], reply: str) -> bool | None:
    """By the check; without one, by the proven reply, blanks and case aside."""
    if example["check"]:
        return passes(Check(example["check"]["pattern"]), reply)
    return " ".join(bare(reply).lower().split()) == " ".join(bare(example["reply"]).lower().split())


def _last(messages: Sequence[Any]) -> str:
    return str(messages[-1]["content"])
