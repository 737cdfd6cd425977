"""The input items of a Responses request as chat messages: what was said, called and answered, in its order.

In: the request's body. Out: messages as `chat` has them. Left out is what only the provider can read or run: encrypted
reasoning and compaction, its own searches and their like.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from metaclaw.dialects.base import storable
from metaclaw.dialects.boilerplate import strip_boilerplate
from metaclaw.dialects.responses_tools import flat_name, tools_in

SYSTEM_ROLES = ("system", "developer")
ROLES = (*SYSTEM_ROLES, "user", "assistant")
TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}  # part -> its field
CALLS = tuple(
    "function_call custom_tool_call local_shell_call shell_call apply_patch_call tool_search_call".split()
)
OUTPUTS = tuple(
    "function_call_output custom_tool_call_output local_shell_call_output shell_call_output apply_patch_call_output"
    " tool_search_output".split()
)


def items_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`input` as a list, whichever way it was sent."""
    sent = body.get("input")
    if isinstance(sent, str):
        return [{"role": "user", "content": sent}]
    return [item for item in sent if isinstance(item, dict)] if isinstance(sent, list) else []


def role_of(item: Mapping[str, Any]) -> str:
    """The role of a message; empty for every other item. Tools that arrive as an item have a role, and are none."""
    role = item.get("role")
    return role if item.get("type") in (None, "message") and role in ROLES else ""


def leading_system(body: Mapping[str, Any]) -> list[int]:
    """Where the system messages stand with which the input begins; items that bring tools may stand among them."""
    found = []
    for index, item in enumerate(items_of(body)):
        if role_of(item) in SYSTEM_ROLES:
            found.append(index)
        elif item.get("type") != "additional_tools":
            break
    return found


def system_text(body: Mapping[str, Any]) -> str:
    items = items_of(body)
    texts = [text_of(body.get("instructions"))]
    texts += [text_of(items[index].get("content")) for index in leading_system(body)]
    return "\n\n".join(text for text in texts if text)


def user_texts(items: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What the user wrote, message by message, without what the agent put around it."""
    said = (text_of(item.get("content")) for item in items if role_of(item) == "user")
    return (words for text in said if (words := strip_boilerplate(text)))


def text_of(content: Any) -> str:
    """The text of a message or of a tool's output: a string, or the text parts of a list."""
    if isinstance(content, str):
        return storable(content)
    return storable("\n".join(part["text"] for part in _parts(content) if part["type"] == "text"))


def messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The whole request as a conversation. One system message leads it, as most chat templates demand."""
    items = items_of(body)
    leading = set(leading_system(body))
    said: list[dict[str, Any]] = []
    if system := system_text(body):
        said.append({"role": "system", "content": system})
    reasoning = ""
    for index, item in enumerate(items):
        if index in leading:
            continue
        if item.get("type") == "reasoning":
            reasoning += _thoughts(item)
        else:
            _add(said, item, reasoning)
            reasoning = ""
    return said


def _thoughts(item: Mapping[str, Any]) -> str:
    """The model's own thoughts in full; a summary or an encrypted text is none."""
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, dict) and part.get("text"))


def _add(said: list[dict[str, Any]], item: Mapping[str, Any], reasoning: str) -> None:
    """One item more. A call belongs to what the assistant said right before it; so do calls that follow each other.

    Instructions in the middle, as Codex sends them, come in the user's name and marked as agents mark theirs: many chat
    templates take a system message at the beginning only.
    """
    kind, role = item.get("type"), role_of(item)
    thought = {"reasoning_content": reasoning} if reasoning else {}
    if role in SYSTEM_ROLES:
        text = text_of(item.get("content"))
        said.append({"role": "user", "content": f"<system-reminder>\n{text}\n</system-reminder>"})
    elif role:
        thought = thought if role == "assistant" else {}
        said.append({"role": role, "content": _content(item.get("content")), **thought})
    elif kind in CALLS:
        if not said or said[-1]["role"] != "assistant" or thought:
            said.append({"role": "assistant", "content": None, **thought})
        said[-1].setdefault("tool_calls", []).append(_call(item))
    elif kind in OUTPUTS:
        said.append({"role": "tool", "tool_call_id": _call_id(item), "content": _output(item)})


def _call(item: Mapping[str, Any]) -> dict[str, Any]:
    name, arguments = _called(item)
    function = {"name": name, "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments)}
    return {"id": _call_id(item), "type": "function", "function": function}


def _call_id(item: Mapping[str, Any]) -> str:
    return str(item.get("call_id") or item.get("id"))


def _called(item: Mapping[str, Any]) -> tuple[str, Any]:
    """A call's name in chat, and its arguments."""
    kind = str(item.get("type"))
    name = flat_name(str(item.get("name") or kind.removesuffix("_call")), str(item.get("namespace") or ""))
    if kind == "custom_tool_call":
        return name, {"input": item.get("input")}
    if kind in ("local_shell_call", "shell_call"):
        return name, item.get("action")
    if kind == "apply_patch_call":
        return name, item.get("operation")
    return name, item.get("arguments")


def _output(item: Mapping[str, Any]) -> Any:
    if item.get("type") == "tool_search_output":
        return json.dumps([tool.flat for tool in tools_in(item.get("tools"))])
    return _content(item.get("output"))


def _content(content: Any) -> Any:
    """A string where there is nothing but text, since not every chat template takes parts; else parts."""
    if isinstance(content, str):
        return content
    parts = _parts(content)
    if not parts:
        return json.dumps(content) if content else ""  # what a shell call printed, for one
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _parts(content: Any) -> list[dict[str, Any]]:
    parts = content if isinstance(content, list) else []
    return [found for part in parts if isinstance(part, dict) for found in _part(part)]


def _part(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A content part in chat's words; none where chat has none for it."""
    kind = part.get("type")
    if isinstance(kind, str) and isinstance(text := part.get(TEXTS.get(kind, "")), str):
        return [{"type": "text", "text": text}]
    if kind == "input_image" and isinstance(url := part.get("image_url"), str):
        detail = {"detail": part["detail"]} if part.get("detail") in ("auto", "low", "high") else {}
        return [{"type": "image_url", "image_url": {"url": url, **detail}}]
    if kind == "input_file" and isinstance(part.get("file_data"), str):
        return [{"type": "file", "file": {key: part[key] for key in ("filename", "file_data") if key in part}}]
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return [{"type": "input_audio", "input_audio": part["input_audio"]}]
    return []
