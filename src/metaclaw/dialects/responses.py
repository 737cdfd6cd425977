"""The wire format of OpenAI's `POST /v1/responses`: a `Dialect`, whose functions `dialects.base` describes.

Source: the OpenAI API reference, responses and their streaming events; what the clients do with a failure was tried out
with the openai SDK 3.54 and Codex 0.169.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from metaclaw.dialects import splice, sse
from metaclaw.dialects.base import ReplyReader, Request, object_or_empty, parse_object, storable
from metaclaw.dialects.chat import error_body as error_body  # one provider, one shape
from metaclaw.dialects.responses_items import items_of, leading_system, messages, system_text, user_texts
from metaclaw.errors import RequestError
from metaclaw.types import Message

NAME = "responses"
PATH = "/responses"
STAND_FOR_INPUT = ("previous_response_id", "conversation", "prompt")
CALLS = tuple(  # the client has to answer these; others the provider runs itself
    "function_call custom_tool_call local_shell_call shell_call apply_patch_call computer_call".split()
)
ENDED_WELL = ("completed", "incomplete")
PLACE = ("item_id", "output_index", "content_index", "summary_index")  # of a delta
LAST_EVENTS = (*(f"response.{status}" for status in (*ENDED_WELL, "failed")), "error")


def parse(raw: bytes) -> Request:
    body = parse_object(raw)
    _check_input(body)
    if not isinstance(body.get("instructions"), str | None):
        raise RequestError(400, "invalid_instructions", "'instructions' must be a string.")
    return Request(raw, body, body.get("stream") is True, next(user_texts(reversed(items_of(body))), ""))


def _check_input(body: Mapping[str, Any]) -> None:
    sent = body.get("input")
    if sent is None and any(body.get(name) for name in STAND_FOR_INPUT):
        return
    if not isinstance(sent, str | list):
        raise RequestError(400, "invalid_input", "'input' must be a string or a list of items.")
    for index, item in enumerate(sent if isinstance(sent, list) else []):
        if not isinstance(item, dict):
            raise RequestError(400, "invalid_input", f"input[{index}] must be an object.")


def for_upstream(request: Request, injected: str, model: str | None) -> bytes:
    edits = [_injection(request.raw, request.body, injected)] if injected else []
    if model and request.body.get("model") != model:
        edits.append(splice.set_member(request.raw, "model", model))
    return splice.apply(request.raw, edits)


def _injection(raw: bytes, body: Mapping[str, Any], text: str) -> splice.Edit:
    """`text` at the end of the system messages that lead the input; where there are none, at that of `instructions`.

    The input comes first because some backends know the instructions of their clients and refuse any others. The last
    of several leading messages takes it, so that the prompt before it stays in the provider's cache.
    """
    items = items_of(body)
    for index in reversed(leading_system(body)):
        content, path = items[index].get("content"), ("input", index, "content")
        if isinstance(content, str):
            return splice.append(raw, path, _escaped(text, content))
        if isinstance(content, list):
            part = splice.encode({"type": "input_text", "text": text})
            return splice.append(raw, path, b", " + part if content else part)
    instructions = body.get("instructions")
    if isinstance(instructions, str):
        return splice.append(raw, ("instructions",), _escaped(text, instructions))
    return splice.set_member(raw, "instructions", text)


def _escaped(text: str, before: str) -> bytes:
    """`text` as it stands inside a JSON string, behind `before`."""
    return splice.encode(f"\n\n{text}" if before else text)[1:-1]


def opening(body: Mapping[str, Any]) -> tuple[str, str]:
    return system_text(body), next(user_texts(items_of(body)), "")


def conversation(body: Mapping[str, Any]) -> list[Message]:
    return cast("list[Message]", messages(body))


@dataclass(slots=True)
class Reader(ReplyReader):
    ENDS = (*(mark.encode() for mark in LAST_EVENTS), b"[DONE]")

    def whole(self, raw: bytes) -> None:
        body = object_or_empty(raw)
        output = body.get("output")
        for item in output if isinstance(output, list) else []:
            self._item(item)
        self._end(body)
        self.finished = body.get("status", "completed" if "output" in body else "") in ENDED_WELL

    def event(self, event: bytes) -> None:
        body = object_or_empty(sse.data_of(event) or b"{}")
        kind, delta, response = body.get("type"), body.get("delta"), body.get("response")
        if kind == "response.output_text.delta" and isinstance(delta, str):
            self.say(storable(delta))
        elif isinstance(delta, str):
            self.put_aside(delta, str([kind, *map(body.get, PLACE)]))
        elif kind == "response.output_item.done":
            self._item(body.get("item"))
        elif kind in LAST_EVENTS:
            self._end(response if isinstance(response, dict) else {})
            self.done, self.finished = True, str(kind).removeprefix("response.") in ENDED_WELL

    def _item(self, item: Any) -> None:
        self.calls += int(isinstance(item, dict) and item.get("type") in CALLS)

    def _end(self, response: Mapping[str, Any]) -> None:
        usage, name = response.get("usage"), response.get("id")
        self.id = name if isinstance(name, str) else ""
        self.usage = usage if isinstance(usage, dict) else self.usage
        if not self.text:
            self.say(output_text(response.get("output")))


def output_text(output: Any) -> str:
    """What a reply says, as the SDK's `output_text` has it."""
    items = [item.get("content") for item in output if isinstance(item, dict)] if isinstance(output, list) else []
    parts = [part for content in items if isinstance(content, list) for part in content if isinstance(part, dict)]
    texts = [part.get("text") for part in parts if part.get("type") == "output_text"]
    return storable("".join(text for text in texts if isinstance(text, str)))


def reader() -> ReplyReader:
    return Reader()


def error_event(status: int, code: str, message: str) -> bytes:
    error = json.loads(error_body(status, code, message))["error"]
    response = {
        "id": f"resp_{uuid.uuid4().hex}", "object": "response", "created_at": 0, "status": "failed", "model": "",
        "output": [], "tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "usage": None,
    }
    return encode(failed({**response, "error": error}, 0))


def failed(response: Mapping[str, Any], sequence_number: int) -> dict[str, Any]:
    """The last event of a reply that failed; `response` holds the error.

    Codex reads it from the response, and ignores events of type `error`. The SDK raises only where an event holds an
    error at its top, and passes by a `response.failed` that does not. This one holds it twice.
    """
    return {
        "type": "response.failed", "sequence_number": sequence_number, "response": response,
        "error": response.get("error"),
    }


def encode(event: Mapping[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
