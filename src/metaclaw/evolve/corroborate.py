"""Did several people, or one person on several occasions, say the same rule in words of their own? Pure.

In: the words of a skill that nobody vouches for, and what was said in the sessions that it was written from. Out: why
it is corroborated; empty where it is not. One session counts once, however often it says a thing, and so does one text:
what is pasted from one page into three sessions is one voice (half of the runs of three words in common). All that the
skill says must be borne out: a rule that three people share, with a claim that only one of them makes, is not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from metaclaw.evolve.telling import telling

VOICES = 3  # independent ones, of which one may be the text's own
RUN, COPY = 3, 0.5  # words in a row, and the share of such runs that makes two texts copies of one
SAME_RULE = 0.25  # of a voice's telling words, at least, are the rule's: else it speaks of something else
BORNE_OUT = 0.5  # of a sentence's telling words, at least, are in what the others said
SENTENCE = re.compile(r"(?<=[.!?;])\s+|(?<=[。！？；])|\n+")


@dataclass(frozen=True, slots=True)
class Voice:
    """What was said in a session, in the user's own words."""

    session: str
    words: str


def corroborated(rule: str, voices: Sequence[Voice]) -> str:
    """Why the rule may be taken for the users' own; empty where too few say so."""
    count = heard_in(rule, voices)
    if count < VOICES or not _borne_out(rule, [voice.words for voice in _others(rule, voices)]):
        return ""
    return f"said in {count} sessions, each in its own words"


def heard_in(rule: str, voices: Sequence[Voice]) -> int:
    """In how many sessions the rule was said, copies of one text counted once."""
    return len(_others(rule, voices)) + any(copies(voice.words, rule) for voice in voices)


def _others(rule: str, voices: Sequence[Voice]) -> list[Voice]:
    """The independent ones beside those that said it in the rule's own words."""
    own_sessions = {voice.session for voice in voices if copies(voice.words, rule)}
    return apart([one for one in voices if one.session not in own_sessions and _speaks_of(one.words, rule)])


def apart(voices: Sequence[Voice]) -> list[Voice]:
    """Those of different sessions of which none is a copy of another."""
    chosen: list[Voice] = []
    for voice in voices:
        if all(one.session != voice.session and not copies(one.words, voice.words) for one in chosen):
            chosen.append(voice)
    return chosen


def copies(one: str, other: str) -> bool:
    """Whether the shorter text stands, nearly as it is, in the longer one."""
    some, many = sorted((_runs(one), _runs(other)), key=len)
    return bool(some) and len(some & many) >= COPY * len(some)


def _speaks_of(words: str, rule: str) -> bool:
    said = telling(words)
    return bool(said) and len(said & telling(rule)) >= SAME_RULE * len(said)


def _borne_out(rule: str, others: Sequence[str]) -> bool:
    known = telling("\n".join(others))
    sentences = [words for sentence in SENTENCE.split(rule) if (words := telling(sentence))]
    return bool(sentences) and all(len(words & known) >= BORNE_OUT * len(words) for words in sentences)


def _runs(text: str) -> frozenset[tuple[str, ...]]:
    """Runs of words; of characters where a script has no blanks."""
    words: list[str] = []
    for word in re.findall(r"\w+", text.lower()):
        words += list(word) if not word.isascii() and word.lower() == word.upper() else [word]
    length = min(RUN, len(words))
    return frozenset(tuple(words[at : at + length]) for at in range(len(words) - length + 1)) if length else frozenset()
