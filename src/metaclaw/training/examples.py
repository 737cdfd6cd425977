"""Rows become token ids, batches that begin alike, and the order of the steps. Pure; no model runs here.

Examples that share their opening (mostly the system prompt) go through the model together, the opening once.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from metaclaw.training.model import encode_chat, encode_reply
from metaclaw.training.recipe import Row

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One row as token ids. The teacher of a replayed example is the base model on the same prompt."""

    id: str
    replay: bool
    prompt: Ids
    teacher_prompt: Ids | None
    reply: Ids
    weight: float
    opening: str
    """What tells which examples begin alike: the system prompt, for the student and for the teacher."""
    teacher_opening: str

    @property
    def tokens(self) -> int:
        return len(self.prompt) + len(self.reply)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows for one pass of the model: the ids of all are `prefix` + one of `rows`; the reply closes each row."""

    members: tuple[int, ...]
    """Indices of the examples."""
    prefix: Ids
    rows: tuple[Ids, ...]
    """Without the last token of the reply, from which nothing is predicted."""
    replies: tuple[Ids, ...]


def encode(tokenizer: Any, row: Row) -> Example:
    teacher = row.teacher_messages if row.split == "train" else row.messages
    return Example(
        id=row.id,
        replay=row.split == "replay",
        prompt=tuple(encode_chat(tokenizer, row.messages)),
        teacher_prompt=tuple(encode_chat(tokenizer, teacher)) if teacher else None,
        reply=tuple(encode_reply(tokenizer, row.reply)),
        weight=row.weight,
        opening=_opening(row.messages),
        teacher_opening=_opening(teacher) if teacher else "",
    )


def batch(examples: Sequence[Example], members: Sequence[int], *, teacher: bool = False) -> Batch:
    """These examples with their longest common opening taken out; every row keeps one token of its prompt."""
    chosen = [examples[index] for index in members]
    prompts = [(example.teacher_prompt or ()) if teacher else example.prompt for example in chosen]
    shared = _common(prompts)
    rows = tuple((*prompt[shared:], *example.reply[:-1]) for prompt, example in zip(prompts, chosen, strict=True))
    return Batch(tuple(members), prompts[0][:shared], rows, tuple(example.reply for example in chosen))


def alike(examples: Sequence[Example], members: Sequence[int], most: int, *, teacher: bool = False) -> list[list[int]]:
    """`members` in groups of one opening and similar length, at most `most` in each."""

    def opening(index: int) -> str:
        return examples[index].teacher_opening if teacher else examples[index].opening

    groups: dict[str, list[int]] = {}
    for index in sorted(members, key=lambda index: (examples[index].tokens, index)):
        groups.setdefault(opening(index), []).append(index)
    return [group[at : at + most] for group in groups.values() for at in range(0, len(group), most)]


def steps_of_epoch(count: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """All examples, shuffled for this epoch, dealt to the fewest steps of at most `batch_size`, evenly."""
    order = list(range(count))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    steps = -(-count // batch_size)
    return [order[step::steps] for step in range(steps)]


def _common(prompts: Sequence[Ids]) -> int:
    """Number of leading tokens that all share, short of the last one of the shortest."""
    shortest = min(map(len, prompts)) - 1
    differing = (at for at in range(shortest) if len({prompt[at] for prompt in prompts}) > 1)
    return next(differing, shortest)


def _opening(messages: Sequence[dict[str, Any]]) -> str:
    return str(messages[0]["content"]) if messages[0]["role"] == "system" else ""
