"""The tool calls and tool results in a conversation, whichever way its format writes them.

In: messages in the shape of `chat`, with the blocks that other formats may have left in them. Out: `ToolResult`s.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaclaw.types import Message


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came back from a call. `marked` is the format's own word on it (`is_error`), None where it has none."""

    name: str
    arguments: str
    text: str
    marked: bool | None = None


def results_in(messages: Sequence[Message]) -> list[ToolResult]:
    """The tool results among the messages, in order, with the calls that they answer where those are there too."""
    calls = {call_id: (name, arguments) for call_id, name, arguments in calls_in(messages)}
    return [
        ToolResult(*calls.get(call_id, ("", "")), text, marked)
        for message in messages
        for call_id, text, marked in _answers(message)
    ]


def calls_in(messages: Sequence[Message]) -> list[tuple[str, str, str]]:
    """Id, name and arguments of the calls that the messages make."""
    return [call for message in messages for call in _calls(message)]


def _calls(message: Message) -> Iterator[tuple[str, str, str]]:
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        if isinstance(call, dict) and isinstance(function := call.get("function"), dict):
            yield str(call.get("id")), str(function.get("name") or ""), _as_text(function.get("arguments"))
    for part in _parts(message):
        if part.get("type") == "tool_use":
            yield str(part.get("id")), str(part.get("name") or ""), _as_text(part.get("input"))
    if message.get("type") in ("function_call", "custom_tool_call", "local_shell_call"):
        arguments = message.get("arguments") or message.get("input") or message.get("action")
        yield str(message.get("call_id")), str(message.get("name") or ""), _as_text(arguments)


def _answers(message: Message) -> Iterator[tuple[str, str, bool | None]]:
    kind = str(message.get("type") or "")
    if message.get("role") in ("tool", "function"):
        yield str(message.get("tool_call_id")), _text_of(message.get("content")), marked_in(message)
    elif kind.endswith("_output") and "output" in message:
        yield str(message.get("call_id")), _text_of(message.get("output")), marked_in(message)
    for part in _parts(message):
        if part.get("type") == "tool_result":
            yield str(part.get("tool_use_id")), _text_of(part.get("content")), marked_in(part)


def _parts(message: Message) -> list[dict[str, Any]]:
    content = message.get("content")
    return [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []


def marked_in(holder: Mapping[str, Any]) -> bool | None:
    """The format's own word on whether this is an error: Anthropic's `is_error`, MCP's `isError`."""
    for name in ("is_error", "isError"):
        if isinstance(marked := holder.get(name), bool):
            return marked
    return None


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return _as_text(content)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)
