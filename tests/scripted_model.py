"""A model for agents: asks for the client's own tool, then ends; in all three wire formats, streamed and whole.

What it plays is read from the request alone: one that offers a tool which runs commands gets a call of it for each of
`commands` in turn, by how many results it holds already, and then the closing words; one that offers none gets a text
(a title, a summary, or what the test gave it to say). Every request is kept in `seen`, as it came.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

CALL_ID = "call_scripted_0001"
CLOSING = "The proof is written."
ASIDE = "Proof of work"
COMMAND_FIELDS = ("command", "cmd")
RESULTS = ("function_call_output", "custom_tool_call_output")
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


@dataclass(frozen=True)
class Call:
    """A tool call: the tool's name and its arguments; or, for a tool of Codex's that takes code, `code`."""

    name: str
    arguments: dict[str, Any]
    code: str = ""


Move = Call | str


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        parsed = json.loads(self.raw) if self.raw else {}
        return parsed if isinstance(parsed, dict) else {}

    @property
    def asks_model(self) -> bool:
        return self.method == "POST" and not self.path.endswith("/count_tokens")


@dataclass
class ScriptedModel:
    """`commands` are what the tool calls run, in order; `texts` is said, in order, where no tool is offered."""

    commands: list[str]
    texts: list[str] = field(default_factory=list)
    url: str = ""
    seen: list[Asked] = field(default_factory=list)

    @property
    def asked(self) -> list[Asked]:
        """The requests for a reply, without listings and token counts."""
        return [one for one in self.seen if one.asks_model]

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(request.method, request.path_qs, dict(request.headers), await request.read())
        self.seen.append(asked)
        path = request.path.rstrip("/")
        if request.method == "GET" and path.endswith("/models"):
            return web.json_response({"object": "list", "data": [_listed("scripted")]})
        if path.endswith("/messages/count_tokens"):
            return web.json_response({"input_tokens": 11})
        for ending, whole, stream in FORMATS:
            if path.endswith(ending) and request.method == "POST":
                move = self.move(asked.body)
                if asked.body.get("stream"):
                    return await _streamed(request, stream(move))
                return web.json_response(whole(move))
        return web.json_response({"error": {"message": f"no {path} here", "type": "not_found"}}, status=404)

    def move(self, body: Mapping[str, Any]) -> Move:
        """What to say to this request."""
        offered = [tool for tool in tools_of(body) if runs_commands(tool)]
        code = takes_code(body)
        if not offered and not code:
            return self.texts.pop(0) if self.texts else ASIDE
        if (done := results_in(body)) >= len(self.commands):
            return CLOSING
        command = self.commands[done]
        if code:
            return Call("exec", {}, f"text(await tools.exec_command({json.dumps({'cmd': command})}))")
        return call_of(offered[0], command)


def results_in(body: Mapping[str, Any]) -> int:
    """How often a tool has answered already, in any of the formats."""
    entries = [*_list(body, "messages"), *_list(body, "input")]
    parts = [part for entry in entries for part in _list(entry, "content")]
    own = sum(bool(e.get("role") == "tool" or e.get("type") in RESULTS) for e in entries)
    return own + sum(bool(part.get("type") == "tool_result") for part in parts)


def tools_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The functions that a request offers, each with `name` and `parameters`."""
    found = []
    for tool in _list(body, "tools"):
        function = tool.get("function", tool)
        parameters = function.get("parameters") or function.get("input_schema")
        if isinstance(parameters, dict) and function.get("name"):
            found.append({"name": function["name"], "parameters": parameters})
    return found


def takes_code(body: Mapping[str, Any]) -> bool:
    """Whether Codex offers its tool that runs JavaScript, as it does to the models that it knows."""
    added = [entry for entry in _list(body, "input") if entry.get("type") == "additional_tools"]
    spaces = [tool for entry in added for tool in _list(entry, "tools")]
    return any(tool.get("name") == "exec" for space in spaces for tool in [space, *_list(space, "tools")])


def runs_commands(tool: Mapping[str, Any]) -> bool:
    return any(name in tool["parameters"].get("properties", {}) for name in COMMAND_FIELDS)


def call_of(tool: Mapping[str, Any], command: str) -> Call:
    """A call of a tool that runs commands, with `command`, and with something in every other field that it requires."""
    properties = tool["parameters"]["properties"]
    name = next(name for name in COMMAND_FIELDS if name in properties)
    as_list = properties[name].get("type") == "array"
    arguments: dict[str, Any] = {name: ["bash", "-lc", command] if as_list else command}
    for required in tool["parameters"].get("required", []):
        arguments.setdefault(required, _filler(properties.get(required, {})))
    return Call(tool["name"], arguments)


def _filler(schema: Mapping[str, Any]) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    return {"boolean": False, "integer": 30, "number": 30, "array": [], "object": {}}.get(
        str(schema.get("type")), "Write the proof"
    )


def _list(body: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = body.get(name)
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _listed(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "scripted", "type": "model", "display_name": name}


async def _streamed(request: web.Request, events: Iterable[bytes]) -> web.StreamResponse:
    out = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await out.prepare(request)
    for event in events:
        await out.write(event)
    await out.write_eof()
    return out


def _event(body: Mapping[str, Any], *, named: bool = True) -> bytes:
    name = f"event: {body['type']}\n".encode() if named else b""
    return name + b"data: " + json.dumps(body).encode() + b"\n\n"


# --- POST /v1/chat/completions


def chat_whole(move: Move) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": move if isinstance(move, str) else None}
    if isinstance(move, Call):
        message["tool_calls"] = [_chat_call(move)]
    choice = {"index": 0, "message": message, "finish_reason": _chat_reason(move)}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "scripted", "choices": [choice],
            "usage": USAGE}


def chat_stream(move: Move) -> Iterable[bytes]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if isinstance(move, Call):
        whole = _chat_call(move)
        text = whole["function"]["arguments"]
        opening = {**whole, "index": 0, "function": {**whole["function"], "arguments": ""}}
        deltas.append({"tool_calls": [opening]})
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in _pieces(text)]
    else:
        deltas += [{"content": piece} for piece in _pieces(move)]
    for delta in deltas:
        yield _chunk([{"index": 0, "delta": delta, "finish_reason": None}])
    yield _chunk([{"index": 0, "delta": {}, "finish_reason": _chat_reason(move)}])
    yield _chunk([], usage=USAGE)
    yield b"data: [DONE]\n\n"


def _chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
    return _event(
        {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted", "choices": choices,
         **more},
        named=False,
    )


def _chat_call(call: Call) -> dict[str, Any]:
    return {"id": CALL_ID, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}


def _chat_reason(move: Move) -> str:
    return "tool_calls" if isinstance(move, Call) else "stop"


# --- POST /v1/messages


def messages_whole(move: Move) -> dict[str, Any]:
    return {**_messages_head(), "content": [_block(move)], "stop_reason": _messages_reason(move),
            "usage": {"input_tokens": 11, "output_tokens": 7}}


def messages_stream(move: Move) -> Iterable[bytes]:
    yield _event({"type": "message_start", "message": _messages_head()})
    block = _block(move)
    if isinstance(move, Call):
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in _pieces(json.dumps(move.arguments))]
        opening = {**block, "input": {}}
    else:
        deltas = [{"type": "text_delta", "text": piece} for piece in _pieces(move)]
        opening = {**block, "text": ""}
    yield _event({"type": "content_block_start", "index": 0, "content_block": opening})
    yield _event({"type": "ping"})
    for delta in deltas:
        yield _event({"type": "content_block_delta", "index": 0, "delta": delta})
    yield _event({"type": "content_block_stop", "index": 0})
    ended = {"stop_reason": _messages_reason(move), "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": ended, "usage": {"output_tokens": 7}})
    yield _event({"type": "message_stop"})


def _messages_head() -> dict[str, Any]:
    return {"id": "msg_1", "type": "message", "role": "assistant", "model": "scripted", "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 11, "output_tokens": 1}}


def _block(move: Move) -> dict[str, Any]:
    if isinstance(move, Call):
        return {"type": "tool_use", "id": f"toolu_{CALL_ID}", "name": move.name, "input": move.arguments}
    return {"type": "text", "text": move}


def _messages_reason(move: Move) -> str:
    return "tool_use" if isinstance(move, Call) else "end_turn"


# --- POST /v1/responses


def responses_whole(move: Move) -> dict[str, Any]:
    return {**_responses_head("completed"), "output": [_item(move)],
            "usage": {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18,
                      "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}}


def responses_stream(move: Move) -> Iterable[bytes]:
    for number, event in enumerate(_responses_events(move)):
        yield _event({**event, "sequence_number": number})


def _responses_events(move: Move) -> Iterable[dict[str, Any]]:
    item = _item(move)
    where = {"item_id": item["id"], "output_index": 0}
    yield {"type": "response.created", "response": _responses_head("in_progress")}
    yield {"type": "response.in_progress", "response": _responses_head("in_progress")}
    if isinstance(move, Call) and move.code:
        yield {"type": "response.output_item.added", "output_index": 0, "item": {**item, "input": ""}}
        for piece in _pieces(move.code):
            yield {"type": "response.custom_tool_call_input.delta", **where, "delta": piece}
        yield {"type": "response.custom_tool_call_input.done", **where, "input": move.code}
    elif isinstance(move, Call):
        opening = {**item, "status": "in_progress", "arguments": ""}
        yield {"type": "response.output_item.added", "output_index": 0, "item": opening}
        for piece in _pieces(item["arguments"]):
            yield {"type": "response.function_call_arguments.delta", **where, "delta": piece}
        yield {"type": "response.function_call_arguments.done", **where, "arguments": item["arguments"]}
    else:
        opening = {**item, "status": "in_progress", "content": []}
        inside = {**where, "content_index": 0}
        part = {"type": "output_text", "text": "", "annotations": []}
        yield {"type": "response.output_item.added", "output_index": 0, "item": opening}
        yield {"type": "response.content_part.added", **inside, "part": part}
        for piece in _pieces(move):
            yield {"type": "response.output_text.delta", **inside, "delta": piece}
        yield {"type": "response.output_text.done", **inside, "text": move}
        yield {"type": "response.content_part.done", **inside, "part": {**part, "text": move}}
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.completed", "response": responses_whole(move)}


def _responses_head(status: str) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "scripted", "output": [],
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None, "incomplete_details": None,
            "instructions": None, "metadata": {}, "temperature": 1.0, "top_p": 1.0, "usage": None}


def _item(move: Move) -> dict[str, Any]:
    if isinstance(move, Call) and move.code:
        return {"type": "custom_tool_call", "id": "ctc_1", "call_id": CALL_ID, "name": move.name, "input": move.code,
                "status": "completed", "namespace": "functions"}
    if isinstance(move, Call):
        return {"type": "function_call", "id": "fc_1", "call_id": CALL_ID, "name": move.name, "status": "completed",
                "arguments": json.dumps(move.arguments)}
    content = [{"type": "output_text", "text": move, "annotations": []}]
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": content}


def _pieces(text: str) -> list[str]:
    """In three, so that a client has to put it together again."""
    third = max(1, len(text) // 3)
    return [piece for piece in (text[:third], text[third : 2 * third], text[2 * third :]) if piece]


FORMATS = (
    ("/chat/completions", chat_whole, chat_stream),
    ("/messages", messages_whole, messages_stream),
    ("/responses", responses_whole, responses_stream),
)


@asynccontextmanager
async def scripted_model(commands: Iterable[str] = (), texts: Iterable[str] = ()) -> AsyncIterator[ScriptedModel]:
    model = ScriptedModel(list(commands), list(texts))
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", model.__call__)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        model.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield model
    finally:
        await runner.cleanup()
