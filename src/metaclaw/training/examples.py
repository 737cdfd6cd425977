"""Rows become token ids, and batches that begin alike. Pure; no model runs here.

Examples that share their opening (mostly the system prompt) go through the model together, the opening once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from metaclaw.dialects.chat import last_words
from metaclaw.training.model import encode_chat, encode_reply
from metaclaw.training.recipe import Row
from metaclaw.types import Message

Ids = tuple[int, ...]
Kind = Literal["proven", "own", "replay", "query"]
"""A proven reply; one that the student sampled itself; a rehearsed one; one that is only looked at."""


KINDS: dict[str, Kind] = {"train": "proven", "replay": "replay", "query": "query"}


@dataclass(frozen=True, slots=True)
class Example:
    """One row as token ids. The teacher of a replayed example is the base model on the same prompt.

    `logprobs` belong to the first tokens of the reply, which were sampled with them; a token that ends it may lack one.
    Without them nothing is weighted by probability. `advantage` is set where a sample was scored in its group.
    """

    id: str
    kind: Kind
    prompt: Ids
    teacher_prompt: Ids | None
    reply: Ids
    weight: float
    opening: str
    """What tells which examples begin alike: the system prompt, for the student and for the teacher."""
    teacher_opening: str
    logprobs: tuple[float, ...] = ()
    advantage: float | None = None
    check: str | None = None
    question: str = ""
    """What was asked last, for a judge."""

    @property
    def replay(self) -> bool:
        return self.kind == "replay"

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
    teacher = row.messages if row.split == "replay" else row.teacher_messages
    return Example(
        id=row.id,
        kind=KINDS[row.split],
        prompt=tuple(encode_chat(tokenizer, row.messages)),
        teacher_prompt=tuple(encode_chat(tokenizer, teacher)) if teacher else None,
        reply=_reply(tokenizer, row),
        logprobs=row.sampled.logprobs if row.sampled else (),
        check=row.check,
        question=last_words(cast("list[Message]", row.messages)),
        weight=row.weight,
        opening=_opening(row.messages),
        teacher_opening=_opening(teacher) if teacher else "",
    )


def _reply(tokenizer: Any, row: Row) -> Ids:
    """The very tokens where they are known, else the text's; with the one that ends it, so that stopping is learned."""
    if row.sampled is None:
        return tuple(encode_reply(tokenizer, row.reply))
    ends = row.sampled.tokens[-1] == tokenizer.eos_token_id
    return row.sampled.tokens if ends else (*row.sampled.tokens, tokenizer.eos_token_id)


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


def _common(prompts: Sequence[Ids]) -> int:
    """Number of leading tokens that all share, short of the last one of the shortest."""
    shortest = min(map(len, prompts)) - 1
    differing = (at for at in range(shortest) if len({prompt[at] for prompt in prompts}) > 1)
    return next(differing, shortest)


def _opening(messages: Sequence[dict[str, Any]]) -> str:
    return str(messages[0]["content"]) if messages[0]["role"] == "system" else ""
