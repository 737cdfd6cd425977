"""The run file: a line of JSON for each question answered and each night, so that a run that stops goes on from there.

What is cut short, and what belongs to another run, is `bench.runfile`'s to tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from metaclaw.bench.runfile import Lines
from metaclaw.bench.workdays.course import Course

REPLY_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Record:
    """One question and what came of it. `note` says why there was no proper answer; the question counts as wrong."""

    id: str
    day: int
    part: int
    kind: str
    event: str
    right: bool
    credit: float
    complete: bool
    rules: Mapping[str, bool] = field(default_factory=dict)
    reply: str = ""
    feedback: str = ""
    skills: tuple[str, ...] = ()
    policy: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0
    seconds: float = 0.0
    note: str = ""


class RunFile:
    """`records` are those that stood in it and those added since, in order; `nights` the days whose night is over."""

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        self._lines = Lines(path, plan)
        self.path = path
        found = self._lines.found
        self.nights = {line["night"] for line in found if "night" in line}
        self.records = [Record(**{**line, "skills": tuple(line["skills"])}) for line in found if "night" not in line]

    @property
    def answered(self) -> set[str]:
        return {record.id for record in self.records}

    def of(self, course: Course) -> list[Record]:
        """What was answered of a course: the file of a run of more days, or of more questions, holds more."""
        asked = {question.id for question in course.questions}
        return [record for record in self.records if record.id in asked]

    def add(self, record: Record) -> None:
        """Kept on disk when this returns."""
        self.records.append(record)
        self._lines.add(asdict(record))

    def add_night(self, day: int) -> None:
        """The night after a day is over; kept on disk when this returns."""
        self.nights.add(day)
        self._lines.add({"night": day})

    def forget(self, day: int) -> None:
        """Drop the records of a day that must be played again from its morning."""
        if any(record.day == day for record in self.records):
            self.records = [record for record in self.records if record.day != day]
            nights = [{"night": night} for night in sorted(self.nights)]
            self._lines.rewrite([*nights, *map(asdict, self.records)])
