"""The tools of a Responses request as chat functions, and a chat model's call as the item that it stands for.

Source: the OpenAI API reference, and what Codex 0.169 sends: functions, custom tools (free text in, such as its
`apply_patch`), namespaces of both, `tool_search` that the client runs, and tools that arrive as input items
(`additional_tools`, `tool_search_output`). Chat knows functions with one flat name; so a custom tool becomes a function
with one string, and a namespace a prefix. Tools that a provider runs on its own side have no counterpart.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaclaw.dialects.base import object_or_empty
from metaclaw.errors import RequestError

MAX_NAME = 64  # of a chat function
FREE_TEXT = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The whole input of the tool, as it is."}},
    "required": ["input"],
    "additionalProperties": False,
}
BRING_TOOLS = ("additional_tools", "tool_search_output")


@dataclass(frozen=True, slots=True)
class Tool:
    """`kind` is "function", "custom" or "tool_search"; `spec` is what the client sent."""

    kind: str
    name: str
    namespace: str
    spec: Mapping[str, Any]

    @property
    def flat(self) -> str:
        return flat_name(self.name, self.namespace)

    def function(self) -> dict[str, Any]:
        """As chat offers it to a model."""
        function: dict[str, Any] = {"name": self.flat}
        if description := _description(self.spec):
            function["description"] = description
        if self.kind == "custom":
            function["parameters"] = FREE_TEXT
        else:
            kept = ("parameters", "strict")
            function |= {key: self.spec[key] for key in kept if self.spec.get(key) is not None}
        return {"type": "function", "function": function}

    def item(self, arguments: str) -> dict[str, Any]:
        """A call of it, as an output item without its ids and status."""
        home = {"namespace": self.namespace} if self.namespace else {}
        if self.kind == "custom":
            return {"type": "custom_tool_call", "name": self.name, **home, "input": free_text(arguments)}
        if self.kind == "tool_search":
            return {"type": "tool_search_call", "execution": "client", "arguments": object_or_empty(arguments)}
        return {"type": "function_call", "name": self.name, **home, "arguments": arguments}


def flat_name(name: str, namespace: str = "") -> str:
    """A tool's name in chat: always the same for the same tool, and short enough."""
    flat = f"{namespace}__{name}" if namespace else name
    if len(flat) <= MAX_NAME:
        return flat
    return f"{flat[: MAX_NAME - 9]}_{hashlib.sha256(flat.encode(errors='replace')).hexdigest()[:8]}"


def free_text(arguments: str) -> str:
    """What a custom tool is given; where the model did not wrap it as asked, all that it wrote."""
    text = object_or_empty(arguments).get("input")
    return text if isinstance(text, str) else arguments


def offered(body: Mapping[str, Any]) -> dict[str, Tool]:
    """What a model can be offered in chat, by flat name."""
    return {tool.flat: tool for tool in _declared(body)}


def tools_in(specs: Any, namespace: str = "") -> Iterator[Tool]:
    """The tools of a list that a client sent, those inside namespaces too."""
    for spec in specs if isinstance(specs, list) else []:
        if isinstance(spec, dict):
            yield from _tools_of(spec, namespace)


def for_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """`tools`, `tool_choice` and `parallel_tool_calls` of the chat request; empty where no tool is left.

    Raises `RequestError` (400) where the client insists on a tool that chat cannot offer.
    """
    tools, choice = _chosen(offered(body), body.get("tool_choice"))
    if not tools:
        if choice == "required":
            raise _impossible("'tool_choice' is \"required\"")
        return {}
    chat: dict[str, Any] = {"tools": [tool.function() for tool in tools]}
    if choice is not None:
        chat["tool_choice"] = choice
    if isinstance(body.get("parallel_tool_calls"), bool):
        chat["parallel_tool_calls"] = body["parallel_tool_calls"]
    return chat


def _declared(body: Mapping[str, Any]) -> Iterator[Tool]:
    yield from tools_in(body.get("tools"))
    items = body.get("input")
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict) and item.get("type") in BRING_TOOLS:
            yield from tools_in(item.get("tools"))


def _tools_of(spec: Mapping[str, Any], namespace: str) -> Iterator[Tool]:
    kind, name = spec.get("type"), spec.get("name")
    if kind == "namespace" and isinstance(name, str) and not namespace:
        yield from tools_in(spec.get("tools"), name)
    elif kind in ("function", "custom") and isinstance(name, str):
        yield Tool(kind, name, namespace, spec)
    elif kind == "tool_search" and spec.get("execution") == "client":
        yield Tool(kind, kind, "", spec)


def _chosen(tools: Mapping[str, Tool], choice: Any) -> tuple[Sequence[Tool], Any]:
    """The tools that may be called, and chat's `tool_choice`."""
    everything = list(tools.values())
    if choice is None or isinstance(choice, str):
        return everything, choice
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        wanted = choice.get("tools")
        allowed = [_named(everything, one) for one in wanted] if isinstance(wanted, list) else []
        return [tool for tool in allowed if tool], choice.get("mode") or "auto"
    tool = _named(everything, choice)
    if tool is None:
        raise _impossible(f"'tool_choice' asks for {json.dumps(choice)}")
    return everything, {"type": "function", "function": {"name": tool.flat}}


def _named(tools: Sequence[Tool], choice: Any) -> Tool | None:
    if not isinstance(choice, dict):
        return None
    name, namespace = choice.get("name", choice.get("type")), choice.get("namespace")
    return next((tool for tool in tools if tool.name == name and namespace in (None, tool.namespace)), None)


def _impossible(what: str) -> RequestError:
    return RequestError(
        400, "unsupported_tool_choice",
        f"{what}, but the upstream speaks chat, which offers no such tool: functions and custom tools of the request"
        " only, none that a provider runs itself.",
    )


def _description(spec: Mapping[str, Any]) -> str:
    """A grammar that the provider would have enforced is told to the model instead."""
    said, form = spec.get("description"), spec.get("format")
    text = said if isinstance(said, str) else ""
    if isinstance(form, dict) and form.get("type") == "grammar":
        text += f"\n\nThe input must match this {form.get('syntax', '')} grammar:\n{form.get('definition', '')}"
    return text.strip()

