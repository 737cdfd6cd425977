"""What every wire format offers (`Dialect`), and the two values that they share: a `Request` and a `ReplyReader`.

A dialect is a module with these names at its top. What it does not know, it passes on unchanged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import orjson

from metaclaw.dialects import sse
from metaclaw.errors import RequestError
from metaclaw.types import Message

BYTES_PER_TOKEN = 3
USUAL_REPLY_TOKENS = 256
MAX_UNREAD_BYTES = 64 * 1024
MAX_TEXT_CHARACTERS = 1024 * 1024  # of a reply, some 250,000 tokens: more is not worth the memory
OVERFULL = re.compile(  # OpenAI and many after it, llama.cpp, vLLM, Anthropic, Bedrock, Gemini, TGI
    rb"context[_ ](?:length|window|size|limit)|maximum model length|(?:prompt|input) is too long"
    rb"|exceeds the maximum number of tokens|max_new_tokens. must be",
    re.IGNORECASE,
)
ASKED_TOKENS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class Request:
    """A request, read once: `raw` is what the client sent, `body` the same, parsed, `query` the user's last words."""

    raw: bytes
    body: Mapping[str, Any]
    stream: bool
    query: str

    def exact_body(self) -> dict[str, Any]:
        """`body` with every number as it was sent."""
        exact: dict[str, Any] = json.loads(self.raw.decode("utf-8"))
        return exact

    def tokens_taken(self) -> int:
        """What the request and the reply that it asks for need of the model's context, estimated from above."""
        asked = next((value for name in ASKED_TOKENS if (value := self.body.get(name))), None)
        reply = asked if isinstance(asked, int) else USUAL_REPLY_TOKENS
        return len(self.raw) // BYTES_PER_TOKEN + reply


@dataclass(slots=True)
class ReplyReader:
    """Reads a reply as it goes by.

    `finished` says that it reached its end rather than breaking off; `done` that the event which ends the stream has
    come, be it an error. `calls` counts the tool calls in it; `aside` is what a stream says beside its text: their
    arguments, thoughts and the like. `id` is the name by which the provider may keep it, in formats in which a request
    can go on from a reply. What is put off is read by `catch_up`, many events at once: read one by one as they came,
    they cost the gateway more than everything else about a stream.
    """

    ENDS: ClassVar[tuple[bytes, ...]] = ()
    "One of these stands in every event that ends a stream; what else they stand in does no harm."

    usage: dict[str, Any] = field(default_factory=dict)
    calls: int = 0
    finished: bool = False
    done: bool = False
    id: str = ""
    _said: list[str] = field(default_factory=list)
    _characters: int = 0
    _aside: dict[Any, list[str]] = field(default_factory=dict)
    _aside_characters: int = 0
    _unread: list[bytes] = field(default_factory=list)
    _unread_bytes: int = 0

    @property
    def text(self) -> str:
        """What it said, up to `MAX_TEXT_CHARACTERS`."""
        return "".join(self._said)

    def say(self, text: str) -> None:
        """More of what it said; kept in pieces, since a string that grows is copied for each of them."""
        if text and self._characters < MAX_TEXT_CHARACTERS:
            self._said.append(text[: MAX_TEXT_CHARACTERS - self._characters])
            self._characters += len(text)

    @property
    def aside(self) -> str:
        """Put together from its pieces, up to `MAX_TEXT_CHARACTERS`."""
        return "\n".join(storable("".join(pieces)) for pieces in self._aside.values())

    def put_aside(self, text: Any, place: Any) -> None:
        """More of what is said at `place`, where it is text."""
        if text.__class__ is str and self._aside_characters < MAX_TEXT_CHARACTERS:
            self._aside.setdefault(place, []).append(text)
            self._aside_characters += len(text)

    def put_off(self, events: bytes) -> bytes:
        """Put some whole events off, to be read later, and return the rest: from the one on that may end the stream.

        What is returned must be read by `event`; all before it has been read then.
        """
        ends = [at for mark in self.ENDS if (at := events.find(mark)) >= 0]
        begins = events.rfind(b"\n\n", 0, min(ends)) + 2 if ends and b"\r" not in events else 0
        before, rest = (events[:begins], events[begins:]) if ends and begins > 1 else (b"", events)
        if not ends:
            before, rest = events, b""
        self._unread.append(before)
        self._unread_bytes += len(before)
        if ends or self._unread_bytes > MAX_UNREAD_BYTES:
            self.catch_up()
        return rest

    def catch_up(self) -> None:
        """Read what was put off."""
        if self._unread:
            events = b"".join(self._unread)
            self._unread.clear()
            self._unread_bytes = 0
            self.several(events)

    def several(self, events: bytes) -> None:
        """Whole events of a stream, none of which ends it."""
        for event in sse.split(events):
            self.event(event)

    def whole(self, raw: bytes) -> None:
        """A reply that was not streamed."""
        raise NotImplementedError

    def event(self, event: bytes) -> None:
        """One event of a stream, with its closing blank line."""
        raise NotImplementedError


class Dialect(Protocol):
    """One wire format. `NAME` is its name in journal and settings, `PATH` its place below a provider's base URL."""

    NAME: str
    PATH: str

    def parse(self, raw: bytes) -> Request:
        """Read a request. Raises `RequestError` (400) with what is wrong and where."""

    def for_upstream(self, request: Request, injected: str, model: str | None) -> bytes:
        """The client's own bytes; where something is injected or the model renamed, changed only there."""

    def opening(self, body: Mapping[str, Any]) -> tuple[str, str]:
        """The system text and the first thing that the user said: what stays the same from turn to turn."""

    def conversation(self, body: Mapping[str, Any]) -> list[Message]:
        """The conversation in the shape of `chat`: what the learning rooms work with."""

    def reader(self) -> ReplyReader: ...

    def error_body(self, status: int, code: str, message: str) -> bytes:
        """An error as this format's provider writes one."""

    def error_event(self, status: int, code: str, message: str) -> bytes:
        """The same inside a stream that has begun."""


def parse_object(raw: bytes) -> dict[str, Any]:
    """The body of a request. Raises `RequestError` (400) where it is no JSON object."""
    try:
        body = loads(raw)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "invalid_json", f"The request body is not valid JSON: {error}.") from error
    if not isinstance(body, dict):
        raise RequestError(400, "invalid_body", "The request body must be a JSON object.")
    return body


def messages_of(body: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
    """A request's messages, numbered. Raises `RequestError` (400) at the first that is none, or where there are none.

    For the formats whose conversation is a list `messages` of objects with a `role`.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestError(400, "invalid_messages", "'messages' must be a non-empty list.")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise RequestError(400, "invalid_messages", f"messages[{index}] must be an object with a 'role'.")
        yield index, message


def loads(raw: bytes | str) -> Any:
    """JSON, in UTF-8 without a byte order mark (RFC 8259). Raises `ValueError`, or `RecursionError` where it is deep.

    What the quick reader refuses and the standard one takes (half an emoji, NaN, deep nesting), that one reads. The
    quick one makes a float of an integer beyond 64 bits: what is written again is read by `Request.exact_body`.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return json.loads(raw.decode("utf-8") if isinstance(raw, bytes) else raw)


def object_or_empty(raw: bytes | str) -> dict[str, Any]:
    """Part of a reply, which may be of any shape."""
    try:
        body = loads(raw)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def error_in(body: Mapping[str, Any], raw: bytes = b"") -> tuple[str, str]:
    """Code and text of an error in any provider's shape; `raw`, which it was read from, where nothing else is told."""
    error = body.get("error", body)
    unread = raw[:500].decode(errors="replace") or "The upstream refused the request."
    if not isinstance(error, dict):
        return "upstream_error", str(error or unread)
    code = error.get("code") or error.get("type") or "upstream_error"
    return str(code), str(error.get("message") or unread)


def error_status(body: Mapping[str, Any]) -> int:
    """The status of an error that came with a 200, which some providers give as its code; else 502."""
    error = body.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 502


def is_overfull(status: int, raw: bytes) -> bool:
    """Whether an error says that the request is longer than the model's context, in any provider's words."""
    return status == 413 or (status in (400, 422) and OVERFULL.search(raw) is not None)


def storable(text: str) -> str:
    """`text` with a question mark for each lone surrogate: JSON may hold half an emoji, UTF-8 and the store may not."""
    return text if text.isascii() else text.encode(errors="replace").decode()
