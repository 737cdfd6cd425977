"""The agent harness: a day is one conversation with tools over a fresh workspace, and feedback opens the next question.

A day's state lives and dies with the day: only what the gateway learned crosses the night. A question has a cap on
steps. A run that stopped in the middle of a day plays that day again from its morning.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metaclaw.bench.client import Completion, GatewayClient
from metaclaw.bench.workdays.arms import Arm, context_of
from metaclaw.bench.workdays.course import Course, Day, Question
from metaclaw.bench.workdays.outcome import feedback_of, heard, record_of, tell
from metaclaw.bench.workdays.questions import letters_in
from metaclaw.bench.workdays.runfile import RunFile
from metaclaw.bench.workdays.tools import TOOLS, Workspace
from metaclaw.sandbox import Sandbox

MAX_STEPS = 12
MAX_TOKENS = 2_000
SYSTEM = (
    "You work in a workspace of text files, with tools. Do what is asked, then say in a sentence that it is done. "
    "Where letters are asked for, end your answer with them as \\bbox{A} or \\bbox{A,C}."
)


@dataclass(slots=True)
class Conversation:
    """A day's messages, and what the answer to the current question has cost."""

    messages: list[dict[str, Any]]
    headers: Mapping[str, str]
    replies: list[Completion] = field(default_factory=list)


@dataclass(slots=True)
class Agent:
    """Plays days of a course for one arm, and writes what came of it to the run file."""

    course: Course
    arm: Arm
    client: GatewayClient
    run: RunFile
    sandbox: Sandbox

    async def play(self, day: Day) -> None:
        """The whole day, unless it has been played to its evening."""
        if all(question.id in self.run.answered for question in day.questions):
            return
        self.run.forget(day.number)
        session = f"{self.run.path.stem}-{self.course.seed}-{day.number}-{time.time_ns()}"
        talk = Conversation([{"role": "system", "content": ""}], {"x-session-id": session, **self.arm.headers})
        talk.messages += [{"role": role, "content": text} for role, text in day.seeded]
        workspace = Workspace(day.files, self.sandbox)
        opening = day.greeting
        for question in day.questions:
            opening = await self._answer(question, opening, talk, workspace)

    async def _answer(self, question: Question, opening: str, talk: Conversation, workspace: Workspace) -> str:
        """Put the question behind `opening`, let the agent work, and record it; what the user says opens the next."""
        started = time.perf_counter()
        before = dict(workspace.files)
        self._set_context(talk, question)
        talk.messages.append({"role": "user", "content": f"{opening}\n\n{question.prompt}".strip()})
        talk.replies = []
        note = await self._work(talk, workspace)
        ticked = letters_in(talk.replies[-1].text) if question.letters else frozenset()
        score = question.judge(before, workspace.files, ticked)
        answered = [reply for reply in talk.replies if reply.turn_id]
        feedback, _ = feedback_of(self.course, self.arm, question, score, "")  # a check is for a reply, not for files
        if self.arm.learns and answered:
            await tell(self.client, answered[-1].turn_id, score, feedback, "")
        self.run.add(record_of(question, score, talk.replies, feedback, time.perf_counter() - started, note))
        return feedback

    async def _work(self, talk: Conversation, workspace: Workspace) -> str:
        """Steps until the agent has nothing more to call. Says why it ended before, if it did."""
        for _ in range(MAX_STEPS):
            body = {"messages": talk.messages, "tools": TOOLS, "temperature": 0, "max_tokens": MAX_TOKENS}
            reply = await self.client.complete(body, talk.headers)
            talk.replies.append(reply)
            if reply.refused:
                return reply.refused
            talk.messages.append(dict(reply.message))
            calls = reply.message.get("tool_calls") or []
            if not calls:
                return ""
            for call in calls:
                told = await workspace.call(call["function"]["name"], call["function"]["arguments"])
                talk.messages.append({"role": "tool", "tool_call_id": call["id"], "content": told})
        return f"no end after {MAX_STEPS} steps"

    def _set_context(self, talk: Conversation, question: Question) -> None:
        """The arm's text for this question, in the place of the one before."""
        context = context_of(self.arm, self.course, question, heard(self.course, self.run.records))
        talk.messages[0] = {"role": "system", "content": f"{self.course.persona} {SYSTEM}\n\n{context}".strip()}
