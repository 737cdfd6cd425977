"""Tools that the gateway offers beside the client's and runs itself: what each wire format needs for that.

A turn then has several rounds: the model calls a tool of ours, is told the result, and goes on. The client sees one
reply. `OwnTools` puts our tools into a request and results behind it; `Rounds` reads the rounds' replies as they come,
withholds our calls, and makes one reply of the rest. All of it is pure.

A call of ours beside one of the client's in the same round is dropped: the client gets its own call and answers it, and
the model, which then sees no trace of ours, may call again. So no upstream ever sees a call without its result.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from metaclaw.dialects import splice
from metaclaw.dialects.base import Request
from metaclaw.dialects.loose import list_of


class Spec(Protocol):
    """What a model is told of a tool; `parameters` is the JSON Schema of an object."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class OwnCall:
    """A call of a tool of ours; `arguments` is what the model wrote, JSON if all is well."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call, in words for the model."""

    call: OwnCall
    text: str
    failed: bool = False


class Rounds:
    """One reply in the making. After a round's reply, `calls` are those of ours that were made in it; none: it is over.

    `said` is what the model said in the round, in the form in which a request carries it. `last` is set before a round
    after which no further one may follow: calls of ours are then dropped, and the reply ends. `id` is the name by which
    a provider may keep the round's reply, with what was `dropped` of it, `shown_id` the one that the client knows.
    """

    def __init__(self, own: frozenset[str]) -> None:
        self.own = own
        self.last = False
        self.first = True
        self.id = ""
        self.shown_id = ""
        self.calls: list[OwnCall] = []
        self.dropped: list[OwnCall] = []
        self.spent: dict[str, Any] = {}
        self.usage: dict[str, Any] = {}

    @property
    def said(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def feed(self, event: bytes) -> Iterator[bytes]:
        """The client's events that one event of the stream makes. What is not ours passes byte for byte."""
        raise NotImplementedError

    def whole(self, raw: bytes) -> bytes:
        """The client's reply, of all rounds so far, from that of a round which was not streamed."""
        raise NotImplementedError

    def again(self) -> None:
        """The next round begins."""
        self.first = False
        self.spent = added(self.spent, self.usage)
        self.usage = {}
        self.calls = []
        self.dropped = []
        self.id = ""

    def settle(self, own: Sequence[OwnCall], theirs: int, *, called: bool) -> bool:
        """How the round ends: with `calls`, or with those of ours dropped. `called`: it ended in order to have calls.

        True where the reply ends without any call, though the model ended it for the sake of one.
        """
        goes_on = bool(own) and not theirs and called and not self.last
        self.calls = list(own) if goes_on else []
        self.dropped = [] if goes_on else list(own)
        return called and bool(own) and not theirs and not goes_on

    def total(self) -> dict[str, Any]:
        """The usage of all rounds so far."""
        return added(self.spent, self.usage)


class OwnTools(Protocol):
    """One wire format's side of it: a module with these names."""

    NONE: Any
    "The `tool_choice` that forbids calls."

    def admits(self, body: Mapping[str, Any]) -> bool:
        """Whether a tool of ours may be put into this request: not where calls are forbidden, or one is forced."""

    def names(self, body: Mapping[str, Any]) -> set[str]:
        """The names of the client's tools."""

    def declared(self, tool: Spec) -> dict[str, Any]:
        """A tool as a request declares it."""

    def continued(self, request: Request, said: Sequence[dict[str, Any]], answers: Sequence[Answer]) -> Request:
        """The request of the next round: what was said, and our answers, at the end of the conversation."""

    def rounds(self, own: frozenset[str]) -> Rounds: ...


def with_tools(wire: OwnTools, request: Request, tools: Sequence[Spec]) -> Request:
    """The request with our tools behind the client's; every other byte stays."""
    declared = [wire.declared(tool) for tool in tools]
    sent = list_of(request.body.get("tools"))
    if sent:
        edit = splice.append(request.raw, ["tools"], b"".join(b", " + splice.encode(one) for one in declared))
    else:
        edit = splice.set_member(request.raw, "tools", declared)
    body = {**request.body, "tools": [*sent, *declared]}
    return replace(request, raw=splice.apply(request.raw, [edit]), body=body)


def without_calls(wire: OwnTools, request: Request) -> Request:
    """The request with calls forbidden, for a last round."""
    raw = splice.apply(request.raw, [splice.set_member(request.raw, "tool_choice", wire.NONE)])
    return replace(request, raw=raw, body={**request.body, "tool_choice": wire.NONE})


def extended(request: Request, key: str, entries: Sequence[Any]) -> Request:
    """The request with `entries` at the end of its list `key`."""
    before = list_of(request.body.get(key))
    text = b", ".join(splice.encode(entry) for entry in entries)
    edit = splice.append(request.raw, [key], b", " + text if before else text)
    return replace(request, raw=splice.apply(request.raw, [edit]), body={**request.body, key: [*before, *entries]})


def exactly(raw: bytes | str) -> dict[str, Any]:
    """The object that a reply is; empty for everything else. With whole numbers of any size: it will be sent back."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def sendable(arguments: str) -> str:
    """A call's arguments as a request may carry them: servers read them, and some refuse what is no JSON object."""
    return arguments if exactly(arguments) else "{}"


def added(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Two usages in one: counts add up, also those inside; of everything else the later one stays."""
    total = dict(before)
    for name, value in now.items():
        old = total.get(name)
        if isinstance(value, dict):
            total[name] = added(old if isinstance(old, dict) else {}, value)
        elif _is_count(value) and _is_count(old):
            total[name] = value + old
        elif value is not None or name not in total:
            total[name] = value
    return total


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
