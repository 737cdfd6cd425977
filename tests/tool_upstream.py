"""An upstream whose model calls tools, round by round, in each wire format, streamed and whole; and what it was sent.

It refuses, as the providers do, a request in which a call stands without its result or a result without its call.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from metaclaw.types import Skill, SkillKind
from recorded_streams import block, ended, started, text_block, tool_block

SCRIPT = '''
def add_up(amounts: list[int], factor: int = 1) -> int:
    """Add up whole amounts.

    amounts: what is added
    """
    if factor == 0:
        raise ValueError("a factor of nothing")
    return sum(amounts) * factor
'''
ASK = "Add up the amounts of the invoice, please."
OWN = "metaclaw_add_up"
SIGNATURE = "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"
CALL_OF_OURS = {"amounts": [2, 3]}
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OPENAI_USAGE = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}
RESPONSES_USAGE = {
    "input_tokens": 10, "input_tokens_details": {"cached_tokens": 2}, "output_tokens": 4,
    "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 14,
}


def code_skill(script: str = SCRIPT, name: str = "add-up") -> Skill:
    return Skill(
        name, "Add up the amounts of an invoice", "Call it for sums of amounts of an invoice.", kind=SkillKind.CODE,
        files=((f"scripts/{name.replace('-', '_')}.py", script),),
    )


@dataclass(frozen=True)
class Call:
    name: str
    arguments: Mapping[str, Any] | str
    id: str = ""

    @property
    def text(self) -> str:
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


@dataclass(frozen=True)
class Round:
    """What the model says; `finish` replaces the reason that its format gives."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    thought: str = ""
    finish: str = ""


@dataclass
class Model:
    """Says the rounds in turn; the last one again and again. `bodies` are the requests."""

    rounds: Sequence[Round]
    bodies: list[dict[str, Any]] = field(default_factory=list)
    piece: int = 0  # bytes written at once; 0: event by event

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        wrong = unanswered(body)
        if wrong:
            return web.json_response({"error": {"message": f"calls without results: {wrong}"}}, status=400)
        move = self.rounds[min(len(self.bodies), len(self.rounds) - 1)]
        number = len(self.bodies) + 1
        self.bodies.append(body)
        wire = request.path.rpartition("/")[2]
        if not body.get("stream"):
            return web.json_response(WHOLE[wire](move, number))
        out = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await out.prepare(request)
        events = list(STREAMS[wire](move, number, body))
        for piece in cut(b"".join(events), self.piece) if self.piece else events:
            await out.write(piece)
        await out.write_eof()
        return out


def cut(raw: bytes, size: int) -> list[bytes]:
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def unanswered(body: Mapping[str, Any]) -> set[str]:
    """The ids of calls without a result and of results without a call, in any of the formats."""
    calls: list[str] = []
    results: list[str] = []
    for entry in [*_list(body, "messages"), *_list(body, "input")]:
        calls += [call["id"] for call in _list(entry, "tool_calls")]
        results += [entry["tool_call_id"]] if entry.get("role") == "tool" else []
        kind = entry.get("type")
        calls += [entry["call_id"]] if kind == "function_call" else []
        results += [entry["call_id"]] if kind == "function_call_output" and not body.get("previous_response_id") else []
        for part in _list(entry, "content"):
            calls += [part["id"]] if part.get("type") == "tool_use" else []
            results += [part["tool_use_id"]] if part.get("type") == "tool_result" else []
    return set(calls) ^ set(results) if len(calls) == len(set(calls)) else {"twice"}


def _list(body: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = body.get(name)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _id(call: Call, number: int, place: int) -> str:
    return call.id or f"call_{number}_{place}"


def _pieces(text: str) -> list[str]:
    return [text[at : at + 5] for at in range(0, len(text), 5)]


# -- chat --------------------------------------------------------------------------------------------------------------


def _chat_head(number: int, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{number}", "object": kind, "created": number, "model": "scripted"}


def _chat_finish(move: Round) -> str:
    return move.finish or ("tool_calls" if move.calls else "stop")


def _chat_calls(move: Round, number: int) -> list[dict[str, Any]]:
    return [
        {"id": _id(call, number, place), "type": "function", "function": {"name": call.name, "arguments": call.text}}
        for place, call in enumerate(move.calls)
    ]


def chat_whole(move: Round, number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": move.text or None}
    if move.thought:
        message["reasoning_content"] = move.thought
    if move.calls:
        message["tool_calls"] = _chat_calls(move, number)
    choice = {"index": 0, "message": message, "finish_reason": _chat_finish(move)}
    return {**_chat_head(number, "chat.completion"), "choices": [choice], "usage": OPENAI_USAGE}


def chat_stream(move: Round, number: int, body: Mapping[str, Any]) -> Iterator[bytes]:
    head = _chat_head(number, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return b"data: " + json.dumps({**head, "choices": [choice]}).encode() + b"\n\n"

    yield chunk({"role": "assistant", "content": ""})
    for piece in _pieces(move.thought):
        yield chunk({"reasoning_content": piece})
    for piece in _pieces(move.text):
        yield chunk({"content": piece})
    for place, call in enumerate(_chat_calls(move, number)):
        opening = {**call, "index": place, "function": {**call["function"], "arguments": ""}}
        yield chunk({"tool_calls": [opening]})
        for piece in _pieces(call["function"]["arguments"]):
            yield chunk({"tool_calls": [{"index": place, "function": {"arguments": piece}}]})
    yield chunk({}, _chat_finish(move))
    if (body.get("stream_options") or {}).get("include_usage"):
        yield b"data: " + json.dumps({**head, "choices": [], "usage": OPENAI_USAGE}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


# -- messages ----------------------------------------------------------------------------------------------------------


def _stop(move: Round) -> str:
    return move.finish or ("tool_use" if move.calls else "end_turn")


def messages_whole(move: Round, number: int) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if move.thought:
        content.append({"type": "thinking", "thinking": move.thought, "signature": SIGNATURE})
    if move.text:
        content.append({"type": "text", "text": move.text})
    content += [
        {"type": "tool_use", "id": _id(call, number, place), "name": call.name, "input": call.arguments}
        for place, call in enumerate(move.calls)
    ]
    return {
        "id": f"msg_{number}", "type": "message", "role": "assistant", "model": "scripted", "content": content,
        "stop_reason": _stop(move), "stop_sequence": None, "usage": {"input_tokens": 25, "output_tokens": 15},
    }


def messages_stream(move: Round, number: int, body: Mapping[str, Any]) -> Iterator[bytes]:
    places = itertools.count()
    yield started(output_tokens=1)
    if move.thought:
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in _pieces(move.thought)]
        signed = {"type": "signature_delta", "signature": SIGNATURE}
        yield from block(next(places), {"type": "thinking", "thinking": "", "signature": ""}, *deltas, signed)
    if move.text:
        yield from text_block(next(places), *_pieces(move.text))
    for place, call in enumerate(move.calls):
        yield from tool_block(next(places), call.name, _id(call, number, place), "", *_pieces(call.text))
    yield from ended(_stop(move))


# -- responses ---------------------------------------------------------------------------------------------------------


def _items(move: Round, number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if move.thought:
        found.append({"id": f"rs_{number}", "type": "reasoning", "summary": [], "encrypted_content": move.thought})
    if move.text:
        part = {"type": "output_text", "text": move.text, "annotations": [], "logprobs": []}
        found.append(
            {"id": f"msg_{number}", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        )
    found += [
        {"id": f"fc_{number}_{place}", "type": "function_call", "call_id": _id(call, number, place), "name": call.name,
         "arguments": call.text, "status": "completed"}
        for place, call in enumerate(move.calls)
    ]
    return found


def responses_whole(move: Round, number: int, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "id": f"resp_{number}", "object": "response", "created_at": number, "status": "completed", "model": "scripted",
        "output": _items(move, number), "parallel_tool_calls": True, "tool_choice": "auto",
        "tools": list((body or {}).get("tools") or []), "usage": RESPONSES_USAGE,
    }


def responses_stream(move: Round, number: int, body: Mapping[str, Any]) -> Iterator[bytes]:
    whole = responses_whole(move, number, body)
    for sequence, event in enumerate(_response_events(move, number, whole)):
        data = json.dumps({**event, "sequence_number": sequence})
        yield f"event: {event['type']}\ndata: {data}\n\n".encode()


def _response_events(move: Round, number: int, whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(whole["output"]):
        place = {"item_id": item["id"], "output_index": index}
        empty: dict[str, Any] = {"content": []} if item["type"] == "message" else {}
        empty |= {"arguments": ""} if item["type"] == "function_call" else {}
        yield {"type": "response.output_item.added", "output_index": index, "item": {**item, **empty}}
        if item["type"] == "message":
            part = item["content"][0]
            at = {**place, "content_index": 0}
            yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
            for piece in _pieces(part["text"]):
                yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
            yield {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}
            yield {"type": "response.content_part.done", **at, "part": part}
        elif item["type"] == "function_call":
            for piece in _pieces(item["arguments"]):
                yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
            told = {"arguments": item["arguments"], "name": item["name"]}
            yield {"type": "response.function_call_arguments.done", **place, **told}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": whole}


WHOLE = {"completions": chat_whole, "messages": messages_whole, "responses": responses_whole}
STREAMS = {"completions": chat_stream, "messages": messages_stream, "responses": responses_stream}
