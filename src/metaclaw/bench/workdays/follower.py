"""A scripted worker who keeps to a house rule exactly where the prompt tells it that rule, as the best model could.

Comes in: a chat request of either harness. Goes out: the assistant's message. What it gets wrong, no model gets right
but by luck: the rule was not in the prompt, or an outdated form of it was, which a worker who is told both keeps to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from metaclaw.bench.workdays.choices import LETTERS, is_true
from metaclaw.bench.workdays.generate import AnyQuestion, Workdays
from metaclaw.bench.workdays.questions import ChoiceQuestion, FileQuestion
from metaclaw.bench.workdays.rules import Rule
from metaclaw.bench.workdays.writing import write


class Follower:
    """`prompts` are the system prompts that it saw last, by question."""

    def __init__(self, days: Workdays) -> None:
        self._days = days
        self._questions = {question.prompt: question for question in days.questions}
        self.prompts: dict[str, str] = {}

    def message(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """JSON where a schema asks for it, else tool calls and then letters or a word."""
        question = self._question(body["messages"])
        if question is None:
            return {"role": "assistant", "content": "As you like."}
        system = next((m["content"] for m in body["messages"] if m["role"] == "system"), "")
        self.prompts[question.id] = system
        if "tools" in body:
            return self._with_tools(question, system, body["messages"])
        return {"role": "assistant", "content": json.dumps(self._answer(question, system), ensure_ascii=False)}

    def _question(self, messages: Sequence[Mapping[str, Any]]) -> AnyQuestion | None:
        """None for a request that is none of the course's, such as the probes of a verification."""
        asked = [str(message["content"]) for message in messages if message["role"] == "user"][-1]
        exact = next((text for text in asked.split("\n\n") if text in self._questions), None)
        return self._questions[exact] if exact else next((q for p, q in self._questions.items() if p in asked), None)

    def _answer(self, question: AnyQuestion, told: str) -> dict[str, Any]:
        if isinstance(question, ChoiceQuestion):
            return {"letters": self._letters(question, told)}
        (path, text), *rest = self._files(question, told).items()
        return {"filename": path, "content": text, "more": [{"filename": p, "content": t} for p, t in rest]}

    def _files(self, question: FileQuestion, told: str) -> dict[str, str]:
        before = self._days.days[question.day - 1].files
        return write(question.document, self._kept(question.house, told), before)

    def _letters(self, question: ChoiceQuestion, told: str) -> list[str]:
        rules = {rule.family: rule for rule in question.rules}
        if self._kept(rules, told) != rules:
            return ["A"]
        return [letter for letter, option in zip(LETTERS, question.options, strict=True) if is_true(option, rules)]

    def _kept(self, rules: Mapping[str, Rule], told: str) -> dict[str, Rule]:
        """What it keeps to of these rules: those that it is told, each in the outdated form where it is told that."""
        outdated = outdated_in(self._days, rules, told)
        return {family: rule for family, rule in rules.items() if states(told, rule)} | outdated

    def _with_tools(self, question: AnyQuestion, told: str, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
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


def states(text: str, rule: Rule) -> bool:
    """Whether a text tells the rule, in its colleague's words; its first letter may be another."""
    return rule.says[1:] in text


def outdated_in(days: Workdays, rules: Mapping[str, Rule], told: str) -> dict[str, Rule]:
    """Of these families, the forms that hold no more, or not yet, and that a text tells as if they did."""
    for event in days.house.events:
        if event.rule.revoked:
            told = told.replace(event.rule.says[1:], "")  # it quotes what it takes back
    return {
        event.rule.family: event.rule
        for event in days.house.events
        if event.rule.family in rules and not event.rule.revoked and event.rule != rules[event.rule.family]
        and states(told, event.rule)
    }
