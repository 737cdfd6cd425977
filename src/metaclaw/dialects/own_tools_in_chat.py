"""Tools of ours in OpenAI's chat completions: an `OwnTools`, made of this module's functions.

The chunks of all rounds become one stream: one id, one role, one finish reason, usage added up. Where both of two
rounds say something, a blank line stands between, since a chat message is one text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metaclaw.dialects import call_deltas, chat, sse
from metaclaw.dialects.base import Request, object_or_empty
from metaclaw.dialects.loose import dict_of, dicts_of, list_of, string_of
from metaclaw.dialects.own_tools import Answer, OwnCall, Rounds, Spec, exactly, extended, sendable

NONE = "none"
CALLED = ("tool_calls", "function_call", "stop")  # some servers say "stop" of calls too
SAME = ("id", "object", "created", "model", "system_fingerprint")  # of all chunks of a reply
NOT_SENT_BACK = ("role", "tool_calls", "function_call", "annotations", "audio")
BETWEEN = "\n\n"


def admits(body: Mapping[str, Any]) -> bool:
    """Not with several replies at once, audio, or the functions that were there before tools."""
    other = any(body.get(name) for name in ("functions", "function_call", "audio"))
    return body.get("tool_choice") in (None, "auto") and body.get("n") in (None, 1) and not other


def names(body: Mapping[str, Any]) -> set[str]:
    tools = dicts_of(body.get("tools"))
    named = [dict_of(tool.get("function") or tool.get("custom")).get("name") for tool in tools]
    return {name for name in named if isinstance(name, str)}


def declared(tool: Spec) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def continued(request: Request, said: Sequence[dict[str, Any]], answers: Sequence[Answer]) -> Request:
    results = [{"role": "tool", "tool_call_id": one.call.id, "content": _content(one)} for one in answers]
    return extended(request, "messages", [*said, *results])


def _content(answer: Answer) -> str:
    """A message of role `tool` has no field that says that the tool failed."""
    return f"Error: {answer.text}" if answer.failed else answer.text


def rounds(own: frozenset[str]) -> Rounds:
    return ChatRounds(own)


@dataclass(slots=True)
class _Call:
    """A call in the making. `place` is its number in the round, `index` the one that the client sees."""

    place: int
    whole: dict[str, Any] = field(default_factory=dict)
    is_own: bool | None = None  # not known before its name has come
    index: int = 0

    def take(self, delta: Mapping[str, Any]) -> None:
        """Arguments come in pieces; everything else in one."""
        function, more = dict(dict_of(self.whole.get("function"))), dict_of(delta.get("function"))
        function["name"] = function.get("name") or more.get("name")
        function["arguments"] = self.arguments + _arguments(more)
        others = {name: value for name, value in delta.items() if value not in (None, "") and name != "function"}
        self.whole = {**self.whole, **others, "function": function}

    @property
    def number(self) -> Any:
        return self.whole.get("index")

    @property
    def call_id(self) -> Any:
        return self.whole.get("id")

    @property
    def name(self) -> str:
        return string_of(dict_of(self.whole.get("function")).get("name"))

    @property
    def arguments(self) -> str:
        return string_of(dict_of(self.whole.get("function")).get("arguments"))

    def own(self) -> OwnCall:
        return OwnCall(self.sent_back()["id"], self.name, self.arguments)

    def sent_back(self) -> dict[str, Any]:
        """As the next request carries it."""
        function = {**self.whole["function"], "arguments": sendable(self.arguments)}
        call_id = str(self.call_id or f"call_{self.place}")
        others = {name: value for name, value in self.whole.items() if name != "index"}
        return {"type": "function", **others, "id": call_id, "function": function}


class ChatRounds(Rounds):
    def __init__(self, own: frozenset[str]) -> None:
        super().__init__(own)
        self._head: dict[str, Any] = {}
        self._calls: list[_Call] = []
        self._message: dict[str, list[Any]] = {}  # the pieces of each of its members
        self._shown: dict[str, Any] = {}  # what the client has of whole replies
        self._said_before = False
        self._says = False

    @property
    def said(self) -> list[dict[str, Any]]:
        calls = [call.sent_back() for call in self._calls if call.is_own]
        told = {name: _joined(pieces) for name, pieces in self._message.items() if pieces}
        return [{"role": "assistant", "content": None, **told, "tool_calls": calls}]

    def again(self) -> None:
        super().again()
        self._said_before = self._said_before or self._says
        self._calls, self._message, self._says = [], {}, False

    def feed(self, event: bytes) -> Iterator[bytes]:
        data = sse.data_of(event)
        body = object_or_empty(data) if data and data != chat.DONE else {}
        if data == chat.DONE and self.calls:
            return
        if not body or body.get("error"):
            self.calls = [] if body else self.calls
            yield event
            return
        told = self._chunk(body)
        if told is not None:
            yield event if told == body else b"data: " + json.dumps(told).encode() + b"\n\n"

    def _chunk(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """What of a chunk goes to the client, if anything does."""
        self._head = self._head or {name: body[name] for name in SAME if name in body}
        told = body if self.first else {**body, **self._head}
        if isinstance(body.get("usage"), dict):
            self.usage = body["usage"]
            told = {**told, "usage": self.total()}
        before, choices = self.calls, list_of(body.get("choices"))
        kept = [one for choice in choices if isinstance(choice, dict) for one in self._choice(choice)]
        if self.calls:  # the round is over, and another one follows
            told = {name: value for name, value in told.items() if name != "usage"}
        if not kept and (choices or before):
            return None
        return {**told, "choices": kept} if choices else told

    def _choice(self, choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
        delta, finish = dict_of(choice.get("delta")), choice.get("finish_reason")
        kept = self._delta(delta)
        told = choice if kept == delta else {**choice, "delta": kept}
        if finish:
            ended_for_ours = self._end(finish)
            if self.calls or ended_for_ours:
                told = {**told, "finish_reason": None if self.calls else "stop"}
        if kept or (not self.calls if finish else not delta):
            yield told

    def _delta(self, delta: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in delta.items() if name != "tool_calls"}
        for name, value in kept.items():
            if name not in NOT_SENT_BACK and value:
                self._message.setdefault(name, []).append(value)
        if not self.first:
            kept.pop("role", None)
            if kept.get("content") == "":
                kept.pop("content")
        if said := kept.get("content"):
            if self._said_before and not self._says and isinstance(said, str):
                kept["content"] = BETWEEN + said
            self._says = True
        sent = delta.get("tool_calls")
        calls = [told for call in dicts_of(sent) for told in self._call(call)]
        if calls or ("tool_calls" in delta and not sent):
            kept["tool_calls"] = calls or sent
        return kept

    def _call(self, delta: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Nothing of a call of ours, nor of one that has no name yet; else as it came, but for its number."""
        call = call_deltas.known(self._calls, delta)
        if call is None:
            call = _Call(len(self._calls))
            self._calls.append(call)
        held = bool(call.whole) and call.is_own is None
        call.take(delta)
        if call.is_own is None and call.name:
            call.index = self._theirs
            call.is_own = call.name in self.own
            delta = call.whole if held else delta
        if call.is_own is False:
            yield delta if call.index == call.place else {**delta, "index": call.index}

    @property
    def _theirs(self) -> int:
        return sum(call.is_own is False for call in self._calls)

    def _end(self, finish: Any) -> bool:
        own = [call.own() for call in self._calls if call.is_own]
        return self.settle(own, self._theirs, called=finish in CALLED)

    def whole(self, raw: bytes) -> bytes:
        body = exactly(raw)
        choice = next(iter(dicts_of(body.get("choices"))), {})
        message = choice.get("message")
        if not isinstance(message, dict):
            return raw
        self.usage = dict_of(body.get("usage"))
        sent = message.get("tool_calls")
        numbered = ({**call, "index": number} for number, call in enumerate(dicts_of(sent)))
        self._delta({**{name: value for name, value in message.items() if name != "role"}, "tool_calls": [*numbered]})
        ended_for_ours = self._end(choice.get("finish_reason"))
        theirs = [call for call in dicts_of(sent) if dict_of(call.get("function")).get("name") not in self.own]
        kept = {**message, "tool_calls": theirs} if theirs else {k: v for k, v in message.items() if k != "tool_calls"}
        if self.first and len(theirs) == len(dicts_of(sent)):
            return raw
        self._shown = _merged(self._shown, kept)
        self._head = self._head or {name: body[name] for name in SAME if name in body}
        finish = "stop" if ended_for_ours else choice.get("finish_reason")
        told = {**body, **self._head, "choices": [{**choice, "message": self._shown, "finish_reason": finish}]}
        return json.dumps({**told, "usage": self.total()} if self.total() else told).encode()


def _arguments(function: Mapping[str, Any]) -> str:
    """As JSON text; some servers send the object itself."""
    arguments = function.get("arguments")
    return json.dumps(arguments) if isinstance(arguments, dict) else string_of(arguments)


def _joined(pieces: list[Any]) -> Any:
    """A member of a message from its pieces: texts and lists in a row, of everything else the last."""
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    if all(isinstance(piece, list) for piece in pieces):
        return [one for piece in pieces for one in piece]
    return pieces[-1]


def _merged(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """One message of two."""
    merged = dict(before)
    for name, value in now.items():
        old = merged.get(name)
        if name == "content" and isinstance(old, str) and isinstance(value, str) and old and value:
            merged[name] = old + BETWEEN + value
        elif name != "role" and old and value and type(old) is type(value) and isinstance(value, str | list):
            merged[name] = old + value
        elif value or not old:
            merged[name] = value
    return merged
