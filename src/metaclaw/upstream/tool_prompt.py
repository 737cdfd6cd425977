"""A conversation with tools, told in words that a small model follows. Pure.

In: chat messages and the functions that may be called. Out: messages of text alone. The tools stand at the end of the
system message, one line each; a reply begins with a line that names its tool, or none; earlier calls are told as the
model itself would have written them, and their results in the user's name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from metaclaw.dialects import chat

HEAD = "tool: "
NONE = "none"
PLAIN = f"{HEAD}{NONE}\n"
MAX_DESCRIPTION = 300  # characters: the context is small, and a small model follows short lists best
PERSONA = "You are a helpful assistant."
AUTO = """
Each of your replies begins with a line that says which tool you use: `tool: NAME` for one of the above, `tool: none` \
for no tool.
Use a tool only when the user asks for exactly what it does. Most messages need none: greetings, thanks, questions \
about general knowledge, language or programming, requests to write, suggest, translate or explain, and every question \
whose answer a tool has already returned.
After the name of a tool follow its arguments, as a JSON object. After `tool: none` follows your answer, in plain words.
"""
REQUIRED = """
Reply with a line that says which tool you use, `tool: NAME` for one of the above, and then its arguments as a JSON \
object.
"""
GOING_ON = "\n\nUse another tool if that is not yet what was asked for."

Tools = Mapping[str, Mapping[str, Any]]  # functions by name


def messages_for(messages: Sequence[Mapping[str, Any]], tools: Tools, choice: str) -> list[dict[str, Any]]:
    """The conversation in the model's own words, the tools told at the end of its system message."""
    leading = messages[0] if messages and messages[0].get("role") in chat.SYSTEM_ROLES else None
    system = (chat.text_of(leading.get("content")) if leading else "") or PERSONA
    if tools:
        system += "\n\n# Tools\n" + "\n".join(_line(name, tool) for name, tool in tools.items())
        system += f"\n{(REQUIRED if choice == 'required' else AUTO).rstrip()}"
    told: list[dict[str, Any]] = [{"role": "system", "content": system}]
    names: dict[str, str] = {}
    for message in messages[1:] if leading else messages:
        _tell(told, message, names, PLAIN if tools else "")
    return told


def _tell(told: list[dict[str, Any]], message: Mapping[str, Any], names: dict[str, str], plain: str) -> None:
    role, content = message.get("role"), message.get("content")
    calls = message.get("tool_calls")
    if role == "tool":
        name = names.get(str(message.get("tool_call_id")), "tool")
        _tell_user(told, f"The tool {name} returned:\n{chat.text_of(content)}{GOING_ON if plain else ''}")
    elif role == "assistant":
        if text := chat.text_of(content):
            told.append({"role": role, "content": plain + text})
        called = [_called(call, names) for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
        if called:
            told.append({"role": role, "content": "\n".join(called)})
    elif role == "user" and isinstance(content, str):
        _tell_user(told, content)
    else:
        told.append({"role": role, "content": content})


def _tell_user(told: list[dict[str, Any]], text: str) -> None:
    """Results come in the user's name, since the model knows no other; what follows each other is one message."""
    if told[-1]["role"] == "user" and isinstance(told[-1]["content"], str):
        told[-1] = {"role": "user", "content": f"{told[-1]['content']}\n\n{text}"}
    else:
        told.append({"role": "user", "content": text})


def _called(call: Mapping[str, Any], names: dict[str, str]) -> str:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    names[str(call.get("id"))] = str(function.get("name"))
    return f"{HEAD}{function.get('name')}\n{_as_written(function.get('arguments'))}"


def _as_written(arguments: Any) -> str:
    """With the blanks that the grammar allows."""
    try:
        return json.dumps(json.loads(arguments), ensure_ascii=False)
    except (TypeError, ValueError):
        return str(arguments)


def _line(name: str, tool: Mapping[str, Any]) -> str:
    """A tool as one line: what it takes, and what for."""
    taken = _members(tool.get("parameters"))
    does = " ".join(str(tool.get("description") or "").split())[:MAX_DESCRIPTION]
    return f"- {name}({taken})" + (f": {does}" if does else "")


def _members(schema: Any) -> str:
    properties, required = (schema.get("properties"), schema.get("required")) if isinstance(schema, dict) else ({}, [])
    must = required if isinstance(required, list) else []
    members = properties.items() if isinstance(properties, dict) else ()
    return ", ".join(f"{name}{'' if name in must else '?'}: {_type(one)}" for name, one in members)


def _type(schema: Any) -> str:
    if not isinstance(schema, dict):
        return "any"
    kind = schema.get("type")
    if isinstance(values := schema.get("enum"), list):
        word = " | ".join(json.dumps(value) for value in values)
    elif kind == "array":
        word = f"list of {_type(schema.get('items'))}"
    elif kind == "object" and schema.get("properties"):
        word = f"{{{_members(schema)}}}"
    else:
        word = kind if isinstance(kind, str) else "any"
    means = " ".join(str(schema.get("description") or "").split())[:MAX_DESCRIPTION]
    return f"{word} ({means})" if means else word
