"""A scripted model for workdays: works well, and keeps to a house rule exactly where the prompt tells it that rule."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from metaclaw.bench.workdays.choices import LETTERS, is_true
from metaclaw.bench.workdays.generate import AnyQuestion, Workdays
from metaclaw.bench.workdays.questions import ChoiceQuestion
from metaclaw.bench.workdays.rules import Rule
from metaclaw.bench.workdays.writing import write


class OfficeWorker:
    """An upstream's `answer`. `prompts` are the system prompts that it saw, by question."""

    def __init__(self, days: Workdays) -> None:
        self._days = days
        self.prompts: dict[str, str] = {}

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        return web.json_response(_completion(self.message(body)))

    def message(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The assistant's message: JSON where a schema asks for it, else tool calls and then letters or a word."""
        question = self._question(body["messages"])
        system = next((m["content"] for m in body["messages"] if m["role"] == "system"), "")
        self.prompts[question.id] = system
        if "tools" in body:
            return self._with_tools(question, system, body["messages"])
        return {"role": "assistant", "content": json.dumps(self._answer(question, system), ensure_ascii=False)}

    def _question(self, messages: list[dict[str, Any]]) -> AnyQuestion:
        asked = [message["content"] for message in messages if message["role"] == "user"][-1]
        return next(question for question in self._days.questions if question.prompt in asked)

    def _answer(self, question: AnyQuestion, told: str) -> dict[str, Any]:
        if isinstance(question, ChoiceQuestion):
            return {"letters": self._letters(question, told)}
        files = self._files(question, told)
        (path, text), *rest = files.items()
        return {"filename": path, "content": text, "more": [{"filename": p, "content": t} for p, t in rest]}

    def _files(self, question: AnyQuestion, told: str) -> dict[str, str]:
        assert not isinstance(question, ChoiceQuestion)
        before = self._days.days[question.day - 1].files
        return write(question.document, _told(dict(question.house), told), before)

    def _letters(self, question: ChoiceQuestion, told: str) -> list[str]:
        rules = {rule.family: rule for rule in question.rules}
        if _told(rules, told) != rules:
            return ["A"]
        return [letter for letter, option in zip(LETTERS, question.options, strict=True) if is_true(option, rules)]

    def _with_tools(self, question: AnyQuestion, told: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
        if isinstance(question, ChoiceQuestion):
            return {"role": "assistant", "content": "\\bbox{" + ",".join(self._letters(question, told)) + "}"}
        if messages[-1]["role"] == "tool":
            return {"role": "assistant", "content": "It is done."}
        calls = [
            {"id": f"call_{number}", "type": "function",
             "function": {"name": "write", "arguments": json.dumps({"path": path, "content": text})}}
            for number, (path, text) in enumerate(self._files(question, told).items())
        ]  # fmt: skip
        return {"role": "assistant", "content": None, "tool_calls": calls}


def _told(rules: dict[str, Rule], told: str) -> dict[str, Rule]:
    return {family: rule for family, rule in rules.items() if rule.says[1:] in told}


def _completion(message: dict[str, Any]) -> dict[str, Any]:
    finish = "tool_calls" if message.get("tool_calls") else "stop"
    return {
        "id": "cmpl-1", "object": "chat.completion", "created": 1, "model": "office-worker",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50},
    }  # fmt: skip
