"""Tools of ours in Anthropic's Messages: an `OwnTools`, made of this module's functions.

The streams of all rounds become one: one `message_start`, content blocks numbered in a row, one `message_delta` with
the usage of all rounds. What the model said before a call goes back to it block by block as it came, since Anthropic
demands its thinking unchanged, with the signature.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metaclaw.dialects import sse
from metaclaw.dialects.base import Request, object_or_empty
from metaclaw.dialects.loose import count_of, dict_of, dicts_of, list_of, string_of
from metaclaw.dialects.own_tools import Answer, OwnCall, Rounds, Spec, exactly, extended

NONE: Mapping[str, Any] = {"type": "none"}
FOR_CALLS = "tool_use"


def admits(body: Mapping[str, Any]) -> bool:
    choice = body.get("tool_choice")
    return choice is None or dict_of(choice).get("type") == "auto"


def names(body: Mapping[str, Any]) -> set[str]:
    return {name for tool in dicts_of(body.get("tools")) if isinstance(name := tool.get("name"), str)}


def declared(tool: Spec) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}


def continued(request: Request, said: Sequence[dict[str, Any]], answers: Sequence[Answer]) -> Request:
    results = [_result(answer) for answer in answers]
    turns = [{"role": "assistant", "content": [*said]}, {"role": "user", "content": results}]
    return extended(request, "messages", turns)


def _result(answer: Answer) -> dict[str, Any]:
    result = {"type": "tool_result", "tool_use_id": answer.call.id, "content": answer.text}
    return {**result, "is_error": True} if answer.failed else result


def rounds(own: frozenset[str]) -> Rounds:
    return MessagesRounds(own)


@dataclass(slots=True)
class _Block:
    """A content block in the making. `index` is the one that the client sees; None for a call of ours."""

    start: dict[str, Any]
    index: int | None
    pieces: dict[str, list[str]] = field(default_factory=dict)
    citations: list[Any] = field(default_factory=list)

    def take(self, delta: Mapping[str, Any]) -> None:
        """A delta names the member of its block that it goes on with, but for those of an input and of citations."""
        if delta.get("type") == "citations_delta":
            self.citations.append(delta.get("citation"))
            return
        for name, value in delta.items():
            if name != "type" and isinstance(value, str):
                self.pieces.setdefault(name, []).append(value)

    def whole(self) -> dict[str, Any]:
        members: dict[str, Any] = {
            name: string_of(self.start.get(name)) + "".join(pieces)
            for name, pieces in self.pieces.items() if name != "partial_json"
        }
        if self.citations:
            members["citations"] = [*list_of(self.start.get("citations")), *self.citations]
        if text := self._input():
            members["input"] = exactly(text)
        return {**self.start, **members}

    def call(self) -> OwnCall:
        arguments = self._input() or json.dumps(self.start.get("input") or {})
        return OwnCall(str(self.start.get("id")), string_of(self.start.get("name")), arguments)

    def _input(self) -> str:
        return "".join(self.pieces.get("partial_json", ()))


class MessagesRounds(Rounds):
    def __init__(self, own: frozenset[str]) -> None:
        super().__init__(own)
        self._blocks: dict[int, _Block] = {}
        self._shown = 0  # blocks that the client has seen
        self._head: dict[str, Any] = {}  # of whole replies: the first one
        self._content: list[Any] = []  # and what the client has of them

    @property
    def said(self) -> list[dict[str, Any]]:
        found = [block.whole() for block in self._blocks.values()]
        return [block for block in found if block.get("type") != "text" or block.get("text")]  # empty ones are refused

    def again(self) -> None:
        super().again()
        self._blocks = {}

    def feed(self, event: bytes) -> Iterator[bytes]:
        body = object_or_empty(sse.data_of(event))
        match body.get("type"):
            case "message_start":
                self._count(dict_of(body.get("message")).get("usage"))
                if self.first:
                    yield event
            case "content_block_start":
                self._begin(count_of(body, "index"), dict_of(body.get("content_block")))
                yield from self._placed(event, body)
            case "content_block_delta":
                if block := self._blocks.get(count_of(body, "index")):
                    block.take(dict_of(body.get("delta")))
                yield from self._placed(event, body)
            case "content_block_stop":
                yield from self._placed(event, body)
            case "message_delta":
                yield from self._end(event, body)
            case "message_stop":
                if not self.calls:
                    yield event
            case kind:
                self.calls = [] if kind == "error" else self.calls
                yield event

    def _begin(self, index: int, start: dict[str, Any]) -> None:
        is_own = self._is_own(start)
        self._blocks[index] = _Block(start, None if is_own else self._shown)
        self._shown += not is_own

    def _is_own(self, block: Mapping[str, Any]) -> bool:
        return block.get("type") == "tool_use" and block.get("name") in self.own

    def _placed(self, event: bytes, body: dict[str, Any]) -> Iterator[bytes]:
        """An event of a block, under the number that the client knows it by."""
        index = count_of(body, "index")
        block = self._blocks.get(index)
        place = block.index if block else index
        if place is not None:
            yield event if place == index else _encoded({**body, "index": place})

    def _end(self, event: bytes, body: dict[str, Any]) -> Iterator[bytes]:
        delta = dict_of(body.get("delta"))
        self._count(body.get("usage"))
        ended_for_ours = self._settle(delta.get("stop_reason"))
        if self.calls:
            return
        told = {**body, "delta": {**delta, "stop_reason": "end_turn"}} if ended_for_ours else body
        if not self.first:
            told = {**told, "usage": self._counts(body.get("usage"))}
        yield event if told is body else _encoded(told)

    def _settle(self, stop: Any) -> bool:
        blocks = self._blocks.values()
        own = [block.call() for block in blocks if block.index is None]
        theirs = sum(block.start.get("type") == "tool_use" and block.index is not None for block in blocks)
        return self.settle(own, theirs, called=stop == FOR_CALLS)

    def _count(self, usage: Any) -> None:
        """Counts are totals of the round so far: a later one replaces an earlier one."""
        self.usage = {**self.usage, **{name: count for name, count in dict_of(usage).items() if count is not None}}

    def _counts(self, told: Any) -> dict[str, Any]:
        """What `message_delta` tells of all rounds: the counts of tokens, and what else the round's own one told."""
        total = self.total()
        return {name: value for name, value in total.items() if name in dict_of(told) or name.endswith("_tokens")}

    def whole(self, raw: bytes) -> bytes:
        body = exactly(raw)
        if not isinstance(body.get("content"), list):
            return raw
        self.usage = dict_of(body.get("usage"))
        for index, block in enumerate(dicts_of(body["content"])):
            self._begin(index, block)
        ended_for_ours = self._settle(body.get("stop_reason"))
        kept = [block for block in body["content"] if not self._is_own(dict_of(block))]
        if self.first and len(kept) == len(body["content"]):
            return raw
        self._content += kept
        self._head = self._head or body
        told = {**body, "id": self._head.get("id"), "content": self._content, "usage": self.total()}
        return json.dumps({**told, "stop_reason": "end_turn"} if ended_for_ours else told).encode()


def _encoded(body: Mapping[str, Any]) -> bytes:
    return f"event: {body['type']}\ndata: {json.dumps(body)}\n\n".encode()
