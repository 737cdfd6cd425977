"""Tool calls for the embedded model: chat with `tools` onto chat without them, as a `Translation`.

In: a chat request with tools. Out: one whose system message tells of them (`tool_prompt`), with a grammar under which
every reply begins with a line that decides: `tool: none` and then free text, or `tool: NAME` and then that tool's
arguments by its schema. Back: real `tool_calls`, or the text without its first line. One call a reply.

Why so: Qwen2.5-Coder-1.5B writes calls as JSON in plain text, also where nothing is to be called, and llama.cpp's own
`tool_choice: required` runs into the token limit. Measured with `scripts/measure_engine_tools.py`, greedy, on 32
prompts by which the wording was chosen and 24 held out, half of each wanting a call:

                                          right tool and arguments     called without need
    llama.cpp as it is                     0 of 16 / 0 of 12            0 of 16 / 0 of 12
    the same, its JSON taken for calls    16 of 16 / 11 of 12           8 of 16 / 11 of 12
    this module                           15 of 16 / 11 of 12           1 of 16 / 2 of 12
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from metaclaw.dialects import chat, sse
from metaclaw.dialects.base import object_or_empty
from metaclaw.dialects.translation import Chain, Leg
from metaclaw.errors import RequestError
from metaclaw.upstream.grammar import Grammar, quoted
from metaclaw.upstream.tool_prompt import HEAD, NONE, PLAIN, Tools, messages_for

REPLACED = frozenset("tools tool_choice parallel_tool_calls response_format messages stop".split())


def onto(leg: Leg, body: Mapping[str, Any]) -> Leg:
    """The way to the engine: `leg`, and behind it the rewriting of tools where the request has any."""
    if leg.translation is not None:
        return Leg(leg.client, leg.upstream, Chain(leg.translation, ENGINE_TOOLS))
    return Leg(leg.client, leg.upstream, ENGINE_TOOLS) if _has_tools(body) else leg


class EngineTools:
    """Requests without tools, and their replies, pass unchanged."""

    def request(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if not _has_tools(body):
            return dict(body)
        try:
            return _without_tools(body)
        except RecursionError as error:
            raise RequestError(400, "invalid_tools", "The schemas of 'tools' are nested too deeply.") from error

    def whole(self, body: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
        tools = _offered(asked)
        choices = body.get("choices")
        if not tools or not isinstance(choices, list):
            return dict(body)
        return {**body, "choices": [_whole_choice(choice, Listener(tools, body.get("id"))) for choice in choices]}

    def stream(self, asked: Mapping[str, Any]) -> ToolStream:
        return ToolStream(_offered(asked))


ENGINE_TOOLS = EngineTools()


class Listener:
    """Hears one reply, piece by piece, and tells it in deltas of chat.

    It holds back the first line, and no more. A reply that was cut within that line says nothing.
    """

    def __init__(self, tools: Tools, reply_id: object) -> None:
        self._heads = {PLAIN: "", **{f"{HEAD}{name}\n": name for name in tools}}
        self._call_id = f"call_{str(reply_id or '').removeprefix('chatcmpl-')}"
        self._held = ""
        self._decided = False
        self.calling = False

    def hear(self, text: str) -> Iterator[dict[str, Any]]:
        if self._decided:
            yield from self._told(text)
            return
        self._held += text
        for head, name in self._heads.items():
            if self._held.startswith(head):
                yield from self._decide(name, self._held.removeprefix(head))
                return
        if not any(head.startswith(self._held) for head in self._heads):
            yield from self._decide("", self._held)

    def _decide(self, name: str, rest: str) -> Iterator[dict[str, Any]]:
        self._decided, self.calling = True, bool(name)
        if name:
            function = {"name": name, "arguments": ""}
            yield {"tool_calls": [{"index": 0, "id": self._call_id, "type": "function", "function": function}]}
        yield from self._told(rest)

    def _told(self, text: str) -> Iterator[dict[str, Any]]:
        if text:
            call = {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
            yield call if self.calling else {"content": text}


class ToolStream:
    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._listeners: dict[str, Listener] = {}

    def feed(self, event: bytes) -> Iterator[bytes]:
        body = object_or_empty(sse.data_of(event))
        choices = body.get("choices")
        if not self._tools or not isinstance(choices, list) or not choices:
            yield event
            return
        told = [part for choice in choices if isinstance(choice, dict) for part in self._choice(choice, body)]
        for number, choice in enumerate(told, 1):
            envelope = body if number == len(told) else {key: body[key] for key in body if key != "usage"}
            yield b"data: " + json.dumps({**envelope, "choices": [choice]}).encode() + b"\n\n"

    def end(self) -> Iterator[bytes]:
        return iter(())

    def _choice(self, choice: dict[str, Any], body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        index, delta, finish = choice.get("index"), choice.get("delta"), choice.get("finish_reason")
        listener = self._listeners.setdefault(str(index), Listener(self._tools, body.get("id")))
        said = delta if isinstance(delta, dict) else {}
        text = said.get("content")
        others = {key: value for key, value in said.items() if key != "content" or not isinstance(value, str)}
        deltas = [*([others] if others else []), *listener.hear(text if isinstance(text, str) else "")]
        for one in deltas:
            yield {"index": index, "delta": one, "finish_reason": None}
        if finish:
            yield {**choice, "delta": {}, "finish_reason": _finish(finish, listener)}


def _whole_choice(choice: Any, listener: Listener) -> Any:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        return choice
    deltas = list(listener.hear(chat.text_of(message.get("content"))))
    text = "".join(delta.get("content", "") for delta in deltas)
    told = {**message, "content": text or None}
    if listener.calling:
        first, *rest = (delta["tool_calls"][0] for delta in deltas)
        arguments = "".join(call["function"]["arguments"] for call in rest)
        called = {"name": first["function"]["name"], "arguments": arguments}
        told["tool_calls"] = [{"id": first["id"], "type": "function", "function": called}]
    return {**choice, "message": told, "finish_reason": _finish(choice.get("finish_reason"), listener)}


def _finish(reason: Any, listener: Listener) -> Any:
    return "tool_calls" if listener.calling and reason == "stop" else reason


# -- the request -------------------------------------------------------------------------------------------------------


def _without_tools(body: Mapping[str, Any]) -> dict[str, Any]:
    tools, choice = _chosen(body)
    sent = {key: value for key, value in body.items() if key not in REPLACED}
    sent["messages"] = messages_for(body["messages"], tools, choice)
    if tools:
        sent["grammar"] = _grammar(tools, choice, body.get("response_format"))
        return sent | _stops(body.get("stop"))
    return sent | {key: body[key] for key in ("response_format", "stop") if key in body}


def _stops(stop: Any) -> dict[str, Any]:
    """The client's stop words, less those that would end the first line."""
    stops = stop if isinstance(stop, list) else [stop]
    kept = [word for word in stops if isinstance(word, str) and word not in PLAIN]
    return {"stop": kept} if kept else {}


def _has_tools(body: Mapping[str, Any]) -> bool:
    messages = body.get("messages")
    said = messages if isinstance(messages, list) else []
    return bool(body.get("tools")) or any(one.get("role") == "tool" or one.get("tool_calls") for one in said)


def _offered(body: Mapping[str, Any]) -> Tools:
    return _chosen(body)[0]


def _chosen(body: Mapping[str, Any]) -> tuple[Tools, str]:
    """The functions that may be called, and "auto" or "required". Raises `RequestError` (400) for what cannot be."""
    tools, choice = _functions(body.get("tools")), body.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        named = choice.get("function")
        name = str(named.get("name")) if isinstance(named, dict) else ""
        if name not in tools:
            raise RequestError(400, "invalid_tool_choice", f"'tool_choice' names '{name}', which is not in 'tools'.")
        return {name: tools[name]}, "required"
    if choice == "required" and not tools:
        raise RequestError(400, "invalid_tool_choice", "'tool_choice' is \"required\", but there are no 'tools'.")
    return ({}, "auto") if choice == "none" else (tools, choice)


def _functions(tools: Any) -> Tools:
    found: dict[str, Mapping[str, Any]] = {}
    for index, tool in enumerate(tools if isinstance(tools, list) else []):
        function = tool.get("function") if isinstance(tool, dict) else None
        function = function if isinstance(function, dict) else {}
        name = function.get("name")
        if not isinstance(name, str) or not name or "\n" in name or name == NONE:
            raise RequestError(400, "invalid_tools", f"tools[{index}] must be a function with a name.")
        found[name] = function
    return found


def _grammar(tools: Tools, choice: str, response_format: Any) -> str:
    grammar = Grammar()
    ways = [_way(name, grammar.of(tool.get("parameters"))) for name, tool in tools.items()]
    if choice != "required":
        ways.insert(0, _way(NONE, _answer(grammar, response_format)))
    grammar.rules["root"] = f"{quoted(HEAD)} ({' | '.join(ways)})"
    return grammar.text()


def _way(name: str, then: str) -> str:
    return quoted(name + "\n") + " " + then


def _answer(grammar: Grammar, response_format: Any) -> str:
    form = response_format if isinstance(response_format, dict) else {}
    if form.get("type") == "json_schema":
        told = form.get("json_schema")
        return grammar.of(told.get("schema") if isinstance(told, dict) else None)
    return "object" if form.get("type") == "json_object" else r"[^\n\x00] [^\x00]*"
