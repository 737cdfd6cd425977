"""A client that speaks Responses on an upstream that speaks chat: a `Translation`, made of this module's functions.

In: a Responses request. Out: the chat request; and from the chat reply, whole or streamed, the Responses reply.

Nothing is kept between requests, so the client must send its whole conversation each time, as Codex does; what refers
to something kept is refused, with what to do instead. Left out, having no counterpart: tools that a provider runs
itself, `store`, `include`, `metadata`, `truncation`, and the hints `prompt_cache_key`, `service_tier` and
`text.verbosity`, which strict servers refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from metaclaw.dialects import chat, responses_tools, sse
from metaclaw.dialects.base import object_or_empty
from metaclaw.dialects.responses import encode
from metaclaw.dialects.responses_items import items_of, messages
from metaclaw.dialects.responses_reply import Event, Reply
from metaclaw.errors import RequestError, UpstreamError

SAME = ("model", "temperature", "top_p", "user")
KEPT_ELSEWHERE = ("previous_response_id", "conversation")


def request(body: Mapping[str, Any]) -> dict[str, Any]:
    _refuse(body)
    translated: dict[str, Any] = {name: body[name] for name in SAME if body.get(name) is not None}
    if body.get("max_output_tokens") is not None:
        translated[chat.limit_name(body.get("model"))] = body["max_output_tokens"]
    translated["messages"] = messages(body)
    if not translated["messages"]:
        raise RequestError(400, "invalid_input", "'input' holds no message that the upstream could answer.")
    translated |= responses_tools.for_chat(body)
    if effort := _member(body, "reasoning").get("effort"):
        translated["reasoning_effort"] = effort
    translated |= _response_format(_member(_member(body, "text"), "format"))
    if body.get("stream") is True:
        translated |= {"stream": True, "stream_options": {"include_usage": True}}
    return translated


def whole(body: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Raises `UpstreamError` (502) for what is no chat completion."""
    reply = Reply(asked)
    if body.get("choices"):
        _run(reply.chunk(body, "message"))
        _run(reply.complete())
    elif body.get("error"):
        _run(reply.fail(body["error"]))
    else:
        raise UpstreamError(502, "upstream_garbage", "The upstream's reply is not a chat completion.")
    return reply.response()


def stream(asked: Mapping[str, Any]) -> Stream:
    return Stream(asked)


class Stream:
    """The events of one reply, numbered as they go out."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self._reply = Reply(asked)
        self._sent = 0

    def feed(self, event: bytes) -> Iterator[bytes]:
        data = sse.data_of(event)
        if not data:
            if event.startswith(b":"):
                yield event  # a comment keeps the connection alive in any format
        elif self._open:
            yield from self._numbered(self._events(data))

    def end(self) -> Iterator[bytes]:
        if self._open and self._reply.finish:  # servers may leave out [DONE]
            yield from self._numbered(self._reply.complete())

    @property
    def _open(self) -> bool:
        return self._reply.status == "in_progress"

    def _events(self, data: bytes) -> Iterable[Event]:
        if data == chat.DONE:
            return self._reply.complete() if self._reply.head else ()
        body = object_or_empty(data)
        if body.get("error"):
            return self._reply.fail(body["error"])
        return self._reply.chunk(body, "delta") if body else ()

    def _numbered(self, events: Iterable[Event]) -> Iterator[bytes]:
        for event in events:
            yield encode({**event, "sequence_number": self._sent})
            self._sent += 1


def _refuse(body: Mapping[str, Any]) -> None:
    for name in KEPT_ELSEWHERE:
        if body.get(name):
            raise RequestError(  # OpenAI's code for a response that is not kept any more
                400, "previous_response_not_found",
                f"'{name}' refers to what an earlier request left behind, but the upstream speaks chat, which keeps"
                " nothing. Send the whole conversation as 'input'.",
            )
    for name in ("prompt", "background"):
        if body.get(name):
            raise _unsupported(f"'{name}'")
    for index, item in enumerate(items_of(body)):
        _refuse_item(item, f"input[{index}]")


def _refuse_item(item: Mapping[str, Any], where: str) -> None:
    kind = item.get("type")
    if kind == "item_reference":
        raise RequestError(
            400, "item_not_found",
            f"{where} refers to an item of an earlier request, but the upstream speaks chat, which keeps nothing. Send"
            " the item itself.",
        )
    if kind == "compaction_trigger":
        raise _unsupported(f"{where}: 'compaction_trigger'")
    for field in ("content", "output"):
        parts = item.get(field)
        for position, part in enumerate(parts if isinstance(parts, list) else []):
            if isinstance(part, dict) and (part.get("file_id") or part.get("file_url")):
                raise RequestError(
                    400, "unsupported_input",
                    f"{where}.{field}[{position}] refers to a file elsewhere, but the upstream speaks chat, which takes"
                    " contents only. Send 'image_url' (a data: URL will do) or 'file_data'.",
                )


def _unsupported(what: str) -> RequestError:
    return RequestError(400, "unsupported_parameter", f"{what} cannot be had: the upstream speaks chat. Leave it out.")


def _response_format(form: Mapping[str, Any]) -> dict[str, Any]:
    if form.get("type") == "json_schema":
        kept = ("name", "description", "schema", "strict")
        schema = {key: form[key] for key in kept if form.get(key) is not None}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {"response_format": {"type": "json_object"}} if form.get("type") == "json_object" else {}


def _member(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def _run(events: Iterator[Event]) -> None:
    for _ in events:
        pass
