"""An OpenAI client on an upstream that speaks Anthropic's Messages: a `Translation`.

Left out, having no counterpart: `seed`, penalties, `logit_bias`, `logprobs` and the like. Refused, since the client
would get something else than it asked for: `n` above 1, audio, and a forced call of a tool that is no function.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from metaclaw.dialects import chat_of_message
from metaclaw.dialects.chat import SYSTEM_ROLES, text_of
from metaclaw.dialects.loose import dict_of, dicts_of, list_of, string_of
from metaclaw.errors import RequestError

USUAL_MAX_TOKENS = 16_384  # Anthropic wants a limit; every model of theirs that is served allows this one
EFFORTS = {
    "none": "low", "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max",
}
ROLES = {"user": "user", "tool": "user", "assistant": "assistant"}
DATA_URL = re.compile(r"data:([^;,]*)(?:;[^;,]*)*;base64,(.*)", re.DOTALL)
NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")
JSON_ONLY = "Answer with one JSON object and nothing else."

# Claude's newer models refuse `temperature` and `top_p`, these still take one of the two.
SAMPLED = re.compile(r"claude-(?:[1-3]\b|instant|(?:opus|sonnet|haiku)-4(?![-.][7-9]\b))")
# Only the newer ones take an effort, the first of them not all of `EFFORTS`; some cannot be told not to think.
TAKES_EFFORT = re.compile(r"claude-(?:opus-4[-.][5-9]|sonnet-4[-.][6-9]|mythos-preview|[a-z]+-[5-9])\b")
NO_XHIGH = re.compile(r"claude-(?:(?:opus|sonnet)-4[-.][56]|mythos-preview)\b")
NO_MAX = re.compile(r"claude-opus-4[-.]5\b")
ALWAYS_THINKS = re.compile(r"claude-(?:opus-5[-.]5|fable|mythos)\b")


def request(body: Mapping[str, Any]) -> dict[str, Any]:
    if (body.get("n") or 1) != 1:
        raise RequestError(400, "unsupported_n", "'n' must be 1: this upstream gives one reply a request.")
    sent: dict[str, Any] = {"model": body.get("model"), "max_tokens": _limit(body)}
    system, messages = _conversation(body["messages"])
    wanted = dict_of(body.get("response_format")).get("type")
    if text := "\n\n".join([*system, *([JSON_ONLY] if wanted == "json_object" else [])]):
        sent["system"] = text
    sent["messages"] = messages
    if body.get("stop"):
        sent["stop_sequences"] = [body["stop"]] if isinstance(body["stop"], str) else body["stop"]
    if "stream" in body:
        sent["stream"] = body["stream"]
    if isinstance(body.get("user"), str):
        sent["metadata"] = {"user_id": body["user"]}
    return {**sent, **_sampling(body), **_tools(body), **_output(body)}


def _limit(body: Mapping[str, Any]) -> Any:
    return body.get("max_completion_tokens") or body.get("max_tokens") or USUAL_MAX_TOKENS


def _sampling(body: Mapping[str, Any]) -> dict[str, Any]:
    model = str(body.get("model"))
    if "claude" in model and not SAMPLED.search(model):
        return {}
    if isinstance(heat := body.get("temperature"), int | float):
        return {"temperature": min(heat, 1)}  # OpenAI's scale goes to 2
    return {"top_p": body["top_p"]} if body.get("top_p") is not None else {}


def _output(body: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    model, asked = str(body.get("model")), str(body.get("reasoning_effort"))
    thinks = asked != "none" or ALWAYS_THINKS.search(model)
    if thinks and (effort := _effort(model, asked)):
        config["effort"] = effort
    wanted = dict_of(body.get("response_format"))
    if wanted.get("type") == "json_schema":
        schema = _closed(dict_of(wanted.get("json_schema")).get("schema"))
        config["format"] = {"type": "json_schema", "schema": schema}
    return {
        **({"output_config": config} if config else {}),
        **({} if thinks else {"thinking": {"type": "disabled"}}),
    }


def _effort(model: str, asked: str) -> str | None:
    """The nearest effort that the model takes; None where it takes none."""
    effort = EFFORTS.get(asked) if TAKES_EFFORT.search(model) else None
    too_high = (effort == "xhigh" and NO_XHIGH.search(model)) or (effort == "max" and NO_MAX.search(model))
    return "high" if too_high else effort


def _closed(schema: Any) -> Any:
    """The schema with every object closed to further members, as Anthropic requires."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _closed(value) for name, value in schema.items()}
    return {**inner, "additionalProperties": False} if schema.get("type") == "object" else inner


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    tools = [_tool(tool["function"]) for tool in dicts_of(body.get("tools")) if dict_of(tool.get("function"))]
    choice = _choice(body.get("tool_choice"), [tool["name"] for tool in tools])
    if not tools:
        return {}
    if body.get("parallel_tool_calls") is False and (choice or {}).get("type") != "none":
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return {"tools": tools, **({"tool_choice": choice} if choice else {})}


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    told = {"name": function.get("name"), "input_schema": schema}
    return {**told, "description": function["description"]} if function.get("description") else told


def _choice(choice: Any, names: list[Any]) -> dict[str, Any] | None:
    if choice is None:
        return None
    if isinstance(choice, dict):
        name = dict_of(choice.get("function")).get("name")
        if choice.get("type") == "function" and name in names:
            return {"type": "tool", "name": name}
    elif choice in ("auto", "none") or (choice == "required" and names):
        return {"type": "any" if choice == "required" else choice}
    raise RequestError(
        400, "invalid_tool_choice",
        "'tool_choice' must be 'auto', 'none', 'required', or name a function that is among 'tools': this upstream"
        " calls functions only.",
    )


def _conversation(messages: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """System texts from wherever they stand, and the turns, in which tool results come first, as Anthropic wants it."""
    instructions = [text_of(message.get("content")) for message in messages if message["role"] in SYSTEM_ROLES]
    system = [text for text in instructions if text.strip()]
    told = [
        (_role(message["role"], f"messages[{index}]"), _blocks(message, f"messages[{index}]"))
        for index, message in enumerate(messages) if message["role"] not in SYSTEM_ROLES
    ]
    turns = [
        {"role": role, "content": sorted(content, key=lambda block: block["type"] != "tool_result")}
        for role, turn in groupby(told, key=lambda one: one[0])
        if (content := [block for _, found in turn for block in found])
    ]
    if not turns:  # instructions alone: chat answers those, Anthropic wants a turn of the user's
        return [], [{"role": "user", "content": [{"type": "text", "text": "\n\n".join(system)}]}]
    return system, turns


def _role(role: str, place: str) -> str:
    if role not in ROLES:
        known = ", ".join(map(repr, [*SYSTEM_ROLES, *ROLES]))
        raise RequestError(400, "invalid_messages", f"{place}.role must be one of {known}.")
    return ROLES[role]


def _blocks(message: Mapping[str, Any], place: str) -> list[dict[str, Any]]:
    content = _parts(message.get("content"), f"{place}.content")
    if message["role"] == "user":
        return content
    if message["role"] == "tool":
        return [{"type": "tool_result", "tool_use_id": _id(message.get("tool_call_id")), "content": content}]
    thoughts = [block for block in dicts_of(message.get("thinking_blocks")) if _is_signed(block)]  # others are refused
    said = content or _parts(message.get("refusal"), f"{place}.refusal")
    calls = list_of(message.get("tool_calls"))
    return [*thoughts, *said, *(_call(call, f"{place}.tool_calls[{index}]") for index, call in enumerate(calls))]


def _is_signed(block: Mapping[str, Any]) -> bool:
    return block.get("type") in chat_of_message.THINKING and bool(block.get("signature") or block.get("data"))


def _call(call: Any, place: str) -> dict[str, Any]:
    function = dict_of(dict_of(call).get("function"))
    return {
        "type": "tool_use", "id": _id(dict_of(call).get("id")), "name": function.get("name"),
        "input": _input(function.get("arguments"), f"{place}.function.arguments"),
    }


def _input(arguments: Any, place: str) -> dict[str, Any]:
    if arguments in (None, ""):
        return {}
    try:
        found = json.loads(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError) as error:
        raise RequestError(400, "invalid_tool_arguments", f"{place} is not valid JSON: {error}.") from error
    if not isinstance(found, dict):
        raise RequestError(400, "invalid_tool_arguments", f"{place} must be a JSON object.")
    return found


def _id(call_id: Any) -> str:
    """Anthropic takes fewer characters in an id than some servers use."""
    return NOT_IN_AN_ID.sub("_", str(call_id))


def _parts(content: Any, place: str) -> list[dict[str, Any]]:
    """Content blocks. Anthropic refuses blank ones."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    return [
        block
        for index, part in enumerate(list_of(content))
        if (block := _block(dict_of(part), f"{place}[{index}]"))
    ]


def _block(part: Mapping[str, Any], place: str) -> dict[str, Any] | None:
    match part.get("type"):
        case "text" | "refusal" as kind:
            text = string_of(part.get(kind))
            return {"type": "text", "text": text} if text.strip() else None
        case "image_url":
            return {"type": "image", "source": _source(dict_of(part.get("image_url")).get("url"))}
        case "file" if data := dict_of(part.get("file")).get("file_data"):
            title = dict_of(part["file"]).get("filename")
            document = {"type": "document", "source": _source(data)}
            return {**document, "title": title} if title else document
    raise RequestError(
        400, "unsupported_content", f"{place}: this upstream takes text, images and files sent as data, not"
        f" '{part.get('type')}'.",
    )


def _source(url: Any) -> dict[str, Any]:
    if found := DATA_URL.fullmatch(str(url)):
        return {"type": "base64", "media_type": found[1], "data": found[2]}
    return {"type": "url", "url": url}


def whole(body: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    return chat_of_message.whole(body)


def stream(asked: Mapping[str, Any]) -> chat_of_message.Stream:
    return chat_of_message.Stream(with_usage=dict_of(asked.get("stream_options")).get("include_usage") is True)
