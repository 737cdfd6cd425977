"""What the harnesses play: a course of days with questions, ours or the public ones, as both of them offer it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from metaclaw.bench.workdays.documents import Files

Kind = Literal["file", "choice"]


@dataclass(frozen=True, slots=True)
class Score:
    """`credit` is partial credit in [0, 1]; `right` is all or nothing; `rules` says for each checked rule if it held.

    `complete` says that the file is there with all its facts, rules aside; for a choice, that letters were given.
    """

    right: bool
    credit: float
    complete: bool
    rules: Mapping[str, bool] = field(default_factory=dict)


class Question(Protocol):
    """A question with its checker. `inputs` are paths of what it is about; `letters` those of a choice."""

    @property
    def id(self) -> str: ...
    @property
    def day(self) -> int: ...
    @property
    def part(self) -> int: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def event(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def inputs(self) -> Sequence[str]: ...
    @property
    def letters(self) -> str: ...

    def judge(self, before: Files, after: Files, ticked: frozenset[str]) -> Score:
        """The score of an answer: the workspace before and after it, and the letters that it ticks."""

    def feedback(self, score: Score) -> str:
        """What the user says of an answer."""

    def check(self, score: Score) -> str:
        """A regular expression that a right single-shot reply matches; empty where there is none."""

    def unanswered(self) -> Score:
        """The score of no answer at all."""


class Day(Protocol):
    """A day: a workspace, its questions, and how its conversation begins: `seeded` are turns (role, text) that stand
    before it, `greeting` what the user says before the first question."""

    @property
    def number(self) -> int: ...
    @property
    def greeting(self) -> str: ...
    @property
    def seeded(self) -> Sequence[tuple[str, str]]: ...
    @property
    def files(self) -> Files: ...
    @property
    def questions(self) -> Sequence[Question]: ...


class Course(Protocol):
    """All days of a seed. `carries_files`: what one question wrote lies there for the day's next, also single-shot.

    `json_as_json`: single-shot, a JSON file may be given as the JSON that it holds; not where a rule asks how it is set
    out. `answer_tokens`: what a single-shot answer may take.
    """

    @property
    def seed(self) -> int: ...
    @property
    def persona(self) -> str: ...
    @property
    def carries_files(self) -> bool: ...
    @property
    def json_as_json(self) -> bool: ...
    @property
    def answer_tokens(self) -> int: ...
    @property
    def days(self) -> Sequence[Day]: ...
    @property
    def questions(self) -> Sequence[Question]: ...

    def handwritten(self, question: Question) -> str:
        """The rules that a question checks, as somebody writes them who knows them; empty for none."""
