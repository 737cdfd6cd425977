"""What an assistant said, as one message in the shape of `chat`, from the bytes of a reply in any wire format.

In: a reply as the client got it, whole or streamed. Out: its assistant message with the tool calls, or None where
there is none. For the learning rooms: they teach, count and export what was said, whoever's format it was said in.
And back: a message as a whole reply of a format.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from metaclaw.dialects import call_deltas, chat, chat_of_message, messages, responses, responses_items, sse
from metaclaw.dialects.base import object_or_empty
from metaclaw.dialects.loose import dict_of, dicts_of, list_of, string_of
from metaclaw.errors import UpstreamError
from metaclaw.types import Message


def reply_message(format_name: str, raw: bytes) -> Message | None:
    """`format_name` is the client's. A reply that broke off gives what had come of it."""
    body = object_or_empty(raw)
    match format_name:
        case chat.NAME:
            return _of_choice(body) if body else _of_deltas(_bodies(sse.split(raw)))
        case messages.NAME:
            return _of_message(body) if body else _of_events(sse.split(raw))
        case responses.NAME:
            return _of_output(body or _last_response(raw))
    return None


def in_one_piece(format_name: str, message: Message) -> bytes:
    """A reply that was not streamed and says no more than the message: `reply_message` gives it again."""
    text, calls = string_of(message.get("content")), dicts_of(message.get("tool_calls"))
    functions = [(call.get("id"), dict_of(call.get("function"))) for call in calls]
    body: dict[str, Any]
    match format_name:
        case messages.NAME:
            used = [{"type": "tool_use", "id": call_id, "name": function.get("name"),
                     "input": object_or_empty(string_of(function.get("arguments")))} for call_id, function in functions]
            body = {"type": "message", "content": [*([{"type": "text", "text": text}] if text else []), *used]}
        case responses.NAME:
            part = {"type": "output_text", "text": text}
            said = [{"type": "message", "role": "assistant", "content": [part]}] if text else []
            called = [{"type": "function_call", "call_id": call_id, **function} for call_id, function in functions]
            body = {"object": "response", "output": [*said, *called]}
        case _:
            body = {"object": "chat.completion", "choices": [{"index": 0, "message": message}]}
    return json.dumps(body).encode()


def _of_choice(body: dict[str, Any]) -> Message | None:
    first = next(iter(dicts_of(body.get("choices"))), {})
    return _message(dict_of(first.get("message")))


def _of_message(body: dict[str, Any]) -> Message | None:
    try:
        return _of_choice(chat_of_message.whole(body))
    except UpstreamError:  # an error of the provider's, for one
        return None


def _of_events(events: Iterable[bytes]) -> Message | None:
    stream = chat_of_message.Stream(with_usage=False)
    return _of_deltas(_bodies(translated for event in events for translated in stream.feed(event)))


def _of_output(body: dict[str, Any]) -> Message | None:
    said = responses_items.messages({"input": list_of(body.get("output"))})
    texts = [text for one in said if (text := string_of(one.get("content")))]
    calls = [call for one in said for call in dicts_of(one.get("tool_calls"))]
    return _message({"content": "\n".join(texts), "tool_calls": calls})


def _last_response(raw: bytes) -> dict[str, Any]:
    ended = [body for body in _bodies(sse.split(raw)) if body.get("type") in responses.LAST_EVENTS]
    return dict_of(ended[-1].get("response")) if ended else {}


def _of_deltas(bodies: Iterable[dict[str, Any]]) -> Message | None:
    """A stream of chat completions put together again: text in pieces, calls in pieces."""
    text: list[str] = []
    calls: list[_Call] = []
    for body in bodies:
        for choice in dicts_of(body.get("choices")):
            if choice.get("index"):
                continue
            delta = dict_of(choice.get("delta"))
            text.append(string_of(delta.get("content")))
            for piece in dicts_of(delta.get("tool_calls")):
                call = call_deltas.known(calls, piece)
                if call is None:
                    call = _Call(piece.get("index"))
                    calls.append(call)
                call.take(piece)
    return _message({"content": "".join(text), "tool_calls": [call.whole() for call in calls]})


@dataclass(slots=True)
class _Call:
    number: Any
    call_id: str = ""
    name: str = ""
    arguments: str = ""

    def take(self, piece: dict[str, Any]) -> None:
        function = dict_of(piece.get("function"))
        self.call_id = self.call_id or string_of(piece.get("id"))
        self.name = self.name or string_of(function.get("name"))
        self.arguments += string_of(function.get("arguments"))

    def whole(self) -> dict[str, Any]:
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.call_id, "type": "function", "function": function}


def _message(said: dict[str, Any]) -> Message | None:
    """Only what belongs into a conversation that is sent again; nothing where it neither says nor calls anything."""
    text, calls = said.get("content"), dicts_of(said.get("tool_calls"))
    if not text and not calls:
        return None
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = calls
    return message  # type: ignore[return-value]  # a Message keeps keys that it does not name


def _bodies(events: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for event in events:
        if body := object_or_empty(sse.data_of(event) or b"{}"):
            yield body
