"""`POST /v1/feedback`: what a user, a client or a test harness says of a turn.

    {"turn_id": "turn-…" | "session": "…", "score": -1 … 1, "text": "…", "check": {"pattern": "regular expression"}}

`session` means the last turn of that session. `check.pattern` must match a right reply as a whole.
"""

from __future__ import annotations

import time
import uuid
from typing import Annotated

import regex
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from metaclaw.errors import RequestError
from metaclaw.journal import trajectories
from metaclaw.journal.recorder import Recorder
from metaclaw.store import Database
from metaclaw.types import Check, Feedback
from metaclaw.wire.messages import Request, Response


class CheckBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    pattern: Annotated[str, Field(min_length=1, max_length=4_000)]


class FeedbackBody(BaseModel):
    model_config = ConfigDict(extra="forbid")
    turn_id: str | None = None
    session: str | None = None
    score: Annotated[float, Field(ge=-1, le=1)] | None = None
    text: Annotated[str, Field(max_length=20_000)] = ""
    check: CheckBody | None = None


class FeedbackHandler:
    def __init__(self, namespace: str, database: Database, recorder: Recorder) -> None:
        self._namespace = namespace
        self._database = database
        self._recorder = recorder

    async def handle(self, request: Request) -> Response:
        body = _parse(request.body)
        feedback = Feedback(
            id=f"feedback-{uuid.uuid4().hex}",
            namespace=self._namespace,
            turn_id=self._turn_id(body),
            score=body.score,
            text=body.text,
            check=Check(body.check.pattern) if body.check else None,
            created_at=time.time(),
        )
        await self._recorder.feedback(feedback)
        return Response.json({"id": feedback.id, "turn_id": feedback.turn_id})

    def _turn_id(self, body: FeedbackBody) -> str:
        if body.turn_id:
            return body.turn_id
        last = trajectories.last_turn_of(self._database, self._namespace, body.session or "")
        if last is None:
            raise RequestError(404, "unknown_session", f"There is no turn in session '{body.session}'.")
        return last.id


def _parse(raw: bytes) -> FeedbackBody:
    try:
        body = FeedbackBody.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise RequestError(400, "invalid_feedback", f"{where}: {first['msg']}.") from error
    if not (body.turn_id or body.session):
        raise RequestError(400, "invalid_feedback", "Give 'turn_id' (the reply's x-metaclaw-turn) or 'session'.")
    if body.score is None and not body.text.strip() and body.check is None:
        raise RequestError(400, "invalid_feedback", "Give at least one of 'score', 'text' and 'check'.")
    _refuse_bad_pattern(body.check)
    return body


def _refuse_bad_pattern(check: CheckBody | None) -> None:
    if check is None:
        return
    try:
        regex.compile(check.pattern)
    except regex.error as error:
        raise RequestError(400, "invalid_check", f"check.pattern is not a regular expression: {error}.") from error
