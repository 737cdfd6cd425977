"""The input items of a Responses request as chat messages: what was said, called and answered, in its order.

In: the request's body. Out: messages as `chat` has them. Left out is what only the provider can read or run: encrypted
reasoning and compaction, its own searches and their like.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from metaclaw.dialects.base import storable
from metaclaw.dialects.blocks import ELSEWHERE
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
    leading, answered = set(leading_system(body)), _answered(items)
    told = _Conversation()
    if system := system_text(body):
        told.said.append({"role": "system", "content": system})
    for index, item in enumerate(items):
        if index not in leading:
            told.add(item, is_answered=index in answered)
    told.catch_up()
    return told.said


def _answered(items: list[dict[str, Any]]) -> set[int]:
    """Where the calls stand whose outputs follow."""
    found, outputs = set[int](), set[str]()
    for index in reversed(range(len(items))):
        kind, call_id = items[index].get("type"), _call_id(items[index])
        if kind in OUTPUTS:
            outputs.add(call_id)
        elif kind in CALLS and call_id in outputs:
            outputs.discard(call_id)
            found.add(index)
    return found


@dataclass(slots=True)
class _Conversation:
    """What has been `said`, item by item.

    Chat wants the outputs of all calls of a message right behind it, and text alone in them. So while some are
    `awaited`, what the assistant adds goes into the message that made them, and what others say is `held` until the
    last output has come; what outputs hold beside text is `shown` behind them, in the user's name.
    """

    said: list[dict[str, Any]] = field(default_factory=list)
    awaited: set[str] = field(default_factory=set)
    held: list[dict[str, Any]] = field(default_factory=list)
    shown: list[dict[str, Any]] = field(default_factory=list)
    thought: str = ""  # of the message that comes next

    def add(self, item: Mapping[str, Any], *, is_answered: bool) -> None:
        kind, role = item.get("type"), role_of(item)
        if kind not in OUTPUTS:
            self.catch_up()
        if kind == "reasoning":
            self._think(_thoughts(item))
            return
        if kind in OUTPUTS:
            self._answer(item)
        elif kind in CALLS:
            self._call(item, is_answered)
        elif role == "assistant":
            self._speak(_content(item.get("content")))
        elif role:
            (self.held if self.awaited else self.said).append(_by_others(role, item))
        self.thought = ""

    def catch_up(self) -> None:
        """Say what had to wait for the last output, once that has come."""
        if self.awaited:
            return
        if self.shown:
            self.said.append({"role": "user", "content": self.shown})
        self.said += self.held
        self.shown, self.held = [], []

    def _think(self, thought: str) -> None:
        if self.awaited and thought:
            asking = self._asking()
            asking["reasoning_content"] = _joined(asking.get("reasoning_content"), thought)
        else:
            self.thought += thought

    def _speak(self, content: Any) -> None:
        if self.awaited:
            asking = self._asking()
            asking["content"] = _joined(asking["content"], content)
        else:
            self._begin(content)

    def _call(self, item: Mapping[str, Any], is_answered: bool) -> None:
        """A call belongs to what the assistant said right before it; so do calls that follow each other."""
        if not self.awaited and (self.thought or not self.said or self.said[-1]["role"] != "assistant"):
            self._begin(None)
        self._asking().setdefault("tool_calls", []).append(_call(item))
        if is_answered:
            self.awaited.add(_call_id(item))

    def _answer(self, item: Mapping[str, Any]) -> None:
        call_id, content = _call_id(item), _output(item)
        if not isinstance(content, str):
            self.shown += [part for part in content if part["type"] != "text"]
            content = "\n".join(part["text"] for part in content if part["type"] == "text") or ELSEWHERE
        self.said.append({"role": "tool", "tool_call_id": call_id, "content": content})
        self.awaited.discard(call_id)

    def _begin(self, content: Any) -> None:
        thought = {"reasoning_content": self.thought} if self.thought else {}
        self.said.append({"role": "assistant", "content": content, **thought})

    def _asking(self) -> dict[str, Any]:
        """The assistant's last message."""
        return next(message for message in reversed(self.said) if message["role"] == "assistant")


def _thoughts(item: Mapping[str, Any]) -> str:
    """The model's own thoughts in full; a summary or an encrypted text is none."""
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, dict) and part.get("text"))


def _by_others(role: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """Instructions in the middle, as Codex sends them, come in the user's name and marked as agents mark theirs: many
    chat templates take a system message at the beginning only.
    """
    if role in SYSTEM_ROLES:
        text = text_of(item.get("content"))
        return {"role": "user", "content": f"<system-reminder>\n{text}\n</system-reminder>"}
    return {"role": role, "content": _content(item.get("content"))}


def _joined(before: Any, more: Any) -> Any:
    """Two contents of one message."""
    if not before or not more:
        return before or more
    if isinstance(before, str) and isinstance(more, str):
        return f"{before}\n\n{more}"
    return [*_as_parts(before), *_as_parts(more)]


def _as_parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


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
