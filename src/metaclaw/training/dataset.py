"""What may train the policy, chosen from the journal, with a reason for every turn.

In: the turns of the library's current generation, their outcomes, and the ids of support turns. Out: examples split by
session into train and held-out query (turns that skills were in), and replay and held-out retention (turns that went
well without any), with a manifest. Pure. A turn of an older generation never gets
here (the query asks for exactly one generation), and support is left out here: promise 4.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from metaclaw.dialects.chat import inject
from metaclaw.dialects.translation import DIALECTS
from metaclaw.signals.combine import Outcome
from metaclaw.types import Check, Message, Turn

QUERY_EVERY = 4  # of the sessions that had the same skills, every fourth is held out for the gate
RETENTION_EVERY = 2  # of those that needed none, every second: the other half is rehearsed


@dataclass(frozen=True, slots=True)
class Example:
    """One proven turn. `teacher_messages` is the conversation as the model saw it, skills included."""

    turn_id: str
    messages: list[Message]
    teacher_messages: list[Message]
    reply: str
    check: Check | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the manifest."""

    turn_id: str
    session: str
    generation: int
    policy: str
    split: str
    reason: str


@dataclass(frozen=True, slots=True)
class Dataset:
    train: tuple[Example, ...]
    query: tuple[Example, ...]
    replay: tuple[Example, ...]
    retention: tuple[Example, ...]
    manifest: tuple[Entry, ...]


def build(
    turns: Sequence[Turn],
    support: frozenset[str],
    outcome: Callable[[Turn], Outcome],
    check: Callable[[Turn], Check | None],
    most_train: int,
) -> Dataset:
    """Split what is proven. Turns with skills teach; turns that went well without any are what must be retained."""
    splits: dict[str, list[Example]] = {"train": [], "query": [], "replay": [], "retention": []}
    manifest = []
    held_out = _held_out_sessions(turns)
    for turn in turns:
        why_not = _why_not(turn, support, outcome(turn))
        split = "out" if why_not else _split(turn, turn.session in held_out)
        manifest.append(
            Entry(turn.id, turn.session, turn.generation, turn.policy, split, why_not or "proven by its signals")
        )
        if not why_not:
            splits[split].append(_example(turn, check(turn)))
    train = splits["train"][-most_train:]
    manifest = _without(manifest, {example.turn_id for example in splits["train"][:-most_train]})
    return Dataset(
        tuple(train), tuple(splits["query"]), tuple(splits["replay"]), tuple(splits["retention"]), tuple(manifest)
    )


def lines(dataset: Dataset, replay: Iterable[tuple[list[Message], str]]) -> list[str]:
    """The trainer's input, one JSON object a line. `replay` holds conversations with the model's own answers."""
    rows: list[dict[str, Any]] = [
        {
            "id": example.turn_id, "split": "train", "messages": example.messages,
            "teacher_messages": example.teacher_messages, "reply": example.reply, "weight": 1.0,
        }
        for example in dataset.train
    ]
    rows += [
        {
            "id": f"replay-{number}", "split": "replay", "messages": messages, "teacher_messages": None,
            "reply": reply, "weight": 1.0,
        }
        for number, (messages, reply) in enumerate(replay)
    ]
    return [json.dumps(row, ensure_ascii=False) for row in rows]


def manifest_lines(dataset: Dataset) -> list[str]:
    return [json.dumps(asdict(entry), ensure_ascii=False) for entry in dataset.manifest]


def _held_out_sessions(turns: Sequence[Turn]) -> frozenset[str]:
    """Every n-th session, in order of appearance, of those whose first turn had the same skills."""
    seen: Counter[tuple[str, ...]] = Counter()
    held_out: dict[str, bool] = {}
    for turn in turns:
        if turn.session not in held_out:
            seen[turn.skills] += 1
            every = QUERY_EVERY if turn.skills else RETENTION_EVERY
            held_out[turn.session] = seen[turn.skills] % every == 0
    return frozenset(session for session, out in held_out.items() if out)


def _without(manifest: Sequence[Entry], too_many: set[str]) -> list[Entry]:
    """The manifest with the turns that one run has no room for left out."""
    return [
        dataclasses.replace(entry, split="out", reason="one run takes the newest only")
        if entry.turn_id in too_many else entry
        for entry in manifest
    ]


def _split(turn: Turn, held_out: bool) -> str:
    if turn.skills:
        return "query" if held_out else "train"
    return "retention" if held_out else "replay"


def _why_not(turn: Turn, support: frozenset[str], outcome: Outcome) -> str:
    if turn.id in support:
        return "support of a skill"
    if outcome.value is None:
        return "no signal"
    if not outcome.succeeded:
        return "its signals do not say that it went well"
    if not turn.reply.strip():
        return "no text to learn from"
    if turn.tools and turn.tools.calls:  # taught without it, the model would learn to guess what a program computed
        return "a code skill was run for it"
    return ""


def _example(turn: Turn, check: Check | None) -> Example:
    messages = DIALECTS[turn.dialect].conversation(json.loads(turn.request))
    return Example(turn.id, messages, inject(messages, turn.injected), turn.reply, check)
