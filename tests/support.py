"""Builders that tests of several rooms share: a turn, feedback, a skill, and what stands in for a model."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from functools import cache
from typing import Any

from metaclaw.context.compose import OPENING
from metaclaw.context.embed import StaticEmbedder
from metaclaw.journal.recorder import Recorder
from metaclaw.journal.redact import Redactor
from metaclaw.store import Database
from metaclaw.types import Check, Feedback, Message, Skill, Turn, TurnKind

NAMESPACE = "default"
_numbers = itertools.count(1)


def request_bytes(query: str, **fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": query}], **fields}).encode()


def make_turn(query: str = "Suggest a file name for the notes.", reply: str = "notes.md", **changes: Any) -> Turn:
    number = next(_numbers)
    fields: dict[str, Any] = {
        "id": f"turn-{number}", "namespace": NAMESPACE, "session": f"session-{number}", "kind": TurnKind.MAIN,
        "dialect": "chat", "request": request_bytes(query), "response": b"{}", "query": query, "reply": reply,
        "status": 200, "complete": True, "skills": (), "injected": "", "generation": 0, "policy": "base",
        "usage": {}, "timings": {}, "created_at": 1000.0 + number,
    }
    return Turn(**(fields | changes))


def make_feedback(turn: Turn, text: str = "", score: float | None = None, pattern: str | None = None) -> Feedback:
    number = next(_numbers)
    check = Check(pattern) if pattern else None
    return Feedback(f"feedback-{number}", turn.namespace, turn.id, score, text, check, 2000.0 + number)


def make_skill(name: str = "file-names", body: str = "Rule: date first.", **changes: Any) -> Skill:
    fields: dict[str, Any] = {"name": name, "description": f"Use for {name.replace('-', ' ')}.", "body": body}
    return Skill(**(fields | changes))


async def keep(database: Database, *items: Turn | Feedback) -> None:
    """Into the journal, as the gateway puts them there."""
    recorder = Recorder(database, Redactor(), durable_timeout_seconds=10)
    for item in items:
        if isinstance(item, Turn):
            assert await recorder.turn(item)
        else:
            await recorder.feedback(item)


async def until(condition: Callable[[], bool]) -> None:
    """Give way to the other tasks until it holds; fail after ten seconds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@cache
def embedder() -> StaticEmbedder:
    """The real word vectors, loaded once."""
    return StaticEmbedder()


class ScriptedModel:
    """Answers a replay by whether a skill is in it, and a proposal with what it was given. Keeps what it was asked."""

    def __init__(self, without: str, with_skill: str, proposal: str = "no idea") -> None:
        self.without, self.with_skill, self.proposal = without, with_skill, proposal
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, body: dict[str, Any]) -> str:
        self.asked.append(body)
        if "response_format" in body:
            return self.proposal
        return self.with_skill if has_skill(body["messages"]) else self.without

    @property
    def proposals(self) -> int:
        return sum("response_format" in body for body in self.asked)


def has_skill(messages: list[Message]) -> bool:
    return any(OPENING in str(message["content"]) for message in messages)


__all__ = [
    "NAMESPACE", "ScriptedModel", "embedder", "has_skill", "keep", "make_feedback", "make_skill",
    "make_turn", "request_bytes", "until",
]


def support_turns(database: Database) -> set[str]:
    """The turns that any version of any skill was written from."""
    return {turn_id for turn_id, in database.read("SELECT turn_id FROM support WHERE namespace = ?", (NAMESPACE,))}
