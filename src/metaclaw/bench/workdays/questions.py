"""The two kinds of question: write a file, or choose among statements; how each is put, scored and commented.

A question knows its right answer, but nothing that it shows (`prompt`, `files`) tells a rule of the house.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from metaclaw.bench.workdays.choices import LETTERS, Option
from metaclaw.bench.workdays.course import Kind, Score
from metaclaw.bench.workdays.documents import Document, Files, complete, delivered
from metaclaw.bench.workdays.rules import Rule

RIGHT = "Right, that is how we do it here."


@dataclass(frozen=True, slots=True)
class FileQuestion:
    """Asks for a document. `rules` are checked; `house` is everything in force, which an oracle keeps to."""

    id: str
    day: int
    part: int
    prompt: str
    document: Document
    rules: tuple[Rule, ...]
    house: Mapping[str, Rule]
    inputs: tuple[str, ...]
    event: str = ""

    @property
    def kind(self) -> Kind:
        return "file"

    @property
    def letters(self) -> str:
        return ""

    def judge(self, before: Files, after: Files, _ticked: frozenset[str]) -> Score:
        return self.score(before, after)

    def unanswered(self) -> Score:
        return Score(False, 0.0, False, {rule.family: False for rule in self.rules})

    def score(self, before: Files, after: Files) -> Score:
        """The rules are judged on what was delivered, also where it lacks something."""
        got = delivered(self.document, before, after)
        whole = got is not None and complete(self.document, got)
        held = {rule.family: got is not None and rule.holds(self.document, got) for rule in self.rules}
        parts = [whole, *held.values()]
        return Score(all(parts), sum(parts) / len(parts), whole, held)

    def feedback(self, score: Score) -> str:
        """What the colleague says: where it was wrong, each broken rule with what right looks like here."""
        if score.right:
            return RIGHT
        broken = [rule.correction(self.document) for rule in self.rules if not score.rules[rule.family]]
        missing = "" if score.complete else "The file is not there, or lacks something that was asked for."
        return " ".join(filter(None, ["No, that is not how we do it here.", missing, *broken]))

    def check(self, score: Score) -> str:
        """A regular expression for a single-shot reply that keeps to the rules which this one broke."""
        looks = "".join(rule.pattern(self.document) for rule in self.rules if not score.rules[rule.family])
        return f"(?s){looks}.*" if looks else ""


@dataclass(frozen=True, slots=True)
class ChoiceQuestion:
    """Asks for letters. `options` in the order of `LETTERS`; `answer` are the right letters."""

    id: str
    day: int
    part: int
    prompt: str
    options: tuple[Option, ...]
    answer: frozenset[str]
    rules: tuple[Rule, ...]
    inputs: tuple[str, ...] = ()
    event: str = ""

    @property
    def kind(self) -> Kind:
        return "choice"

    @property
    def letters(self) -> str:
        return LETTERS

    def judge(self, _before: Files, _after: Files, ticked: frozenset[str]) -> Score:
        return self.score(ticked)

    def unanswered(self) -> Score:
        return self.score(frozenset())

    def score(self, letters: frozenset[str]) -> Score:
        """Partial credit: the right letters less the wrong ones, over all right ones, not below 0.

        So that ticking everything, or nothing, is worth nothing much; `proof` prints what the best constant is worth.
        """
        hits, misses = len(letters & self.answer), len(letters - self.answer)
        right = letters == self.answer
        return Score(right, max(0.0, (hits - misses) / len(self.answer)), bool(letters),
                     {rule.family: right for rule in self.rules})  # fmt: skip

    def feedback(self, score: Score) -> str:
        """By what the options say, never by their letters, which mean nothing for the next question."""
        if score.right:
            return RIGHT
        right = [self.options[LETTERS.index(letter)].text for letter in sorted(self.answer)]
        said = " ".join(rule.says for rule in self.rules)
        return f"No, that is not how we do it here. {said} Right here were: {'; '.join(f'`{text}`' for text in right)}."

    def check(self, _score: Score) -> str:
        return letters_check(self.answer)


def letters_check(answer: frozenset[str]) -> str:
    """A regular expression for a single-shot reply that ticks just these letters, in any order, also more than once."""
    all_of_them = "".join(rf'(?=[^\]]*"{letter}")' for letter in sorted(answer))
    one = f'"(?:{"|".join(sorted(answer))})"'
    return rf'\{{\s*"letters"\s*:\s*\[{all_of_them}\s*{one}(?:\s*,\s*{one})*\s*\]\s*\}}'


def letters_in(reply: str) -> frozenset[str]:
    """The letters that an agent's reply ticks: `\\bbox{A,C}`, else a last line of nothing but letters."""
    boxed = re.findall(r"\\b?box(?:ed)?\{([^}]*)\}", reply)
    if boxed:
        return frozenset(re.findall(r"[A-Z]", boxed[-1].upper()))
    last = reply.strip().splitlines()[-1:] or [""]
    bare = re.fullmatch(r"\W*(?:answer\W*)?([A-H](?:[\s,;and&]+[A-H])*)\W*", last[0], re.IGNORECASE)
    return frozenset(re.findall(r"\b[A-H]\b", bare.group(1).upper())) if bare else frozenset()


def safe_path(path: str) -> str | None:
    """A path inside the workspace in its plain form; None for one that leads out of it."""
    pure = PurePosixPath(path.strip().removeprefix("./"))
    parts = [part for part in pure.parts if part != "."]
    if not parts or pure.is_absolute() or ".." in parts or "\0" in path:
        return None
    return "/".join(parts)
