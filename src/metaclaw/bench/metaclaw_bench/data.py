"""The public layout as a course: days, rounds, workspaces and seeded sessions, as shipped or repaired.

Nothing of the data is kept here: it is read from the user's folder each time. A round that cannot be used is left out
and named in `left_out`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaclaw.bench.metaclaw_bench import commands
from metaclaw.bench.metaclaw_bench.checkers import Variant
from metaclaw.bench.metaclaw_bench.inline import UnreadableError
from metaclaw.bench.workdays.course import Kind, Question, Score
from metaclaw.bench.workdays.documents import Files
from metaclaw.bench.workdays.questions import letters_check
from metaclaw.errors import MetaClawError

UNREACHABLE = {("day12", "r5"): "asks for a third Markdown file where the day's rounds write two"}
RULES = {  # by the data's own tag, in our words
    "output_format": "All points in time are full ISO 8601 with seconds and the offset +08:00, never a bare date. "
    "For example: `2025-10-07T09:30:00+08:00`.",
    "file_naming": "New files are named YYYYMMDD_snake_case.ext with today's date. For example: "
    "`20251007_trip_report.json`.",
    "field_completeness": "Every new file carries created_at (a full time with +08:00), author, and status (pending, "
    "in_progress or done): JSON in a top-level object meta; Markdown and text as front matter between lines of ---; "
    "Python in the module docstring below a line `Meta:`; CSV in a first line "
    "`# meta: created_at=... author=... status=...`.",
    "workflow": "Before an existing file is changed, its old content is kept beside it under the same name with .bak "
    "added. For example: `plans/trip.md.bak`.",
    "completion_log": "Each finished task is noted as a new last line of done.log in the workspace's root, with a "
    "summary of at most 80 characters. For example: `[DONE] 2025-10-07T18:00:00+08:00 | trip_report | Wrote it up`.",
}


@dataclass(frozen=True, slots=True)
class Round:
    """A round of the data. For a file check `parts` are set, for a choice `options` and `answer`."""

    id: str
    day: int
    prompt: str
    event: str
    inputs: tuple[str, ...]
    said: Mapping[str, Any]
    variant: Variant
    tags: tuple[str, ...]
    parts: tuple[commands.Part, ...] = ()
    letters: str = ""
    answer: frozenset[str] = frozenset()
    part: int = 1

    @property
    def kind(self) -> Kind:
        return "choice" if self.letters else "file"

    def judge(self, _before: Files, after: Files, ticked: frozenset[str]) -> Score:
        """A file check is all or nothing, its parts told one by one. A choice's partial credit depends on the variant:

        as shipped, options decided rightly over all options; repaired, right ticks less wrong ones over right letters.
        """
        if self.kind == "choice":
            wrong = len(ticked ^ self.answer)
            hits, misses = len(ticked & self.answer), len(ticked - self.answer)
            shipped = 1 - wrong / len(self.letters) if ticked else 0.0
            ours = max(0.0, (hits - misses) / len(self.answer)) if self.answer else float(not ticked)
            return Score(not wrong, shipped if self.variant == "as-shipped" else ours, bool(ticked))
        found = commands.evaluate(self.parts, after, self.variant)
        right = all(passed for _, passed in found)
        names = {name for name, _ in found}
        return Score(right, float(right), right, {n: all(ok for one, ok in found if one == n) for n in names})

    def feedback(self, score: Score) -> str:
        if score.right or self.kind == "file":
            return str(self.said.get("correct" if score.right else "incorrect") or "")
        return "Not right. " + " ".join(str(text) for text in (self.said.get("options") or {}).values())

    def check(self, _score: Score) -> str:
        return "" if self.kind == "file" else letters_check(self.answer)

    def unanswered(self) -> Score:
        return self.judge({}, {}, frozenset())


@dataclass(frozen=True, slots=True)
class PublicDay:
    number: int
    greeting: str
    seeded: tuple[tuple[str, str], ...]
    files: Mapping[str, str]
    questions: Sequence[Round]


@dataclass(frozen=True, slots=True)
class PublicData:
    """A `Course`. `left_out` says which rounds are not asked, and why."""

    name: str
    variant: Variant
    persona: str
    days: Sequence[PublicDay]
    left_out: tuple[str, ...]
    seed: int = 0
    carries_files: bool = True
    json_as_json: bool = True
    answer_tokens: int = 900

    @property
    def questions(self) -> list[Round]:
        return [question for day in self.days for question in day.questions]

    def handwritten(self, question: Question) -> str:
        tags = next(one.tags for one in self.questions if one.id == question.id)
        return "\n".join(f"- {RULES[tag]}" for tag in tags if tag in RULES)


def load(folder: Path, variant: Variant) -> PublicData:
    """Read the layout. MetaClawError, with what is missing, where the folder does not hold it."""
    try:
        index = json.loads((folder / "all_tests.json").read_text(encoding="utf-8"))
        workspace, sessions = folder / index["workspace_src"], folder / index["sessions_dir"]
        shared = {path.name: path.read_text(encoding="utf-8") for path in sorted(workspace.glob("*.md"))}
        left_out: list[str] = []
        days = [
            _day(test, folder / index["eval_dir"], workspace, sessions, shared, variant, left_out)
            for test in index["test"]
        ]
    except (OSError, KeyError, ValueError) as error:
        raise MetaClawError(
            f"{folder} does not hold the data ({type(error).__name__}: {error}). It needs all_tests.json, eval/, "
            "workspaces/ and sessions/."
        ) from error
    persona = "\n\n".join(shared[name] for name in ("IDENTITY.md", "USER.md") if name in shared)
    return PublicData(str(index["name"]), variant, persona, days, tuple(left_out))


def _day(
    test: Mapping[str, Any], evals: Path, workspace: Path, sessions: Path, shared: Files, variant: Variant,
    left_out: list[str],
) -> PublicDay:  # fmt: skip
    name, number = str(test["id"]), int(re.sub(r"\D", "", str(test["id"])))
    folder = workspace / name
    own = {
        path.relative_to(workspace).as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    files = {**shared, **own}
    rounds: list[Round] = []
    asked = json.loads((evals / str(test["eval"]) / "questions.json").read_text(encoding="utf-8"))
    for place, raw in enumerate(asked["rounds"]):
        reason = UNREACHABLE.get((name, raw["id"])) if variant == "repaired" else None
        try:
            read = _round(name, number, raw, tuple(test.get("preference_tags") or ()), variant, files, first=place == 0)
        except UnreadableError as error:
            reason = str(error)
        if reason:
            left_out.append(f"{name} {raw['id']}: {reason}")
        else:
            rounds.append(read)
    return PublicDay(number, "", _seeded(sessions / f"{test['session']}.jsonl"), files, rounds)


def _round(
    day: str, number: int, raw: Mapping[str, Any], tags: tuple[str, ...], variant: Variant, files: Files, *, first: bool
) -> Round:
    prompt, evaluation = str(raw["question"]), raw["eval"]
    named = [path for path in re.findall(rf"{day}/[\w./-]+\w", prompt) if path in files]
    parts: list[commands.Part] = []
    letters, answer = "", frozenset[str]()
    if raw["type"] == "file_check":
        if evaluation.get("expect_exit", 0) != 0:
            raise UnreadableError(f"expects exit code {evaluation['expect_exit']}")
        parts = commands.read(evaluation["command"])
        parts = commands.repaired(parts, files) if variant == "repaired" else parts
    else:
        letters, answer = "".join(evaluation["options"]), frozenset(evaluation["answer"])
    return Round(
        f"{day}{raw['id']}", number, prompt, "carry-over" if first else "", (*dict.fromkeys(named), "done.log"),
        raw["feedback"], variant, tags, tuple(parts), letters, answer,
    )  # fmt: skip


def _seeded(path: Path) -> tuple[tuple[str, str], ...]:
    """The turns that open a session, as (role, text)."""
    found: list[tuple[str, str]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry.get("type") == "message":
            message = entry["message"]
            text = "".join(part.get("text", "") for part in message["content"] if part.get("type") == "text")
            found.append((str(message["role"]), text))
    return tuple(found)
