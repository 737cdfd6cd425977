"""What both harnesses do with an answer: what the user says of it, what the gateway is told, and the record of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

from metaclaw.bench.client import Completion, GatewayClient
from metaclaw.bench.workdays.arms import Arm
from metaclaw.bench.workdays.course import Course, Question, Score
from metaclaw.bench.workdays.runfile import REPLY_CHARACTERS, Record
from metaclaw.signals.checks import passes
from metaclaw.types import Check

SETTLE_SECONDS = 300.0


def feedback_of(course: Course, arm: Arm, question: Question, score: Score, reply: str) -> tuple[str, str]:
    """What the user says, and a check of a right reply; with shuffled feedback, those of another question.

    A check that would say of this very reply the opposite of its score is left out: it sees less than the score does.
    """
    if score.right or not arm.shuffled:
        said, check = question.feedback(score), question.check(score) if arm.checked else ""
    else:
        rng = random.Random(f"shuffled {course.seed} {question.id}")
        other = rng.choice([one for one in course.questions if one.day <= question.day and one.id != question.id])
        said, check = other.feedback(other.unanswered()), other.check(other.unanswered())
    return said, check if check and passes(Check(check), reply) == score.right else ""


async def tell(client: GatewayClient, turn_id: str, score: Score, said: str, check: str) -> None:
    """Post the feedback, and wait until the learner is through with it."""
    await client.feedback(turn_id, 1 if score.right else -1, "" if score.right else said, check)
    await settled(client)


async def settled(client: GatewayClient) -> None:
    """Wait until the learner is through with what it was told: a slow machine measures as a fast one does."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        if (await client.status())["learning"] == "settled":
            return
        await asyncio.sleep(0.1)


def record_of(
    question: Question, score: Score, replies: Sequence[Completion], said: str, seconds: float, note: str
) -> Record:
    last = replies[-1] if replies else None
    return Record(
        id=question.id, day=question.day, part=question.part, kind=question.kind,
        event=question.event, right=score.right, credit=score.credit,
        complete=score.complete, rules=dict(score.rules), reply=last.text[:REPLY_CHARACTERS] if last else "",
        feedback=said, skills=tuple(sorted({skill for reply in replies for skill in reply.skills})),
        policy=last.policy if last else "", prompt_tokens=sum(reply.prompt_tokens for reply in replies),
        completion_tokens=sum(reply.completion_tokens for reply in replies), requests=len(replies),
        seconds=round(seconds, 3), note=note,
    )  # fmt: skip


def heard(course: Course, records: Sequence[Record]) -> list[tuple[str, str]]:
    """What was asked so far and answered wrong, and what the user said of the answer; in order."""
    asked = {question.id: question.prompt for question in course.questions}
    return [(asked[record.id], record.feedback) for record in records if not record.right]
