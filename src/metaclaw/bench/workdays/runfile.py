"""The run file: a line of JSON for each question that was answered, so that a run that stops goes on where it stood.

The first line says what is run; a file of another run is refused. A line that a crash cut short is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from metaclaw.errors import MetaClawError

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
    """`records` are those that stood in it and those added since, in order."""

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        self.path = path
        self.records: list[Record] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        whole = [json.loads(line) for line in lines[:-1]]  # what follows the last newline was cut short
        if whole and whole[0] != dict(plan):
            raise MetaClawError(
                f"{path} is the file of another run ({json.dumps(whole[0])}). Move it away, or name another --run-dir."
            )
        self.records = [Record(**{**line, "skills": tuple(line["skills"])}) for line in whole[1:]]
        self._rewrite(plan)

    @property
    def answered(self) -> set[str]:
        return {record.id for record in self.records}

    def add(self, record: Record) -> None:
        """Kept on disk when this returns."""
        self.records.append(record)
        with self.path.open("ab") as file:
            file.write(json.dumps(asdict(record), ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def forget(self, day: int) -> None:
        """Drop the records of a day that must be played again from its morning."""
        if any(record.day == day for record in self.records):
            self.records = [record for record in self.records if record.day != day]
            self._rewrite(json.loads(self.path.read_bytes().split(b"\n")[0]))

    def _rewrite(self, plan: Mapping[str, Any]) -> None:
        lines = [json.dumps(dict(plan)), *(json.dumps(asdict(record), ensure_ascii=False) for record in self.records)]
        fresh = self.path.with_suffix(".new")
        fresh.write_text("\n".join(lines) + "\n", encoding="utf-8")
        fresh.replace(self.path)
