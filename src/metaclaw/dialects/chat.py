"""The wire format of OpenAI's `POST /v1/chat/completions`: a `Dialect`, whose functions `dialects.base` describes.

Source: the OpenAI API reference, chat completions and their streaming events.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from metaclaw.dialects import splice, sse
from metaclaw.dialects.base import ReplyReader, Request, loads, messages_of, object_or_empty, parse_object, storable
from metaclaw.dialects.boilerplate import first_words, strip_boilerplate
from metaclaw.dialects.loose import count_of
from metaclaw.types import Message

NAME = "chat"
PATH = "/chat/completions"
DONE = b"[DONE]"
CONTENT = ("messages", 0, "content")
SYSTEM_ROLES = ("system", "developer")
NEWER_LIMIT = re.compile(r"(?:.*/)?(?:o\d|gpt-[5-9])")  # OpenAI's reasoning models


def parse(raw: bytes) -> Request:
    body = parse_object(raw)
    messages = [message for _, message in messages_of(body)]
    return Request(raw, body, body.get("stream") is True, last_words(messages))


def for_upstream(request: Request, injected: str, model: str | None) -> bytes:
    edits = [_injection(request.raw, request.body["messages"], injected)] if injected else []
    if model and request.body.get("model") != model:
        edits.append(splice.set_member(request.raw, "model", model))
    return splice.apply(request.raw, edits)


def opening(body: Mapping[str, Any]) -> tuple[str, str]:
    messages = body["messages"]
    system = text_of(messages[0].get("content")) if messages[0].get("role") in SYSTEM_ROLES else ""
    return system, first_user_text(messages)


def conversation(body: Mapping[str, Any]) -> list[Message]:
    messages: list[Message] = body["messages"]
    return messages


def inject(messages: Sequence[Message], text: str) -> list[Message]:
    """The conversation with `text` at the end of its leading system message, or in a new one where there is none."""
    if not text:
        return list(messages)
    if messages and messages[0].get("role") in SYSTEM_ROLES:
        return [_extended(messages[0], text), *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _extended(message: Message, text: str) -> Message:
    content = message.get("content")
    extended = message.copy()
    if isinstance(content, list):
        extended["content"] = [*content, {"type": "text", "text": text}]
    else:
        extended["content"] = f"{content}\n\n{text}" if content else text
    return extended


def _injection(raw: bytes, messages: list[Message], text: str) -> splice.Edit:
    """`text` at the end of the leading system message, or in a new one; the meaning is that of `inject`."""
    first = messages[0]
    if first["role"] not in SYSTEM_ROLES:
        return splice.insert(raw, ["messages"], splice.encode(inject(messages, text)[0]) + b", ")
    before = first.get("content")
    if before and isinstance(before, str):
        return splice.append(raw, CONTENT, _paragraph(text))
    after = _extended(first, text)["content"]
    if before and isinstance(before, list):
        return splice.append(raw, CONTENT, b", " + splice.encode(after[-1]))
    if "content" in first:
        return splice.replace(raw, CONTENT, splice.encode(after))
    return splice.insert(raw, CONTENT[:-1], b'"content": ' + splice.encode(after) + b", ")


@lru_cache(maxsize=64)  # the same skills are injected over and over
def _paragraph(text: str) -> bytes:
    """As it stands inside a JSON string."""
    return splice.encode(f"\n\n{text}")[1:-1]


def limit_name(model: Any) -> str:
    """The name of the limit of a reply: OpenAI's reasoning models refuse the older one, which all others take."""
    return "max_completion_tokens" if NEWER_LIMIT.match(str(model)) else "max_tokens"


def last_words(messages: Sequence[Message]) -> str:
    """What the user said last, without what agents put around it; empty where there is nothing."""
    said = (text_of(message.get("content")) for message in reversed(messages) if message.get("role") == "user")
    return next((words for text in said if (words := strip_boilerplate(text))), "")


def first_user_text(messages: Sequence[Message]) -> str:
    return first_words([text_of(message.get("content")) for message in messages if message.get("role") == "user"])


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return storable(content)
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return storable("\n".join(part for part in parts if isinstance(part, str)))
    return ""


@dataclass(slots=True)
class Reader(ReplyReader):
    ENDS = (DONE,)

    def whole(self, raw: bytes) -> None:
        body = object_or_empty(raw)
        self._choices(body, "message")
        self.finished = self.finished or "choices" in body

    def event(self, event: bytes) -> None:
        data = sse.data_of(event)
        if data == DONE:
            self.finished = self.done = True
        elif data:
            self._choices(object_or_empty(data), "delta")

    def several(self, events: bytes) -> None:
        """As one JSON document; where they are none, each by itself."""
        try:
            bodies = loads(sse.as_array(events))
        except (ValueError, RecursionError):
            bodies = [object_or_empty(text) for text in sse.data_of_each(events) if text and text != DONE]
        said = list[str]()
        for body in bodies:
            try:  # nearly all chunks hold nothing but more text
                (choice,) = body["choices"]
                delta = choice["delta"]
                text = delta["content"]
                if not (
                    choice["index"] or choice.get("finish_reason") or body.get("usage") or body.get("error")
                    or "tool_calls" in delta
                ) and text and text.__class__ is str:
                    said.append(text)
                    continue
            except (KeyError, TypeError, ValueError, AttributeError):
                pass
            if isinstance(body, dict):
                self.say(storable("".join(said)))
                said.clear()
                self._choices(body, "delta")
        self.say(storable("".join(said)))

    def _choices(self, body: dict[str, Any], part: str) -> None:
        if isinstance(body.get("usage"), dict):
            self.usage = body["usage"]
        self.done = self.done or bool(body.get("error"))
        choices = body.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict):
                self._beside(choice.get("delta"), count_of(choice, "index"))
                if not choice.get("index"):
                    self._message(choice.get(part))
                    self.finished = self.finished or bool(choice.get("finish_reason"))

    def _beside(self, delta: Any, choice: int) -> None:
        """What a piece of a stream says beside the text of its first choice."""
        for name, value in delta.items() if isinstance(delta, dict) else ():
            if name == "tool_calls":
                for call in value if isinstance(value, list) else ():
                    self._arguments(call, choice)
            elif choice or name != "content":
                self.put_aside(value, (choice, name))

    def _arguments(self, call: Any, choice: int) -> None:
        called = (call.get("function") or call.get("custom")) if isinstance(call, dict) else None
        if isinstance(called, dict):
            self.put_aside(called.get("arguments") or called.get("input"), (choice, str(call.get("index"))))

    def _message(self, message: Any) -> None:
        if isinstance(message, dict):
            if content := message.get("content"):
                self.say(text_of(content))
            calls = message.get("tool_calls")
            for call in calls if isinstance(calls, list) else ():
                self.calls += bool(isinstance(call, dict) and call.get("id"))


def reader() -> ReplyReader:
    return Reader()


def error_body(status: int, code: str, message: str) -> bytes:
    kind = "invalid_request_error" if status < 500 else "upstream_error"
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


def error_event(status: int, code: str, message: str) -> bytes:
    return b"data: " + error_body(status, code, message) + b"\n\n"
