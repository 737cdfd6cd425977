"""The single-shot harness, for small models: one request a question, answered as JSON under a schema.

A file question carries its input file and is answered with a file name and content, and with further files where the
house wants them; a choice with letters. Nothing of an earlier question is in the request: what an arm knows, it knows
through its context or through the gateway. Feedback goes to `POST /v1/feedback`, before the next question.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from metaclaw.bench.client import GatewayClient
from metaclaw.bench.workdays.arms import Arm, context_of
from metaclaw.bench.workdays.course import Course, Day, Question, Score
from metaclaw.bench.workdays.documents import Files
from metaclaw.bench.workdays.outcome import feedback_of, heard, record_of, tell
from metaclaw.bench.workdays.questions import safe_path
from metaclaw.bench.workdays.runfile import RunFile

TEXT: Mapping[str, Any] = {"type": "string"}
TEXT_OR_JSON: Mapping[str, Any] = {"anyOf": [TEXT, {"type": "object"}, {"type": "array"}]}
HOW_FILE = (
    'Answer with JSON only: {"filename": ..., "content": ...} is the new or changed file, whole; "more" holds further '
    "files, where any are needed."
)
HOW_JSON = " The content of a JSON file is the JSON itself, of any other file its text."
HOW_CHOICE = 'Answer with JSON only: {"letters": [...]}.'


class Memory(Protocol):
    """What knows between questions in an arm's stead, where neither the gateway nor `context_of` does."""

    async def before(self, asked: str) -> str:
        """What goes into the system prompt of a question; empty for nothing."""

    async def after(self, asked: str, answered: str, said: str, right: bool) -> None:
        """Learn from an answer and what the user said of it. Returns when it is learned."""


@dataclass(slots=True)
class SingleShot:
    """Plays days of a course for one arm, and writes what came of it to the run file."""

    course: Course
    arm: Arm
    client: GatewayClient
    run: RunFile
    memory: Memory | None = None

    async def play(self, day: Day) -> None:
        """Every question of the day that has no answer yet; all of them, where one's files lie there for the next."""
        left = [question for question in day.questions if question.id not in self.run.answered]
        if left and self.course.carries_files:
            self.run.forget(day.number)
            left = list(day.questions)
        files = dict(day.files)
        for question in left:
            written = await self._answer(day, files, question)
            if self.course.carries_files:
                files |= written

    async def _answer(self, day: Day, files: Files, question: Question) -> dict[str, str]:
        """Ask, score, say and record. Returns the files that were written."""
        started = time.perf_counter()
        if self.memory:
            context = await self.memory.before(question.prompt)
        else:
            context = context_of(self.arm, self.course, question, heard(self.course, self.run.records))
        session = f"{self.run.path.stem}-{self.course.seed}-{question.id}"
        headers = {"x-session-id": session, **self.arm.headers}
        reply = await self.client.complete(request_of(self.course, day, files, question, context), headers)
        score = score_reply(files, question, reply.text, json_as_json=self.course.json_as_json)
        said, check = feedback_of(self.course, self.arm, question, score, reply.text)
        if self.arm.learns and not reply.refused:
            await tell(self.client, reply.turn_id, score, said, check)
        if self.memory:
            await self.memory.after(question.prompt, reply.text, said, score.right)
        self.run.add(record_of(question, score, [reply], said, time.perf_counter() - started, reply.refused))
        return files_in(_object(reply.text), json_as_json=self.course.json_as_json)


def request_of(course: Course, day: Day, files: Files, question: Question, context: str) -> Mapping[str, Any]:
    """The request that a question is, less its model. `context` is what the arm puts into the system prompt."""
    if question.kind == "file":
        how, schema = HOW_FILE + HOW_JSON * course.json_as_json, file_schema(course)
    else:
        how, schema = HOW_CHOICE, choice_schema(question)
    system = f"{course.persona} {how}\n\n{context}".strip()
    seeded = [{"role": role, "content": text} for role, text in day.seeded]  # states the date, where no question does
    shown = [f"{path} reads:\n{files[path]}" for path in question.inputs if path in files]
    return {
        "messages": [
            {"role": "system", "content": system},
            *seeded,
            {"role": "user", "content": "\n\n".join([question.prompt, *shown])},
        ],
        "temperature": 0,
        "max_tokens": course.answer_tokens,
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    }


def file_schema(course: Course) -> Mapping[str, Any]:
    """One file, and up to two more."""
    file = {"filename": TEXT, "content": TEXT_OR_JSON if course.json_as_json else TEXT}
    wanted = {"required": ["filename", "content"], "additionalProperties": False}
    more = {"type": "array", "items": {"type": "object", "properties": file, **wanted}, "maxItems": 2}
    return {"type": "object", "properties": {**file, "more": more}, **wanted}


def choice_schema(question: Question) -> Mapping[str, Any]:
    letters = {"type": "array", "items": {"enum": list(question.letters)}, "minItems": 1, "maxItems": 6}
    properties = {"letters": letters}
    return {"type": "object", "properties": properties, "required": ["letters"], "additionalProperties": False}


def score_reply(files: Files, question: Question, reply: str, *, json_as_json: bool = False) -> Score:
    """Score a reply; one that is no JSON of the schema is an answer with nothing in it."""
    answer = _object(reply)
    letters = answer.get("letters")
    ticked = {str(one) for one in letters} if isinstance(letters, list) else set()
    written = files_in(answer, json_as_json=json_as_json)
    return question.judge(files, {**files, **written}, frozenset(question.letters) & ticked)


def files_in(answer: Mapping[str, Any], *, json_as_json: bool = False) -> dict[str, str]:
    """The files of an answer, by safe path; the others are left out. What is given as JSON is set out by us."""
    more = answer.get("more")
    found: dict[str, str] = {}
    for file in [*(more if isinstance(more, list) else []), answer]:
        if isinstance(file, dict) and isinstance(file.get("filename"), str) and "content" in file:
            path, content = safe_path(file["filename"]), file["content"]
            if json_as_json and isinstance(content, (dict, list)):
                content = json.dumps(content, indent=2, ensure_ascii=False)
            if path and isinstance(content, str):
                found[path] = content
    return found


def _object(reply: str) -> dict[str, Any]:
    try:
        found = json.loads(reply)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

