"""A chat model's reply as a Responses reply: output items, and the events that announce them piece by piece.

In: what a chat reply says, whole or in deltas. Out: events as dicts, and the response object as far as it has come. A
whole reply goes through the same steps as a streamed one, so that both say the same.

Items follow each other as Codex expects them: a message or a thought ends before the next item begins. Calls stay open
until the reply ends, since chat may interleave the deltas of several.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from metaclaw.dialects import call_deltas
from metaclaw.dialects.responses import failed
from metaclaw.dialects.responses_tools import Tool, free_text, offered

Event = dict[str, Any]
PREFIXES = {
    "message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc", "tool_search_call": "tsc",
}
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}  # finish_reason -> reason
ECHOED: Mapping[str, Any] = {
    "instructions": None, "max_output_tokens": None, "metadata": {}, "parallel_tool_calls": True, "reasoning": None,
    "temperature": None, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": None,
    "truncation": "disabled", "user": None,
}
NOT_KEPT = {"background": False, "previous_response_id": None, "store": False}


@dataclass(slots=True)
class Words:
    """A message or a thought in the making; `kind` is that of its one part."""

    kind: str
    id: str
    index: int
    text: str = ""

    def part(self) -> dict[str, Any]:
        if self.kind == "output_text":
            return {"type": self.kind, "text": self.text, "annotations": [], "logprobs": []}
        return {"type": self.kind, self.field: self.text}

    @property
    def field(self) -> str:
        return "refusal" if self.kind == "refusal" else "text"

    def item(self, status: str, *, begun: bool = False) -> dict[str, Any]:
        content = [] if begun else [self.part()]
        if self.kind == "reasoning_text":
            return {"id": self.id, "type": "reasoning", "summary": [], "content": content, "status": status}
        return {"id": self.id, "type": "message", "role": "assistant", "content": content, "status": status}

    def place(self) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.index, "content_index": 0}


@dataclass(slots=True)
class Call:
    """A call in the making: not an item before its name has come."""

    call_id: str
    number: int | None
    tool: Tool | None = None
    id: str = ""
    index: int = -1
    arguments: str = ""
    told: int = 0  # characters of the arguments that went out as deltas

    @property
    def name(self) -> str:
        return self.tool.name if self.tool else ""

    def item(self, status: str, *, begun: bool = False) -> dict[str, Any]:
        assert self.tool  # noqa: S101
        ids = {"id": self.id, "call_id": self.call_id, "status": status}
        return {**self.tool.item("" if begun else self.arguments), **ids}

    def place(self) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.index}


@dataclass(slots=True)
class Reply:
    """One reply. `asked` is the client's request; `error` is set when the reply failed."""

    asked: Mapping[str, Any]
    tools: Mapping[str, Tool] = field(init=False)
    head: dict[str, Any] = field(default_factory=dict)
    output: list[dict[str, Any]] = field(default_factory=list)  # by output index; empty while an item is open
    words: Words | None = None
    calls: list[Call] = field(default_factory=list)
    usage: dict[str, Any] | None = None
    finish: str = ""
    status: str = "in_progress"
    error: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.tools = offered(self.asked)

    def chunk(self, body: Mapping[str, Any], part: str) -> Iterator[Event]:
        """One chunk of a stream (`part` is "delta"), or a whole reply ("message")."""
        if not self.head:
            yield from self._begin(body)
        if isinstance(body.get("usage"), dict):
            self.usage = usage_of(body["usage"])
        choices = body.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict) and not choice.get("index"):
                said = choice.get(part)
                yield from self._said(said if isinstance(said, dict) else {}, whole=part == "message")
                self.finish = str(choice.get("finish_reason") or self.finish)

    def complete(self) -> Iterator[Event]:
        """The end of a reply that came to its end."""
        status = "incomplete" if self.finish in INCOMPLETE else "completed"
        last = self.words or (self.calls[-1] if self.calls else None)
        yield from self._end_words(status)
        for call in self.calls:
            yield from self._end_call(call, status if call is last else "completed")
        self.status = status
        yield {"type": f"response.{status}", "response": self.response()}

    def fail(self, error: Any) -> Iterator[Event]:
        """The end of a reply that the upstream reported as failed."""
        if not self.head:
            yield from self._begin({})
        told = error if isinstance(error, dict) else {"message": str(error)}
        code = told.get("code") or told.get("type") or "server_error"
        self.error = {"code": str(code), "message": str(told.get("message") or "The upstream failed.")}
        self.status = "failed"
        yield failed(self.response(), 0)

    def response(self) -> dict[str, Any]:
        reason = INCOMPLETE.get(self.finish) if self.status == "incomplete" else None
        echoed = {key: value if (sent := self.asked.get(key)) is None else sent for key, value in ECHOED.items()}
        return {
            **self.head, **echoed, **NOT_KEPT, "object": "response", "status": self.status, "error": self.error,
            "incomplete_details": {"reason": reason} if reason else None,
            "output": [item for item in self.output if item], "usage": self.usage,
        }

    def _begin(self, body: Mapping[str, Any]) -> Iterator[Event]:
        created, model = body.get("created"), body.get("model") or self.asked.get("model")
        self.head = {
            "id": f"resp_{_bare(body.get('id'))}", "created_at": created if isinstance(created, int) else 0,
            "model": str(model or ""),
        }
        yield {"type": "response.created", "response": self.response()}
        yield {"type": "response.in_progress", "response": self.response()}

    def _said(self, said: Mapping[str, Any], *, whole: bool) -> Iterator[Event]:
        yield from self._say("reasoning_text", said.get("reasoning_content") or said.get("reasoning"))
        yield from self._say("output_text", said.get("content"))
        yield from self._say("refusal", said.get("refusal"))
        calls = said.get("tool_calls")
        for position, call in enumerate(calls if isinstance(calls, list) else []):
            if isinstance(call, dict):
                yield from self._call({**call, "index": position} if whole else call)

    def _say(self, kind: str, text: Any) -> Iterator[Event]:
        text = _text_in(text)
        if not text:
            return
        if self.words is None or self.words.kind != kind:
            yield from self._end_words("completed")
            self.words = words = Words(kind, *self._new_item("reasoning" if kind == "reasoning_text" else "message"))
            yield _added(words.index, words.item("in_progress", begun=True))
            yield {"type": "response.content_part.added", **words.place(), "part": words.part()}
        self.words.text += text
        yield {"type": f"response.{kind}.delta", **self.words.place(), "delta": text, **_logprobs(kind)}

    def _end_words(self, status: str) -> Iterator[Event]:
        words, self.words = self.words, None
        if words:
            told = {words.field: words.text, **_logprobs(words.kind)}
            yield {"type": f"response.{words.kind}.done", **words.place(), **told}
            yield {"type": "response.content_part.done", **words.place(), "part": words.part()}
            yield self._done(words.index, words.item(status))

    def _call(self, delta: Mapping[str, Any]) -> Iterator[Event]:
        call, function = self._known(delta), _function(delta)
        arguments = function.get("arguments") or ""
        call.arguments += arguments if isinstance(arguments, str) else json.dumps(arguments)
        if call.tool is None and isinstance(name := function.get("name"), str) and name:
            yield from self._end_words("completed")
            call.tool = self.tools.get(name) or Tool("function", name, "", {})
            call.id, call.index = self._new_item(str(call.item("", begun=True)["type"]))
            call.call_id = call.call_id or f"call_{call.id}"
            yield _added(call.index, call.item("in_progress", begun=True))
        if call.tool and call.tool.kind == "function":
            yield from _arguments(call)

    def _known(self, delta: Mapping[str, Any]) -> Call:
        """The call that a delta belongs to, or a new one."""
        number, call = delta.get("index"), call_deltas.known(self.calls, delta)
        if call is None:
            call = Call("", number if isinstance(number, int) else None)
            self.calls.append(call)
        call.call_id = call.call_id or str(delta.get("id") or "")
        return call

    def _end_call(self, call: Call, status: str) -> Iterator[Event]:
        if call.tool is None:
            return
        if call.tool.kind == "function":
            yield {"type": "response.function_call_arguments.done", **call.place(), "arguments": call.arguments}
        elif call.tool.kind == "custom":
            text = free_text(call.arguments)  # inside JSON so far, so nothing of it could be shown before
            yield {"type": "response.custom_tool_call_input.delta", **call.place(), "delta": text}
            yield {"type": "response.custom_tool_call_input.done", **call.place(), "input": text}
        yield self._done(call.index, call.item(status))

    def _new_item(self, kind: str) -> tuple[str, int]:
        """Id and output index of the next item."""
        index = len(self.output)
        self.output.append({})
        return f"{PREFIXES[kind]}_{self.head['id'].removeprefix('resp_')}_{index}", index

    def _done(self, index: int, item: dict[str, Any]) -> Event:
        self.output[index] = item
        return {"type": "response.output_item.done", "output_index": index, "item": item}


def usage_of(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Chat's usage in the words of Responses."""
    read, written = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    cached = _count(usage.get("prompt_tokens_details"), "cached_tokens")
    thought = _count(usage.get("completion_tokens_details"), "reasoning_tokens")
    return {
        "input_tokens": read, "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": written, "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": _count(usage, "total_tokens") or read + written,
    }


def _count(counts: Any, name: str) -> int:
    found = counts.get(name) if isinstance(counts, dict) else 0
    return found if isinstance(found, int) else 0


def _arguments(call: Call) -> Iterator[Event]:
    fresh, call.told = call.arguments[call.told :], len(call.arguments)
    if fresh:
        yield {"type": "response.function_call_arguments.delta", **call.place(), "delta": fresh}


def _function(delta: Mapping[str, Any]) -> dict[str, Any]:
    function = delta.get("function")
    return function if isinstance(function, dict) else {}


def _added(index: int, item: Mapping[str, Any]) -> Event:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def _logprobs(kind: str) -> dict[str, Any]:
    return {"logprobs": []} if kind == "output_text" else {}


def _text_in(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def _bare(reply_id: Any) -> str:
    """The upstream's own id without its prefix, short enough for the ids made from it (64 characters, says OpenAI)."""
    return str(reply_id or uuid.uuid4().hex).removeprefix("chatcmpl-")[-40:]
