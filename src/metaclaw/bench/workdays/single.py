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
from typing import Any

from metaclaw.bench.client import GatewayClient
from metaclaw.bench.workdays.arms import Arm, context_of
from metaclaw.bench.workdays.choices import LETTERS
from metaclaw.bench.workdays.generate import AnyQuestion, Day, Workdays
from metaclaw.bench.workdays.outcome import feedback_of, heard, record_of, tell
from metaclaw.bench.workdays.questions import FileQuestion, Score, safe_path
from metaclaw.bench.workdays.runfile import RunFile

MAX_TOKENS = 600
FILE = {"filename": {"type": "string"}, "content": {"type": "string"}}
MORE = {"type": "object", "properties": FILE, "required": ["filename", "content"], "additionalProperties": False}
FILE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {**FILE, "more": {"type": "array", "items": MORE, "maxItems": 2}},
    "required": ["filename", "content"],
    "additionalProperties": False,
}
CHOICE_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {"letters": {"type": "array", "items": {"enum": list(LETTERS)}, "minItems": 1, "maxItems": 5}},
    "required": ["letters"],
    "additionalProperties": False,
}
HOW_FILE = (
    'Answer with JSON only: {"filename": ..., "content": ...} is the new or changed file, whole; "more" holds further '
    "files, where any are needed."
)
HOW_CHOICE = 'Answer with JSON only: {"letters": [...]}.'


@dataclass(slots=True)
class SingleShot:
    """Plays days of a seed for one arm, and writes what came of it to the run file."""

    days: Workdays
    arm: Arm
    client: GatewayClient
    run: RunFile

    async def play(self, day: Day) -> None:
        """Every question of the day that has no answer yet."""
        for question in day.questions:
            if question.id not in self.run.answered:
                await self._answer(day, question)

    async def _answer(self, day: Day, question: AnyQuestion) -> None:
        started = time.perf_counter()
        context = context_of(self.arm, self.days.seed, question, heard(self.days, self.run.records))
        session = f"workdays-{self.days.seed}-{self.arm.name}-{question.id}"
        headers = {"x-session-id": session, **self.arm.headers}
        reply = await self.client.complete(self._body(day, question, context), headers)
        score = score_reply(day, question, reply.text)
        said, check = feedback_of(self.days, self.arm, question, score)
        if self.arm.learns and not reply.refused:
            await tell(self.client, reply.turn_id, score, said, check)
        self.run.add(record_of(question, score, [reply], said, time.perf_counter() - started, reply.refused))

    def _body(self, day: Day, question: AnyQuestion, context: str) -> Mapping[str, Any]:
        is_file = isinstance(question, FileQuestion)
        lead = self.days.office.lead
        system = f"You assist {lead} at {self.days.office.company}. {HOW_FILE if is_file else HOW_CHOICE}"
        asked = "\n\n".join([question.prompt, *(f"{path} reads:\n{day.files[path]}" for path in question.inputs)])
        schema = FILE_SCHEMA if is_file else CHOICE_SCHEMA
        return {
            "messages": [
                {"role": "system", "content": f"{system}\n\n{context}".strip()}, {"role": "user", "content": asked}
            ],
            "temperature": 0,
            "max_tokens": MAX_TOKENS,
            "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
        }  # fmt: skip


def score_reply(day: Day, question: AnyQuestion, reply: str) -> Score:
    """Score a reply; one that is no JSON of the schema is an answer with nothing in it."""
    answer = _object(reply)
    if not isinstance(question, FileQuestion):
        letters = answer.get("letters")
        ticked = {str(one) for one in letters} if isinstance(letters, list) else set()
        return question.score(frozenset(LETTERS) & ticked)
    return question.score(day.files, {**day.files, **files_in(answer)})


def files_in(answer: Mapping[str, Any]) -> dict[str, str]:
    """The files of an answer, by safe path; the others are left out."""
    more = answer.get("more")
    found: dict[str, str] = {}
    for file in [*(more if isinstance(more, list) else []), answer]:
        if isinstance(file, dict) and isinstance(file.get("filename"), str) and isinstance(file.get("content"), str):
            path = safe_path(file["filename"])
            if path:
                found[path] = file["content"]
    return found


def _object(reply: str) -> dict[str, Any]:
    try:
        found = json.loads(reply)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

