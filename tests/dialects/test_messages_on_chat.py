"""An Anthropic client on an upstream that speaks chat completions: what it asks."""

from __future__ import annotations

from typing import Any

import pytest

from metaclaw.dialects import messages_on_chat
from metaclaw.errors import RequestError

WEATHER = {"name": "get_weather", "description": "d", "input_schema": {"type": "object"}, "cache_control": {}}
FUNCTION = {
    "type": "function", "function": {"name": "get_weather", "description": "d", "parameters": {"type": "object"}}
}
SEARCH = {"type": "web_search_20260318", "name": "web_search", "max_uses": 3}


def sent(**more: Any) -> dict[str, Any]:
    body = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "x"}], **more}
    return messages_on_chat.request(body)


def refused(**more: Any) -> RequestError:
    with pytest.raises(RequestError) as error:
        sent(**more)
    assert error.value.status == 400
    return error.value


def test_what_has_no_counterpart_is_left_out() -> None:
    asked = {
        "metadata": {"user_id": "u"}, "top_k": 5, "thinking": {"type": "adaptive"}, "cache_control": {},
        "output_config": {"effort": "high"}, "context_management": {}, "service_tier": "auto", "x_new": 1,
    }
    assert sent(**asked) == {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]}


def test_sampling_limits_and_stops_go_on() -> None:
    body = sent(temperature=0.5, top_p=0.9, stop_sequences=["END"], stream=False, system="s")
    assert (body["temperature"], body["top_p"], body["stop"], body["stream"]) == (0.5, 0.9, ["END"], False)
    assert body["messages"][0] == {"role": "system", "content": "s"}
    assert "stream_options" not in body


def test_a_stream_is_asked_for_with_its_usage() -> None:
    assert sent(stream=True)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("model", ["gpt-5.6", "o3-mini", "openai/gpt-6-astra"])
def test_openais_newer_models_get_the_limit_by_its_newer_name(model: str) -> None:
    body = sent(model=model)
    assert (body["max_completion_tokens"], "max_tokens" in body) == (10, False)


@pytest.mark.parametrize("model", ["gpt-4o", "llama", "ollama-o1", None, "qwen/o-1"])
def test_other_models_get_it_by_its_older_name(model: Any) -> None:
    assert sent(model=model)["max_tokens"] == 10


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        (
            {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
            {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}, "parallel_tool_calls": False},
        ),
        ({"type": "auto", "disable_parallel_tool_use": False}, {"tool_choice": "auto"}),
        (None, {}),
    ],
)
def test_tools_and_their_choice(choice: Any, told: dict[str, Any]) -> None:
    body = sent(tools=[WEATHER], tool_choice=choice)
    assert {name: body[name] for name in body if "tool" in name} == {"tools": [FUNCTION], **told}


def test_servers_tools_are_left_out() -> None:
    assert sent(tools=[SEARCH, WEATHER], tool_choice={"type": "any"})["tools"] == [FUNCTION]
    body = sent(tools=[SEARCH], tool_choice={"type": "auto"})
    assert not [name for name in body if "tool" in name]


@pytest.mark.parametrize("choice", [{"type": "tool", "name": "web_search"}, {"type": "any"}])
def test_a_servers_tool_that_must_be_called_is_refused(choice: dict[str, Any]) -> None:
    tools = [SEARCH, WEATHER] if choice["type"] == "tool" else [SEARCH]
    error = refused(tools=tools, tool_choice=choice)
    assert error.code == "unsupported_tool"
    assert "'web_search'" in str(error)
    assert "web_search_20260318" in str(error)


def test_a_schema_for_the_reply_goes_on() -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    assert sent(output_config={"effort": "low", "format": wanted})["response_format"] == {
        "type": "json_schema", "json_schema": {"name": "reply", "schema": {"type": "object"}},
    }


@pytest.mark.parametrize(
    ("block", "place"),
    [
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, "messages[0].content[1]"),
        ({"type": "document", "source": {"type": "url", "url": "https://x.example"}}, "messages[0].content[1]"),
        (
            {"type": "tool_result", "content": [{"type": "image", "source": {"type": "file"}}]},
            "messages[0].content[1].content[0]",
        ),
    ],
)
def test_what_cannot_be_read_here_is_refused_with_its_place(block: dict[str, Any], place: str) -> None:
    error = refused(messages=[{"role": "user", "content": [{"type": "text", "text": "see"}, block]}])
    assert (error.code, str(error).startswith(f"{place}:")) == ("unsupported_content", True)


def test_unknown_roles_and_choices_are_refused() -> None:
    assert "messages[0].role" in str(refused(messages=[{"role": "tool", "content": "x"}]))
    assert refused(tools=[WEATHER], tool_choice={"type": "sometimes"}).code == "invalid_tool_choice"
