"""The wire format of OpenAI's `POST /v1/chat/completions`.

In: the client's bytes. Out: what the gateway must know of them (`ChatRequest`), the bytes for the upstream, and the
text of a reply, whole or streamed. What this module does not know, it passes on unchanged.
Source: the OpenAI API reference, chat completions and their streaming events.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metaclaw.context.compose import SYSTEM_ROLES, inject
from metaclaw.context.retrieve import strip_boilerplate
from metaclaw.errors import RequestError
from metaclaw.gateway import splice, sse
from metaclaw.types import Message

DIALECT = "chat"
DONE = b"[DONE]"
BYTES_PER_TOKEN = 3
USUAL_REPLY_TOKENS = 256
CONTENT = ("messages", 0, "content")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request, read once. `raw` is what the client sent; `body` is the same, parsed."""

    raw: bytes
    body: Mapping[str, Any]
    messages: list[Message]
    stream: bool
    query: str

    def tokens_taken(self) -> int:
        """What the request and the reply that it asks for need of the model's context, estimated from above."""
        asked = self.body.get("max_completion_tokens") or self.body.get("max_tokens")
        reply = asked if isinstance(asked, int) else USUAL_REPLY_TOKENS
        return len(self.raw) // BYTES_PER_TOKEN + reply

    def for_upstream(self, injected: str, model: str | None) -> bytes:
        """The client's own bytes; where something changes, only there."""
        edits = [_injection(self.raw, self.messages, injected)] if injected else []
        if model and self.body.get("model") != model:
            edits.append(_renaming(self.raw, model))
        return splice.apply(self.raw, edits)


def parse(raw: bytes) -> ChatRequest:
    """Read a request. Raises `RequestError` (400) with what is wrong and where."""
    try:
        body = json.loads(raw.decode("utf-8"))  # RFC 8259: JSON between systems is UTF-8, without a byte order mark
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "invalid_json", f"The request body is not valid JSON: {error}.") from error
    if not isinstance(body, dict):
        raise RequestError(400, "invalid_body", "The request body must be a JSON object.")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestError(400, "invalid_messages", "'messages' must be a non-empty list.")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise RequestError(400, "invalid_messages", f"messages[{index}] must be an object with a 'role'.")
    return ChatRequest(raw, body, messages, body.get("stream") is True, strip_boilerplate(last_user_text(messages)))


def _injection(raw: bytes, messages: list[Message], text: str) -> splice.Edit:
    """`text` at the end of the leading system message, or in a new one; the meaning is that of `compose.inject`."""
    first = inject(messages, text)[0]
    if messages[0]["role"] not in SYSTEM_ROLES:
        return splice.insert(raw, ["messages"], splice.encode(first) + b", ")
    before, after = messages[0].get("content"), first["content"]
    if before and isinstance(before, str):
        return splice.append(raw, CONTENT, splice.encode(after[len(before) :])[1:-1])
    if before and isinstance(before, list):
        return splice.append(raw, CONTENT, b", " + splice.encode(after[-1]))
    if "content" in messages[0]:
        return splice.replace(raw, CONTENT, splice.encode(after))
    return splice.insert(raw, CONTENT[:-1], b'"content": ' + splice.encode(after) + b", ")


def _renaming(raw: bytes, model: str) -> splice.Edit:
    if splice.find(raw, ["model"]) is None:
        return splice.insert(raw, [], b'"model": ' + splice.encode(model) + b", ")
    return splice.replace(raw, ["model"], splice.encode(model))


def last_user_text(messages: list[Message]) -> str:
    """The text of the last message from the user; empty where there is none."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return text_of(message.get("content"))
    return ""


def first_user_text(messages: list[Message]) -> str:
    return next((text_of(m.get("content")) for m in messages if m.get("role") == "user"), "")


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return storable(content)
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        return storable("\n".join(part for part in parts if isinstance(part, str)))
    return ""


def storable(text: str) -> str:
    """`text` with a question mark for each lone surrogate: JSON may hold half an emoji, UTF-8 and the store may not."""
    return text.encode(errors="replace").decode()


@dataclass(slots=True)
class ReplyReader:
    """Reads a reply as it goes by. `finished` says that it reached its end rather than breaking off."""

    text: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    finished: bool = False
    done: bool = False

    def whole(self, raw: bytes) -> None:
        """A reply that was not streamed."""
        body = _object(raw)
        self._choices(body, "message")
        self.finished = self.finished or "choices" in body

    def event(self, event: bytes) -> None:
        """One event of a stream."""
        data = sse.data_of(event)
        if data == DONE:
            self.finished = self.done = True
        elif data:
            self._choices(_object(data), "delta")

    def _choices(self, body: dict[str, Any], part: str) -> None:
        if isinstance(body.get("usage"), dict):
            self.usage = body["usage"]
        choices = body.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict) and not choice.get("index"):
                message = choice.get(part)
                self.text += text_of(message.get("content")) if isinstance(message, dict) else ""
                self.finished = self.finished or bool(choice.get("finish_reason"))


def error_body(status: int, code: str, message: str) -> bytes:
    """An error as OpenAI writes one."""
    kind = "invalid_request_error" if status < 500 else "upstream_error"
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
