"""What may train the policy, split by session, with a reason for every turn that enters or stays out.

In: the turns that the journal's query lets in (`selection.py`: this generation, no support), with their signals. Out:
examples for train and held-out query (turns that skills were in), replay and retention (turns that went well without
any) and safety (turns where the model declined), and a manifest without any text. Pure.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from metaclaw.dialects.chat import inject
from metaclaw.dialects.reply_message import reply_message
from metaclaw.signals.combine import WEIGHTS, Outcome, combine
from metaclaw.signals.sequel import conversation_of
from metaclaw.signals.tools import calls_in
from metaclaw.training.gate import LEAST_TO_TELL
from metaclaw.training.own_checks import touched
from metaclaw.training.refusals import declined
from metaclaw.training.wording import in_words
from metaclaw.types import Check, Message, Sampled, Signal, Turn

WATCH_EVERY = 3  # of the held-out sessions, every third tells the trainer when to stop: the gate must not see those
LEAST_JUDGED = 12  # held-out turns that the gate should have, and keeps in any case: with fewer, nothing is watched
QUERY_EVERY = 4  # of the sessions that had the same skills, every fourth is held out for the gate
QUERY_EVERY_OF_FEW = 2  # while these are fewer than the gate should have
RETENTION_EVERY = 2  # of those that needed none, every second: the other half is rehearsed
MOST_OF_SESSION = 16  # turns of one session, so that one long day is not the whole lesson
SOURCE_SHARE = {"next_message": 0.5, "judge": 0.5}  # of a run: what is read by rules or is an opinion must not rule it

OUT = "out"
LEARNED = ("train", "replay")
TESTED = ("query", "retention", "safety")


@dataclass(frozen=True)
class Candidate:
    """A turn that the journal's query lets in, and what is known of it. `again`: it asked one of an older generation
    again.
    """

    turn: Turn
    signals: tuple[Signal, ...] = ()
    check: Check | None = None
    sampled: Sampled | None = None
    again: bool = False

    @cached_property
    def outcome(self) -> Outcome:
        return combine(self.signals)

    @property
    def source(self) -> str:
        """The most trusted of those that speak for it."""
        speaking = {signal.source for signal in self.signals if signal.value is not None and signal.value > 0}
        return max(speaking, key=lambda source: WEIGHTS[source], default="")


@dataclass(frozen=True, slots=True)
class Example:
    """One proven turn. `teacher_messages` is the conversation as the model saw it, skills included."""

    turn_id: str
    messages: list[Message]
    teacher_messages: list[Message]
    reply: str
    check: Check | None
    sampled: Sampled | None = None
    session: str = ""
    policy: str = ""


@dataclass(frozen=True, slots=True)
class SampledExample:
    """An example with the very tokens that were sampled and their log-probabilities.

    The only kind that an importance-weighted objective takes: a text encoded again need not be the tokens that were
    sampled, and without their probabilities there is no ratio to weigh by.
    """

    example: Example
    sampled: Sampled


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the manifest. `signals` are sources with their values; None where the source abstained."""

    turn_id: str
    session: str
    generation: int
    policy: str
    skills: tuple[str, ...]
    signals: tuple[tuple[str, float | None], ...]
    split: str
    reason: str
    position: int


@dataclass(frozen=True, slots=True)
class Dataset:
    train: tuple[Example, ...]
    query: tuple[Example, ...]
    replay: tuple[Example, ...]
    retention: tuple[Example, ...]
    safety: tuple[Example, ...]
    manifest: tuple[Entry, ...]


def build(candidates: Sequence[Candidate], most_train: int, left_out: Iterable[Entry] = ()) -> Dataset:
    """Split what is proven. `left_out` are the entries of the turns that the query kept away."""
    unsafe = _safety_sessions(candidates)
    whys = [why_not(one, unsafe) or _untold(one) for one in candidates]
    proven = [one for one, why in zip(candidates, whys, strict=True) if not why]
    held_out = _held_out_sessions(candidates, proven)
    entries = [_entry(one, *_placed(one, why, held_out, unsafe)) for one, why in zip(candidates, whys, strict=True)]
    entries = _capped(_capped(entries, "train", candidates, most_train), "replay", candidates, most_train)
    examples: dict[str, list[Example]] = {split: [] for split in (*LEARNED, *TESTED)}
    for one, entry in zip(candidates, entries, strict=True):
        if entry.split != OUT:
            examples[entry.split].append(_example(one))
    manifest = sorted([*entries, *left_out], key=lambda entry: entry.position)
    parts = {split: tuple(found) for split, found in examples.items()}
    return Dataset(
        parts["train"], parts["query"], parts["replay"], parts["retention"], parts["safety"], tuple(manifest)
    )


def importance_weighted(examples: Iterable[Example]) -> tuple[SampledExample, ...]:
    """Those that an objective may weigh by probability. Turns that are text only are not among them."""
    return tuple(SampledExample(one, one.sampled) for one in examples if one.sampled)


def apart(query: Sequence[Example]) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """The held-out turns that tell the trainer when to stop, and those that the gate judges by. No session is in both:
    what was chosen for its answers to some prompts would look better on those than it is.
    """
    sessions = list(dict.fromkeys(example.session for example in query))
    watching = frozenset(sessions[WATCH_EVERY - 1 :: WATCH_EVERY])
    watched = tuple(example for example in query if example.session in watching)
    judged = tuple(example for example in query if example.session not in watching)
    return (watched, judged) if len(judged) >= LEAST_JUDGED else ((), tuple(query))


def lines(
    dataset: Dataset, replay: Iterable[tuple[list[Message], str]], watched: Iterable[Example] = (), base_model: str = ""
) -> list[str]:
    """The trainer's input, one JSON object a line. `replay` holds conversations with the model's own answers.

    Tokens go along where `base_model` sampled them, with whichever adapter: those of another model mean something else.
    """
    weighable = {one.example.turn_id: one.sampled for one in importance_weighted(dataset.train)}
    rows = [
        _practice("train", example, weighable.get(example.turn_id) if _is_of(base_model, example.policy) else None)
        for example in dataset.train
    ]
    rows += [_practice("query", example, None) for example in watched]
    rows += [
        {
            "id": f"replay-{number}", "split": "replay", "messages": messages, "teacher_messages": None,
            "reply": reply, "weight": 1.0,
        }
        for number, (messages, reply) in enumerate(replay)
    ]
    return [json.dumps(row, ensure_ascii=False) for row in rows]


def _practice(split: str, example: Example, sampled: Sampled | None) -> dict[str, Any]:
    return {
        "id": example.turn_id, "split": split, "messages": example.messages,
        "teacher_messages": example.teacher_messages, "reply": example.reply, "weight": 1.0,
        "check": example.check.pattern if example.check else None, "sampled": asdict(sampled) if sampled else None,
    }


def _is_of(base_model: str, policy: str) -> bool:
    return policy.partition("@")[0] == base_model


def manifest_lines(dataset: Dataset) -> list[str]:
    return [json.dumps(asdict(entry), ensure_ascii=False) for entry in dataset.manifest]


def _placed(one: Candidate, why_out: str, held_out: frozenset[str], unsafe: frozenset[str]) -> tuple[str, str]:
    """The split of a turn, and the reason; `why_out` says why it stays out, where it does."""
    if why_out:
        return OUT, why_out
    if one.turn.session in unsafe:
        return "safety", "the model declined, and nobody complained"
    apart = one.turn.session in held_out
    split = ("query" if apart else "train") if one.turn.skills else ("retention" if apart else "replay")
    return split, f"{'asked again, and ' if one.again else ''}proven by its signals ({one.source})"


def why_not(one: Candidate, unsafe: frozenset[str] = frozenset()) -> str:
    """Why nothing is learned from this turn; "" where something is. `unsafe` are the sessions of the safety split."""
    if not one.turn.reply.strip():
        return "no text to learn from"
    if reached := touched(_calls(one), one.check):
        return reached
    if one.turn.session in unsafe:
        return "" if _declined(one) else "its session is held out for safety"
    if one.outcome.value is None:
        return "no signal"
    if not one.outcome.succeeded:
        return "its signals do not say that it went well"
    if one.turn.tools and one.turn.tools.calls:  # taught without it, the model would learn to guess what it computed
        return "a code skill was run for it"
    return ""


def _untold(one: Candidate) -> str:
    """Why no chat template can render the turn's conversation; "" where all can."""
    said = in_words(conversation_of(one.turn))
    if said is None:
        return "its messages hold more than text"
    return "" if said else "its request cannot be read"


def _declined(one: Candidate) -> bool:
    return declined(one.turn.reply) and not one.outcome.failed


def _calls(one: Candidate) -> list[tuple[str, str]]:
    """What was called in the conversation, and by its last reply."""
    reply = reply_message(one.turn.dialect, one.turn.response)
    said = [*conversation_of(one.turn), *([reply] if reply else [])]
    return [(name, arguments) for _, name, arguments in calls_in(said)]


def _safety_sessions(candidates: Sequence[Candidate]) -> frozenset[str]:
    return frozenset(one.turn.session for one in candidates if _declined(one))


def _held_out_sessions(candidates: Sequence[Candidate], proven: Sequence[Candidate]) -> frozenset[str]:
    """Those that nothing is learned from: of few, more, so that the gate can tell. The fourths are among the seconds:
    what a run was trained on is not held out once there is more.

    Of the held-out prompts only those tell anything that the incumbent gets wrong, which is a part of them once it has
    learned something; a few examples to train on do more than a few to test on.
    """
    fourth, second = _every(candidates, QUERY_EVERY), _every(candidates, QUERY_EVERY_OF_FEW)
    asked = [one.turn.session for one in proven if one.turn.skills]
    enough = sum(session in fourth for session in asked) >= LEAST_JUDGED
    in_vain = sum(session in second for session in asked) < LEAST_TO_TELL
    return fourth if enough or in_vain else second


def _every(candidates: Sequence[Candidate], nth: int) -> frozenset[str]:
    """Every n-th session, in order of appearance, of those whose first turn had the same skills."""
    seen: Counter[tuple[str, ...]] = Counter()
    held_out: dict[str, bool] = {}
    for turn in (one.turn for one in candidates):
        if turn.session not in held_out:
            seen[turn.skills] += 1
            held_out[turn.session] = seen[turn.skills] % (nth if turn.skills else RETENTION_EVERY) == 0
    return frozenset(session for session, out in held_out.items() if out)


def _capped(entries: list[Entry], split: str, candidates: Sequence[Candidate], most: int) -> list[Entry]:
    """The newest of a split, as far as no session and no weak source has more than its share."""
    sessions: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    kept, capped = 0, list(entries)
    for index in reversed(range(len(entries))):
        entry, source = entries[index], candidates[index].source
        if entry.split != split:
            continue
        if sessions[entry.session] >= MOST_OF_SESSION:
            why = f"its session has its {MOST_OF_SESSION} turns already"
        elif sources[source] >= max(1, int(SOURCE_SHARE.get(source, 1.0) * most)):
            why = f"{source} has its share already" if source in SOURCE_SHARE else "one run takes the newest only"
        elif kept >= most:
            why = "one run takes the newest only"
        else:
            why = ""
            kept, sessions[entry.session], sources[source] = kept + 1, sessions[entry.session] + 1, sources[source] + 1
        if why:
            capped[index] = replace(entry, split=OUT, reason=why)
    return capped


def _entry(one: Candidate, split: str, reason: str) -> Entry:
    turn, values = one.turn, tuple((signal.source, signal.value) for signal in one.signals)
    return Entry(
        turn.id, turn.session, turn.generation, turn.policy, turn.skills, values, split, reason, turn.position
    )


def _example(one: Candidate) -> Example:
    asked = conversation_of(one.turn)
    messages, seen = (in_words(said) or [] for said in (asked, inject(asked, one.turn.injected)))
    return Example(
        one.turn.id, messages, seen, one.turn.reply, one.check, one.sampled, one.turn.session, one.turn.policy
    )
