"""A failure as the proposers see it: what was asked, what came, and what the user said about it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from metaclaw.context.text import opening
from metaclaw.evolve.example import example_of
from metaclaw.evolve.quoting import GAP, Words, asked, told_apart
from metaclaw.signals.checks import bare, passes
from metaclaw.types import Check, Turn

MAX_EXPECTED = 1_000
MARKS = " \n\t.,;>`\"'“”„«»‘’「」『』"
ANNOUNCED = (
    r"(?:(?P<plainly>should (?:have been|be|look like|read))|correct(?: answer| one)?(?: is| would be)?|expected"
    r"|instead(?! of\b)|like|e\.g\.|example)"
)
DENIED = re.compile(r"\b(?:not|never|no longer|cannot)\b|n['’]t\b", re.IGNORECASE)
CLAUSE_END = re.compile(r"[.,;:!?`\n]|\bbut\b", re.IGNORECASE)
FENCED = re.compile(ANNOUNCED + r"[^`\n]{0,40}:?\s*```[\w-]*\n(?P<answer>.+?)\n?```", re.IGNORECASE | re.DOTALL)
TICKED = re.compile(ANNOUNCED + r"[^`\n]{0,40}`(?P<answer>[^`\n]+)`", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Failure:
    """`correction` is what the user said, empty if only a score or a check told of the failure.

    `overheard`: it was said in the conversation, not by way of feedback, for which the token's holder answers. `doubt`
    says why that feedback may be somebody else's words all the same (`secondhand`). `believed`: its holder has us
    believe whatever is posted (`evolve.posted_feedback`).
    """

    turn: Turn
    correction: str
    check: Check | None = None
    overheard: bool = False
    doubt: str = ""
    believed: bool = False

    @property
    def shown(self) -> bool:
        """Whether the words come with the right answer, by which they can be held to the request that they are about.

        A claim without one may be a stranger's, however plainly it is posted: no wording tells the two apart.
        """
        return self.believed or bool(self.expected) or not self.words.own

    @property
    def vouched(self) -> bool:
        """Whether somebody answers for all that was said: none of it may be someone else's, passed on."""
        return not self.overheard and not self.doubt and not self.passed_on.foreign

    @property
    def words(self) -> Words:
        """The correction, with what the user only passed on told apart."""
        return told_apart(self.correction)

    @property
    def passed_on(self) -> Words:
        """The same, but that posted words may quote what they are about: the reply, and in code marks the request."""
        words = self.words
        if self.overheard:
            return words
        return Words(words.own, tuple(text for text in words.foreign if not self._is_about(text)))

    def _is_about(self, passage: str) -> bool:
        in_marks = passage.lstrip().startswith("`")
        return _stands_in(self.turn.reply, passage) or (in_marks and _stands_in(self.turn.query, passage))

    @property
    def request(self) -> Words:
        """The same of what was asked."""
        return asked(self.turn.query)

    @property
    def example(self) -> str:
        """What of the request a skill may hold."""
        return example_of(self.turn.query, self.expected)

    @property
    def cue(self) -> str:
        """By what a request like this is known again: its first line, in the user's own words. No model is shown it."""
        return told_apart(opening(self.turn.query)).own.replace(GAP, " ").strip()

    @property
    def expected(self) -> str:
        """The right answer, where the user wrote it down in code marks; else empty.

        Of several the last, but one that the failed reply holds only where it holds them all: `A` instead of `B`.
        """
        own = self.words.own
        for pattern in (FENCED, TICKED):
            announced = [match for match in pattern.finditer(own) if not _is_denied(match, own)]
            if found := [match["answer"].strip()[:MAX_EXPECTED] for match in announced]:
                missed = [answer for answer in found if not _holds(self.turn.reply, answer)]
                return (missed or found)[-1]
        return ""

    @property
    def can_score(self) -> bool:
        """Whether a reply to the same request can be told right from wrong."""
        return self.check is not None or bool(self.expected)

    def is_right(self, reply: str) -> bool:
        """By the check if there is one, else by the right answer that the user wrote down."""
        if self.check is not None:
            return passes(self.check, reply) is True
        return _holds(reply, self.expected)


def _is_denied(announced: re.Match[str], text: str) -> bool:
    """Whether it is shown as what is wrong ('not like', 'don't write dates like'). 'Should be' says it plainly."""
    if announced["plainly"]:
        return False
    return bool(DENIED.search(CLAUSE_END.split(text[: announced.start()])[-1]))


def _holds(reply: str, answer: str) -> bool:
    wanted = bare(answer)
    return any(wanted in text for text in (bare(reply), *_texts_in(reply)))


def _stands_in(source: str, passage: str) -> bool:
    """Whether the source holds all of a passage, but for its marks."""
    inside = " ".join(bare(passage.strip(MARKS)).split())
    return bool(inside) and inside in " ".join(source.split())


def _texts_in(reply: str) -> Iterator[str]:
    """The texts of a reply that is JSON: an answer stands there with its quotes and line ends escaped."""
    try:
        left = [json.loads(bare(reply))]
    except (ValueError, RecursionError):
        return
    for value in left:  # grows while it is read
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            left += value.values() if isinstance(value, dict) else value
