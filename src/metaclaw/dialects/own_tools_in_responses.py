"""Tools of ours in OpenAI's Responses: an `OwnTools`, made of this module's functions.

The streams of all rounds become one: the events are numbered in a row, so are the output items, and the last event
holds them all. A stream keeps the id that it began with, since the SDK takes no other; a whole reply has that of the
last round, which is the one that holds the results of our calls where a provider keeps responses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from metaclaw.dialects import responses, splice, sse
from metaclaw.dialects.base import Request, object_or_empty
from metaclaw.dialects.loose import dict_of, dicts_of, string_of
from metaclaw.dialects.own_tools import Answer, OwnCall, Rounds, Spec, exactly, extended, sendable
from metaclaw.dialects.responses_items import items_of
from metaclaw.dialects.responses_tools import offered

NONE = "none"
BEGIN = ("response.created", "response.in_progress", "response.queued")
THEIRS = (*responses.CALLS, "tool_search_call", "mcp_approval_request")  # what the client has to answer
LOST_IDS = ("message", "function_call")  # whose ids mean nothing to a provider that keeps nothing


def admits(body: Mapping[str, Any]) -> bool:
    """Not in a conversation that the provider keeps (it would hold each round's input twice), nor in the background."""
    return body.get("tool_choice") in (None, "auto") and not body.get("conversation") and not body.get("background")


def names(body: Mapping[str, Any]) -> set[str]:
    """Those that arrive as input items too."""
    return {tool.name for tool in offered(body).values()}


def declared(tool: Spec) -> dict[str, Any]:
    """Not strict, which is the default here: its rules for schemas are narrower than ours."""
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", **function, "strict": False}


def continued(request: Request, said: Sequence[dict[str, Any]], answers: Sequence[Answer]) -> Request:
    kept = request.body.get("store") is not False
    items = [*(found for item in said for found in _sent_back(item, kept=kept)), *map(_output, answers)]
    if isinstance(request.body.get("input"), list):
        return extended(request, "input", items)
    return with_input(request, [*items_of(request.body), *items])


def _sent_back(item: dict[str, Any], *, kept: bool) -> Iterator[dict[str, Any]]:
    """An output item as input. `kept`: the provider keeps items, and knows this one by its id."""
    if item.get("type") == "function_call":
        item = {**item, "arguments": sendable(string_of(item.get("arguments")))}
    if kept:
        yield item
    elif item.get("type") in LOST_IDS:
        yield {name: value for name, value in item.items() if name != "id"}
    elif item.get("type") != "reasoning" or item.get("encrypted_content") or item.get("content"):
        yield item


def _output(answer: Answer) -> dict[str, Any]:
    text = f"Error: {answer.text}" if answer.failed else answer.text
    return {"type": "function_call_output", "call_id": answer.call.id, "output": text}


def answered(request: Request, answers: Sequence[Answer]) -> Request:
    """The request with answers to calls of the response that it goes on from, before its own input."""
    return with_input(request, [*map(_output, answers), *items_of(request.body)])


def with_input(request: Request, items: Sequence[dict[str, Any]]) -> Request:
    raw = splice.apply(request.raw, [splice.set_member(request.raw, "input", [*items])])
    return Request(raw, {**request.body, "input": [*items]}, request.stream, request.query)


def rounds(own: frozenset[str]) -> Rounds:
    return ResponsesRounds(own)


class ResponsesRounds(Rounds):
    def __init__(self, own: frozenset[str]) -> None:
        super().__init__(own)
        self._shown: list[dict[str, Any]] = []  # items that the client has, of the rounds before
        self._places: dict[int, int | None] = {}  # of this round's items in the client's reply; None for our calls
        self._items: dict[int, dict[str, Any]] = {}  # of this round, complete
        self._ids: dict[str, str] = {}  # of this round's items, where another item of the reply has the same
        self._taken: set[str] = set()
        self._shift: int | None = 0  # from the upstream's event numbers to the client's
        self._sent = -1

    @property
    def said(self) -> list[dict[str, Any]]:
        return [self._items[index] for index in sorted(self._items)]

    def again(self) -> None:
        super().again()
        self._shown = self._visible(self.said)
        self._places, self._items, self._ids, self._shift = {}, {}, {}, None

    def feed(self, event: bytes) -> Iterator[bytes]:
        body = object_or_empty(sse.data_of(event) or b"{}")
        told = self._event(body) if body.get("type") else (None if self.calls else body)
        if told is not None:
            yield event if told == body else responses.encode(told)

    def _event(self, body: dict[str, Any]) -> dict[str, Any] | None:
        kind, index = body["type"], body.get("output_index")
        if kind in BEGIN:
            self.shown_id = self.shown_id or string_of(dict_of(body.get("response")).get("id"))
            return self._numbered(self._hiding(body)) if self.first else None
        if kind in responses.LAST_EVENTS:
            return self._end(kind, body)
        if not isinstance(index, int):
            return self._numbered(body)
        item = dict_of(body.get("item"))
        if index not in self._places:
            self._places[index] = None if self._is_own(item) else self._next_place()
            self._name(string_of(item.get("id")))
        if kind == "response.output_item.done":
            self._items[index] = item
        place = self._places[index]
        if place is None:
            self._shift = None if self._shift is None else self._shift - ("sequence_number" in body)
            return None
        return self._numbered(self._renamed(body if place == index else {**body, "output_index": place}))

    def _numbered(self, body: dict[str, Any]) -> dict[str, Any]:
        number = body.get("sequence_number")
        if not isinstance(number, int):
            return body
        if self._shift is None:
            self._shift = self._sent + 1 - number
        self._sent = number + self._shift
        return {**body, "sequence_number": self._sent} if self._shift else body

    def _name(self, item_id: str) -> None:
        """Chat servers that give every reply the same id would lead to the same ids of items."""
        if item_id in self._taken:
            self._ids[item_id] = f"{item_id}_{len(self._taken)}"
        self._taken.add(self._ids.get(item_id, item_id))

    def _renamed(self, body: dict[str, Any]) -> dict[str, Any]:
        if not self._ids:
            return body
        if name := self._ids.get(string_of(body.get("item_id"))):
            body = {**body, "item_id": name}
        return {**body, "item": self._with_name(body["item"])} if isinstance(body.get("item"), dict) else body

    def _with_name(self, item: dict[str, Any]) -> dict[str, Any]:
        name = self._ids.get(string_of(item.get("id")))
        return {**item, "id": name} if name else item

    def _next_place(self) -> int:
        return len(self._shown) + sum(place is not None for place in self._places.values())

    def _is_own(self, item: Mapping[str, Any]) -> bool:
        return item.get("type") == "function_call" and item.get("name") in self.own and not item.get("namespace")

    def _visible(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [*self._shown, *(self._with_name(item) for item in items if not self._is_own(item))]

    def _hiding(self, body: dict[str, Any]) -> dict[str, Any]:
        """The event without our tools in the response that it tells of."""
        response = body.get("response")
        return {**body, "response": self._without_tools(response)} if isinstance(response, dict) else body

    def _without_tools(self, response: dict[str, Any]) -> dict[str, Any]:
        tools = response.get("tools")
        if not isinstance(tools, list):
            return response
        return {**response, "tools": [tool for tool in tools if dict_of(tool).get("name") not in self.own]}

    def _end(self, kind: str, body: dict[str, Any]) -> dict[str, Any] | None:
        response = body.get("response")
        if not isinstance(response, dict):  # an error and nothing else
            self.calls = []
            return self._numbered(body)
        told = self._response(response, self.shown_id, called=kind == "response.completed")
        return None if self.calls else self._numbered(body if told == response else {**body, "response": told})

    def _response(self, response: dict[str, Any], shown_id: str, *, called: bool) -> dict[str, Any]:
        """The client's response as it stands after this one. Some servers leave the items out of the last event."""
        items = dicts_of(response.get("output")) or self.said
        self._items = dict(enumerate(items))
        self.usage, self.id = dict_of(response.get("usage")), string_of(response.get("id"))
        own = [_call(item) for item in items if self._is_own(item)]
        theirs = sum(item.get("type") in THEIRS and not self._is_own(item) for item in items)
        self.settle(own, theirs, called=called)
        self.shown_id = shown_id or self.id
        told = self._without_tools(response)
        if self.first and not own:
            return told
        usage = self.total() or response.get("usage")
        return {**told, "id": self.shown_id, "output": self._visible(items), "usage": usage}

    def whole(self, raw: bytes) -> bytes:
        body = exactly(raw)
        if not isinstance(body.get("output"), list):
            return raw
        for item in dicts_of(body["output"]):
            self._name(string_of(item.get("id")))
        told = self._response(body, "", called=body.get("status", "completed") == "completed")
        return raw if told == body else json.dumps(told).encode()


def _call(item: Mapping[str, Any]) -> OwnCall:
    call_id = str(item.get("call_id") or item.get("id"))
    return OwnCall(call_id, string_of(item.get("name")), string_of(item.get("arguments")))

