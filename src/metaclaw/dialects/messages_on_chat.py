"""An Anthropic client on an upstream that speaks chat completions, such as the embedded model: a `Translation`.

Left out, having no counterpart: `metadata`, `top_k`, cache marks, and tools that run on Anthropic's own servers or that
only Claude was taught (those without an `input_schema`). Left out too: thinking budgets and effort, which agents send
unasked, while many upstreams refuse what they do not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from metaclaw.dialects import blocks, message_of_chat
from metaclaw.dialects.chat import limit_name
from metaclaw.dialects.loose import dict_of, dicts_of
from metaclaw.errors import RequestError

SAME = ("model", "temperature", "top_p", "stream")
ROLES = ("user", "assistant", "system")
READABLE = {"image": ("base64", "url"), "document": ("base64", "text", "content")}  # kinds of source


def request(body: Mapping[str, Any]) -> dict[str, Any]:
    _refuse_unreadable(body["messages"])
    sent = {name: body[name] for name in SAME if name in body}
    if "max_tokens" in body:
        sent[limit_name(body.get("model"))] = body["max_tokens"]
    sent["messages"] = blocks.as_chat(body.get("system"), body["messages"])
    if body.get("stop_sequences"):
        sent["stop"] = body["stop_sequences"]
    if body.get("stream") is True:
        sent["stream_options"] = {"include_usage": True}
    return {**sent, **_tools(body), **_format(body)}


def _refuse_unreadable(messages: list[Mapping[str, Any]]) -> None:
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        if message["role"] not in ROLES:
            raise RequestError(400, "invalid_messages", f"{place}.role must be 'user', 'assistant' or 'system'.")
        for where, block in _inside(message.get("content"), f"{place}.content"):
            kinds, kind = READABLE.get(str(block.get("type"))), dict_of(block.get("source")).get("type")
            if kinds and kind not in kinds:
                raise RequestError(
                    400, "unsupported_content",
                    f"{where}: this upstream cannot read {block['type']}s of source type '{kind}'. Send"
                    f" {' or '.join(map(repr, kinds))}.",
                )


def _inside(content: Any, place: str) -> Iterator[tuple[str, blocks.Block]]:
    """Each block with its place, those in tool results too."""
    for index, block in enumerate(blocks.of(content)):
        yield f"{place}[{index}]", block
        if block.get("type") == "tool_result":
            yield from _inside(block.get("content"), f"{place}[{index}].content")


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    asked = dicts_of(body.get("tools"))
    tools = [tool for tool in asked if "input_schema" in tool]
    choice = dict_of(body.get("tool_choice"))
    _refuse_absent(choice, [tool for tool in asked if "input_schema" not in tool], tools)
    if not tools:
        return {}
    told: dict[str, Any] = {"tools": [_tool(tool) for tool in tools]}
    if choice:
        told["tool_choice"] = _choice(choice)
    if choice.get("disable_parallel_tool_use") is True:
        told["parallel_tool_calls"] = False
    return told


def _refuse_absent(choice: Mapping[str, Any], absent: list[dict[str, Any]], tools: list[dict[str, Any]]) -> None:
    """Where a tool that was left out is the one that must be called."""
    named = [tool for tool in absent if choice.get("type") == "tool" and tool.get("name") == choice.get("name")]
    forced = named or (absent if choice.get("type") == "any" and not tools else [])
    if forced:
        raise RequestError(
            400, "unsupported_tool",
            f"tool_choice asks for '{forced[0].get('name')}', but this upstream has no tool of type"
            f" '{forced[0].get('type')}'. Give it an 'input_schema', or leave tool_choice to 'auto'.",
        )


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": tool.get("name"), "parameters": tool["input_schema"]}
    if "description" in tool:
        function["description"] = tool["description"]
    return {"type": "function", "function": function}


def _choice(choice: Mapping[str, Any]) -> Any:
    if choice.get("type") == "tool":
        return {"type": "function", "function": {"name": choice.get("name")}}
    known = {"auto": "auto", "any": "required", "none": "none"}
    if (kind := str(choice.get("type"))) not in known:
        raise RequestError(400, "invalid_tool_choice", "tool_choice.type must be 'auto', 'any', 'tool' or 'none'.")
    return known[kind]


def _format(body: Mapping[str, Any]) -> dict[str, Any]:
    wanted = dict_of(dict_of(body.get("output_config")).get("format"))
    if wanted.get("type") != "json_schema":
        return {}
    schema = {"name": "reply", "schema": wanted.get("schema")}  # not strict: OpenAI's rules for that are narrower
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def whole(body: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    return message_of_chat.whole(body, asked)


def stream(asked: Mapping[str, Any]) -> message_of_chat.Stream:
    return message_of_chat.Stream(asked)
