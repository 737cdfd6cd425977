"""The wire format of Anthropic's `POST /v1/messages`: a `Dialect`, whose functions `dialects.base` describes.

Source: the Claude API reference, messages, their streaming events, and errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metaclaw.dialects import blocks, splice, sse
from metaclaw.dialects.base import ReplyReader, Request, messages_of, object_or_empty, parse_object
from metaclaw.dialects.boilerplate import strip_boilerplate
from metaclaw.dialects.chat import text_of
from metaclaw.dialects.loose import dict_of, dicts_of
from metaclaw.errors import RequestError
from metaclaw.types import Message

NAME = "messages"
PATH = "/messages"
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def parse(raw: bytes) -> Request:
    body = parse_object(raw)
    for index, message in messages_of(body):
        _check_content(message.get("content"), f"messages[{index}].content", "invalid_messages")
    if body.get("system") is not None:
        _check_content(body["system"], "system", "invalid_system")
    query = next((words for message in reversed(body["messages"]) if (words := strip_boilerplate(_said(message)))), "")
    return Request(raw, body, body.get("stream") is True, query)


def _check_content(content: Any, place: str, code: str) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise RequestError(400, code, f"'{place}' must be a string or a list of content blocks.")
    for index, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise RequestError(400, code, f"{place}[{index}] must be an object with a 'type'.")


def _said(message: Mapping[str, Any]) -> str:
    """What the user wrote in this message. Tool results come in the user's name, but are not the user's words."""
    return text_of(message.get("content")) if message.get("role") == "user" else ""


def for_upstream(request: Request, injected: str, model: str | None) -> bytes:
    edits = [_injection(request.raw, request.body.get("system"), injected)] if injected else []
    if model and request.body.get("model") != model:
        edits += [splice.set_member(request.raw, "model", model)]
    return splice.apply(request.raw, edits)


def inject(system: Any, text: str) -> Any:
    """The system prompt with `text` behind its last cached block, so that what is cached before it stays so."""
    if not isinstance(system, list):
        return f"{system}\n\n{text}" if system else text
    place = _place(system)
    return [*system[:place], {"type": "text", "text": text}, *system[place:]]


def _place(system: list[Any]) -> int:
    """Behind the last block that carries `cache_control`; at the end where none does."""
    return max((index + 1 for index, block in enumerate(system) if block.get("cache_control")), default=len(system))


def _injection(raw: bytes, system: Any, text: str) -> splice.Edit:
    """The edit that means what `inject` means."""
    if isinstance(system, str) and system:
        return splice.append(raw, ["system"], splice.encode(f"\n\n{text}")[1:-1])
    if not isinstance(system, list):
        return splice.set_member(raw, "system", text)
    block = splice.encode({"type": "text", "text": text})
    if not system:
        return splice.append(raw, ["system"], block)
    return splice.behind(raw, ["system", _place(system) - 1], b", " + block)


def opening(body: Mapping[str, Any]) -> tuple[str, str]:
    return text_of(body.get("system")), next((text for message in body["messages"] if (text := _said(message))), "")


def conversation(body: Mapping[str, Any]) -> list[Message]:
    return blocks.as_chat(body.get("system"), body["messages"])


@dataclass(slots=True)
class Reader(ReplyReader):
    ENDS = (b"message_stop", b"error")

    def whole(self, raw: bytes) -> None:
        body = object_or_empty(raw)
        for block in dicts_of(body.get("content")):
            self._block(block)
        self._usage(body.get("usage"))
        self.finished = bool(body.get("stop_reason"))

    def event(self, event: bytes) -> None:
        body = object_or_empty(sse.data_of(event))
        match body.get("type"):
            case "message_start":
                self._usage(dict_of(body.get("message")).get("usage"))
            case "content_block_start":
                self._block(dict_of(body.get("content_block")))
            case "content_block_delta":
                delta = dict_of(body.get("delta"))
                self.say(text_of([{**delta, "type": "text"}]))  # of other deltas, nothing
                self.put_aside(delta.get("partial_json") or delta.get("thinking"), str(body.get("index")))
            case "message_delta":
                self._usage(body.get("usage"))
                self.finished = self.finished or bool(dict_of(body.get("delta")).get("stop_reason"))
            case "message_stop":
                self.finished = self.done = True
            case "error":
                self.done = True

    def _block(self, block: dict[str, Any]) -> None:
        self.say(text_of([block]))
        self.calls += block.get("type") == "tool_use"

    def _usage(self, usage: Any) -> None:
        """Counts are totals so far: a later one replaces an earlier one, and one that is left out stays."""
        self.usage = {**self.usage, **{name: count for name, count in dict_of(usage).items() if count is not None}}


def reader() -> ReplyReader:
    return Reader()


def error_type(status: int) -> str:
    return ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


def status_of(kind: Any) -> int:
    """The status that goes with an error's type: inside a stream the type alone is sent."""
    return next((status for status, name in ERROR_TYPES.items() if name == kind), 500)


def error_body(status: int, code: str, message: str) -> bytes:
    return json.dumps(
        {"type": "error", "error": {"type": error_type(status), "message": message, "code": code}}
    ).encode()


def error_event(status: int, code: str, message: str) -> bytes:
    return b"event: error\ndata: " + error_body(status, code, message) + b"\n\n"
