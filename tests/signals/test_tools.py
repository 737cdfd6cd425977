"""Tool calls and results, in each format's own shape."""

from __future__ import annotations

import pytest

from metaclaw.signals.tools import ToolResult, calls_in, results_in
from metaclaw.types import Message

CHAT: list[Message] = [
    {"role": "assistant", "content": None, "tool_calls": [  # type: ignore[typeddict-unknown-key]
        {"id": "c1", "type": "function", "function": {"name": "run", "arguments": '{"command": "ls"}'}}]},
    {"role": "tool", "tool_call_id": "c1", "content": "a.py"},  # type: ignore[typeddict-unknown-key]
]
MESSAGES: list[Message] = [
    {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "run", "input": {"command": "ls"}}]},
    {"role": "user", "content": [{
        "type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "a.py"}], "is_error": False}]},
]
RESPONSES: list[Message] = [
    {"type": "function_call", "call_id": "c1", "name": "run", "arguments": '{"command": "ls"}'},  # type: ignore[typeddict-unknown-key]
    {"type": "function_call_output", "call_id": "c1", "output": "a.py"},  # type: ignore[typeddict-unknown-key]
]


@pytest.mark.parametrize(
    ("messages", "marked"), [(CHAT, None), (MESSAGES, False), (RESPONSES, None)], ids=["chat", "messages", "responses"]
)
def test_a_result_is_found_with_its_call(messages: list[Message], marked: bool | None) -> None:
    assert results_in(messages) == [ToolResult("run", '{"command": "ls"}', "a.py", marked)]
    assert calls_in(messages) == [("c1", "run", '{"command": "ls"}')]
    assert results_in(messages[1:]) == [ToolResult("", "", "a.py", marked)]


def test_a_mark_that_was_carried_over_counts() -> None:
    [found] = results_in([{"role": "tool", "content": "x", "is_error": True}])  # type: ignore[typeddict-unknown-key]
    assert found.marked is True


@pytest.mark.parametrize("odd", [
    {}, {"role": "tool"}, {"role": "assistant", "tool_calls": "x"}, {"role": "assistant", "tool_calls": [1, {}]},
    {"role": "user", "content": [1, {"type": "tool_result"}]}, {"role": "tool", "content": {"a": 1}},
    {"type": "function_call_output", "output": [{"type": "input_text", "text": "x"}, {"type": "input_image"}]},
])
def test_odd_messages_are_read_as_far_as_they_go(odd: Message) -> None:
    assert all(isinstance(found.text, str) for found in results_in([odd]))
