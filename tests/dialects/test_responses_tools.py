"""Tools of every kind as chat functions, and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metaclaw.dialects.responses_tools import MAX_NAME, flat_name, for_chat, offered
from metaclaw.errors import RequestError

WEATHER = {
    "type": "function", "name": "weather", "description": "d", "strict": True,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
PATCH = {
    "type": "custom", "name": "apply_patch", "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: patch"},
}
AGENTS = {
    "type": "namespace", "name": "agents", "description": "d",
    "tools": [{"type": "function", "name": "spawn", "parameters": {}}, {"type": "custom", "name": "run"}],
}
SEARCH = {"type": "tool_search", "execution": "client", "description": "Finds tools.", "parameters": {"type": "object"}}
WEB = {"type": "web_search", "external_web_access": False}
ALL = [WEATHER, PATCH, AGENTS, SEARCH, WEB]


def names(chat: dict[str, Any]) -> list[str]:
    return [tool["function"]["name"] for tool in chat["tools"]]


def test_every_kind_of_tool_becomes_a_function_and_the_providers_own_are_left_out() -> None:
    chat = for_chat({"tools": ALL, "tool_choice": "auto", "parallel_tool_calls": False})
    assert names(chat) == ["weather", "apply_patch", "agents__spawn", "agents__run", "tool_search"]
    assert (chat["tool_choice"], chat["parallel_tool_calls"]) == ("auto", False)
    weather, patch, *_ = (tool["function"] for tool in chat["tools"])
    assert weather == {key: WEATHER[key] for key in ("name", "description", "parameters", "strict")}
    assert patch["description"] == "Edits files.\n\nThe input must match this lark grammar:\nstart: patch"
    assert patch["parameters"]["required"] == ["input"]


def test_tools_may_arrive_as_input_items() -> None:
    body = {
        "tools": [WEATHER],
        "input": [
            {"type": "additional_tools", "role": "developer", "tools": [AGENTS]},
            {"role": "user", "content": "x"},
            {"type": "tool_search_output", "call_id": "c", "tools": [PATCH]},
        ],
    }
    assert list(offered(body)) == ["weather", "agents__spawn", "agents__run", "apply_patch"]


def test_without_tools_nothing_is_said_of_them() -> None:
    for tools in ([], [WEB], None, "x", [7, {"type": "function"}]):
        assert for_chat({"tools": tools, "tool_choice": "auto", "parallel_tool_calls": True}) == {}
    assert for_chat({"tool_choice": "none"}) == {}
    assert for_chat({"tools": [WEATHER]}) == {"tools": [offered({"tools": [WEATHER]})["weather"].function()]}


@pytest.mark.parametrize(
    ("choice", "forced"),
    [
        ({"type": "function", "name": "weather"}, "weather"),
        ({"type": "custom", "name": "apply_patch"}, "apply_patch"),
        ({"type": "function", "name": "spawn"}, "agents__spawn"),
        ({"type": "tool_search"}, "tool_search"),
    ],
)
def test_a_tool_that_is_forced(choice: dict[str, str], forced: str) -> None:
    assert for_chat({"tools": ALL, "tool_choice": choice})["tool_choice"] == {
        "type": "function", "function": {"name": forced},
    }


def test_allowed_tools_are_the_only_ones_offered() -> None:
    wanted = [{"type": "function", "name": "weather"}, {"type": "web_search"}]
    chat = for_chat({"tools": ALL, "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": wanted}})
    assert (names(chat), chat["tool_choice"]) == (["weather"], "required")


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "web_search"},
        {"type": "function", "name": "unknown"},
        {"type": "mcp", "server_label": "x"},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "web_search"}]},
        7,
    ],
)
def test_what_chat_cannot_offer_cannot_be_forced(choice: Any) -> None:
    with pytest.raises(RequestError, match="'tool_choice'") as refused:
        for_chat({"tools": ALL, "tool_choice": choice})
    assert (refused.value.status, refused.value.code) == (400, "unsupported_tool_choice")
    with pytest.raises(RequestError, match="'tool_choice'"):
        for_chat({"tools": [WEB], "tool_choice": "required"})


@pytest.mark.parametrize(
    ("name", "arguments", "item"),
    [
        ("weather", '{"city": "Rome"}', {"type": "function_call", "name": "weather", "arguments": '{"city": "Rome"}'}),
        ("agents__spawn", "{", {"type": "function_call", "name": "spawn", "namespace": "agents", "arguments": "{"}),
        (
            "agents__run", '{"input": "a"}',
            {"type": "custom_tool_call", "name": "run", "namespace": "agents", "input": "a"},
        ),
        ("apply_patch", '{"input": "a\\nb"}', {"type": "custom_tool_call", "name": "apply_patch", "input": "a\nb"}),
        ("apply_patch", "*** Begin", {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin"}),
        ("tool_search", '{"q": 1}', {"type": "tool_search_call", "execution": "client", "arguments": {"q": 1}}),
    ],
)
def test_a_call_becomes_the_item_that_the_client_expects(name: str, arguments: str, item: dict[str, Any]) -> None:
    assert offered({"tools": ALL})[name].item(arguments) == item


def test_a_flat_name_is_short_and_always_the_same() -> None:
    assert flat_name("a" * MAX_NAME) == "a" * MAX_NAME
    long = [flat_name(tool, "mcp__" + "server" * 12) for tool in ("one", "two", "one")]
    assert long[0] == long[2] != long[1]
    assert {len(name) for name in long} == {MAX_NAME}
    assert json.loads(json.dumps(long)) == long
