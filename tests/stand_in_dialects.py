"""The formats that are not spoken yet, as far as recognising a session needs them; the real ones take their place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from metaclaw.dialects.base import Dialect, Request, object_or_empty
from metaclaw.dialects.boilerplate import strip_boilerplate
from metaclaw.dialects.chat import text_of
from metaclaw.dialects.translation import DIALECTS
from metaclaw.types import Message


@dataclass(frozen=True)
class StandIn:
    """`system` is the field of the system text, `turns` that of the messages; a part of a message holds `text`."""

    NAME: str
    system: str
    turns: str

    def parse(self, raw: bytes) -> Request:
        body = object_or_empty(raw)
        said = [words for message in self.conversation(body) if (words := _words(message))]
        return Request(raw, body, False, strip_boilerplate(said[-1]) if said else "")

    def opening(self, body: Mapping[str, Any]) -> tuple[str, str]:
        """The first message in the user's name, whatever is in it."""
        said = [str(m["content"]) for m in self.conversation(body) if m.get("role") == "user"]
        return text_of(body.get(self.system)), said[0] if said else ""

    def conversation(self, body: Mapping[str, Any]) -> list[Message]:
        return [
            {"role": item.get("role", ""), "content": "\n".join(_texts(item.get("content")))}
            for item in body[self.turns]
        ]


def _words(message: Message) -> str:
    return strip_boilerplate(str(message["content"])) if message.get("role") == "user" else ""


def _texts(content: Any) -> Iterable[str]:
    parts = content if isinstance(content, list) else [{"text": content}]
    return [part["text"] for part in parts if isinstance(part.get("text"), str)]


STAND_INS = {
    "messages": StandIn("messages", "system", "messages"),
    "responses": StandIn("responses", "instructions", "input"),
}


def dialect_named(name: str) -> Dialect:
    return DIALECTS[name] if name in DIALECTS else cast(Dialect, STAND_INS[name])


def parsed(dialect: Dialect, body: Mapping[str, Any]) -> Request:
    return dialect.parse(json.dumps(body).encode())
