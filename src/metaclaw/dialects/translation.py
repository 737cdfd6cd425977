"""A client that speaks one wire format, an upstream that speaks another: who translates between them.

`chat` is the hub: each other format needs one translation onto it and one from it, and any two make a chain.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from metaclaw.dialects import chat, chat_on_messages, messages, messages_on_chat, responses, responses_on_chat
from metaclaw.dialects.base import Dialect, Request, error_in, object_or_empty
from metaclaw.errors import RequestError

DIALECTS: Mapping[str, Dialect] = {dialect.NAME: dialect for dialect in (chat, messages, responses)}


class StreamTranslation(Protocol):
    """One reply's stream. Events go in and come out whole, with their closing blank line."""

    def feed(self, event: bytes) -> Iterable[bytes]:
        """The client's events that one event of the upstream's makes; often none or several."""

    def end(self) -> Iterable[bytes]:
        """What is still owed when the upstream's stream is over; nothing where it broke off before its end."""


class Translation(Protocol):
    """From a client's format onto an upstream's, and back. Pure; what has no counterpart is left out."""

    def request(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The upstream's request. Raises `RequestError` (400) for what cannot be asked of it."""

    def whole(self, body: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
        """The client's reply from the upstream's. `asked` is the client's request.

        Raises `UpstreamError` for what is no reply of the upstream's format.
        """

    def stream(self, asked: Mapping[str, Any]) -> StreamTranslation: ...


TRANSLATIONS: Mapping[tuple[str, str], Translation] = {  # (the client's format, the upstream's)
    (messages.NAME, chat.NAME): messages_on_chat,
    (chat.NAME, messages.NAME): chat_on_messages,
    (responses.NAME, chat.NAME): responses_on_chat,
}


@dataclass(frozen=True, slots=True)
class Leg:
    """How a client's request travels on. Without a `translation` the upstream speaks the client's own format."""

    client: Dialect
    upstream: Dialect
    translation: Translation | None = None

    def request(self, request: Request, injected: str, model: str | None) -> bytes:
        """The bytes for the upstream."""
        if self.translation is None:
            return self.client.for_upstream(request, injected, model)
        asked = request.exact_body()
        body = self.translation.request({**asked, "model": model} if model else asked)
        translated = replace(request, raw=json.dumps(body).encode(), body=body)
        return self.upstream.for_upstream(translated, injected, model)

    def whole(self, raw: bytes, status: int, asked: Mapping[str, Any]) -> bytes:
        """The bytes for the client, from a reply that was not streamed. Errors that are no JSON get the client's form.

        Raises `UpstreamError` for what says that all is well and is no reply.
        """
        if self.translation is None and status < 400:
            return raw
        body = object_or_empty(raw)
        if self.translation is None and body:
            return raw
        if self.translation is None or status >= 400:
            return self.client.error_body(status, *error_in(body, raw))
        return json.dumps(self.translation.whole(body, asked)).encode()

    def stream(self, asked: Mapping[str, Any]) -> StreamTranslation | None:
        return self.translation.stream(asked) if self.translation else None


def leg(client: Dialect, spoken: Collection[str]) -> Leg:
    """The way to an upstream that speaks the formats `spoken`. Raises `RequestError` (400) where there is none."""
    if client.NAME in spoken:
        return Leg(client, client)
    for name in spoken:
        if found := _between(client.NAME, name):
            return Leg(client, DIALECTS[name], found)
    raise RequestError(
        400, "unsupported_format", f"The upstream speaks {', '.join(spoken)}, and nothing translates {client.NAME}."
    )


def reaches(client: Dialect, spoken: Collection[str]) -> bool:
    """Whether there is a way to an upstream that speaks the formats `spoken`."""
    return client.NAME in spoken or any(_between(client.NAME, name) for name in spoken)


def as_chat(format_name: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A request of any format, asked as a chat completion. Raises `RequestError` (400) where it cannot be."""
    onto = TRANSLATIONS.get((format_name, chat.NAME))
    return onto.request(body) if onto else dict(body)


def _between(client: str, upstream: str) -> Translation | None:
    if direct := TRANSLATIONS.get((client, upstream)):
        return direct
    onto, on = TRANSLATIONS.get((client, chat.NAME)), TRANSLATIONS.get((chat.NAME, upstream))
    return Chain(onto, on) if onto and on else None


@dataclass(frozen=True, slots=True)
class Chain:
    """Two translations, one after the other: `first` is the client's side."""

    first: Translation
    second: Translation

    def request(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return self.second.request(self.first.request(body))

    def whole(self, body: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
        return self.first.whole(self.second.whole(body, self.first.request(asked)), asked)

    def stream(self, asked: Mapping[str, Any]) -> StreamTranslation:
        return ChainedStream(self.first.stream(asked), self.second.stream(self.first.request(asked)))


@dataclass(frozen=True, slots=True)
class ChainedStream:
    first: StreamTranslation
    second: StreamTranslation

    def feed(self, event: bytes) -> Iterator[bytes]:
        for between in self.second.feed(event):
            yield from self.first.feed(between)

    def end(self) -> Iterator[bytes]:
        for between in self.second.end():
            yield from self.first.feed(between)
        yield from self.first.end()

