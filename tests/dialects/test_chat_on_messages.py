"""An OpenAI client on an upstream that speaks Anthropic's Messages: what it asks."""

from __future__ import annotations

from typing import Any

import pytest

from metaclaw.dialects import chat_on_messages
from metaclaw.errors import RequestError

USER = {"role": "user", "content": "x"}
FUNCTION = {"name": "get_weather", "description": "d", "parameters": {"type": "object", "properties": {"a": {}}}}
TOOL = {"name": "get_weather", "description": "d", "input_schema": FUNCTION["parameters"]}
FUNCTIONS = [{"type": "function", "function": FUNCTION}]
OLD = "claude-haiku-4-5"


def sent(*messages: Any, **more: Any) -> dict[str, Any]:
    return chat_on_messages.request({"model": "claude-opus-5-5", "messages": list(messages) or [USER], **more})


def refused(*messages: Any, **more: Any) -> RequestError:
    with pytest.raises(RequestError) as error:
        sent(*messages, **more)
    assert error.value.status == 400
    return error.value


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def call(call_id: str, arguments: Any = "{}", name: str = "f") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


# -- conversation ------------------------------------------------------------------------------------------------------


def test_what_has_no_counterpart_is_left_out() -> None:
    asked = {"seed": 1, "logit_bias": {}, "presence_penalty": 1, "logprobs": True, "store": True, "x_new": 1, "n": 1}
    assert sent(**asked) == {
        "model": "claude-opus-5-5", "max_tokens": chat_on_messages.USUAL_MAX_TOKENS,
        "messages": [{"role": "user", "content": [text("x")]}],
    }


def test_instructions_from_wherever_they_stand_become_the_system_prompt() -> None:
    late = {"role": "developer", "content": [text("c"), text("d")]}
    body = sent({"role": "system", "content": "a"}, {"role": "system", "content": " "}, USER, late, USER)
    assert body["system"] == "a\n\nc\nd"
    assert body["messages"] == [{"role": "user", "content": [text("x"), text("x")]}]


def test_instructions_alone_are_asked_as_the_user() -> None:
    body = sent({"role": "system", "content": "Say hello."})
    assert ("system" in body, body["messages"]) == (False, [{"role": "user", "content": [text("Say hello.")]}])


def test_calls_and_their_results_which_go_into_one_turn_before_the_users_words() -> None:
    body = sent(
        USER,
        {"role": "assistant", "content": "Looking.", "tool_calls": [call("c1", '{"a": [1]}'), call("c:2", "")]},
        {"role": "user", "content": "hurry"},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c:2", "content": [text("two"), text("lines")]},
        {"role": "assistant", "content": "Done."},
    )
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                text("Looking."),
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": [1]}},
                {"type": "tool_use", "id": "c_2", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [text("one")]},
                {"type": "tool_result", "tool_use_id": "c_2", "content": [text("two"), text("lines")]},
                text("hurry"),
            ],
        },
        {"role": "assistant", "content": [text("Done.")]},
    ]


def test_thoughts_go_back_with_their_signature_or_not_at_all() -> None:
    signed, hidden = {"type": "thinking", "thinking": "a", "signature": "s"}, {"type": "redacted_thinking", "data": "d"}
    unsigned = {"type": "thinking", "thinking": "b", "signature": ""}
    spoken = {"role": "assistant", "content": "r", "reasoning_content": "ab"}
    assert sent(USER, spoken)["messages"][1]["content"] == [text("r")]
    spoken["thinking_blocks"] = [signed, unsigned, {"data": "x"}, hidden]  # type: ignore[assignment]
    assert sent(USER, spoken)["messages"][1]["content"] == [signed, hidden, text("r")]


def test_blank_texts_and_empty_turns_are_left_out() -> None:
    spoken = {"role": "assistant", "content": "", "refusal": "I will not."}
    body = sent({"role": "user", "content": [text(""), text("x")]}, {"role": "assistant", "content": None}, spoken)
    assert body["messages"] == [
        {"role": "user", "content": [text("x")]}, {"role": "assistant", "content": [text("I will not.")]},
    ]


def test_images_and_files() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk="}},
    ]
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}}
    assert sent({"role": "user", "content": parts})["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
        {**pdf, "title": "a.pdf"},
        pdf,
    ]


@pytest.mark.parametrize(
    ("message", "code", "place"),
    [
        (
            {"role": "user", "content": [text("a"), {"type": "input_audio"}]}, "unsupported_content",
            "messages[1].content[1]:",
        ),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}, "unsupported_content",
            "messages[1].content[0]:",
        ),
        ({"role": "function", "content": "x"}, "invalid_messages", "messages[1].role"),
        (
            {"role": "assistant", "tool_calls": [call("a"), call("b", "{oops")]}, "invalid_tool_arguments",
            "messages[1].tool_calls[1].function.arguments is not valid JSON",
        ),
        (
            {"role": "assistant", "tool_calls": [call("a", "[1]")]}, "invalid_tool_arguments",
            "messages[1].tool_calls[0].function.arguments must be",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_place(message: Any, code: str, place: str) -> None:
    error = refused(USER, message)
    assert (error.code, str(error).startswith(place)) == (code, True)


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "limit"),
    [({"max_tokens": 5}, 5), ({"max_completion_tokens": 7, "max_tokens": 5}, 7), ({"max_tokens": None}, 16_384)],
)
def test_the_limit(asked: dict[str, Any], limit: int) -> None:
    assert sent(**asked)["max_tokens"] == limit


@pytest.mark.parametrize("n", [2, "1", 0.5])
def test_more_than_one_reply_is_refused(n: Any) -> None:
    assert refused(n=n).code == "unsupported_n"


def test_stops_streams_and_the_user() -> None:
    assert sent(stop="END")["stop_sequences"] == ["END"]
    body = sent(stop=["A", "B"], stream=True, stream_options={"include_usage": True}, user="u1")
    assert (body["stop_sequences"], body["stream"], body["metadata"]) == (["A", "B"], True, {"user_id": "u1"})
    assert "stream_options" not in body


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        (OLD, True), ("claude-3-5-sonnet-latest", True), ("claude-opus-4-20250514", True), ("claude-opus-4-6", True),
        ("anthropic/claude-sonnet-4.5", True), ("claude-opus-4-7", False), ("claude-opus-4.8", False),
        ("claude-sonnet-5", False), ("claude-haiku-5-5", False), ("claude-fable-5.1", False), ("MiniMax-M2.5", True),
        (None, True),
    ],
)
def test_only_models_that_take_a_temperature_get_one(model: Any, takes: bool) -> None:
    body = sent(model=model, temperature=0.3, top_p=0.9)
    assert (body.get("temperature"), "top_p" in body) == (0.3 if takes else None, False)
    assert sent(model=model, top_p=0.9).get("top_p") == (0.9 if takes else None)


def test_the_scale_of_temperature_ends_at_one() -> None:
    assert [sent(model=OLD, temperature=heat)["temperature"] for heat in (0, 1.7)] == [0, 1]


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({}, {}),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        ({"parallel_tool_calls": True}, {}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}, "parallel_tool_calls": False},
            {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
        ),
    ],
)
def test_tools_and_their_choice(choice: dict[str, Any], told: dict[str, Any]) -> None:
    body = sent(tools=FUNCTIONS, **choice)
    assert (body["tools"], body.get("tool_choice", {})) == ([TOOL], told)


def test_a_function_without_parameters_takes_none() -> None:
    tools = [{"type": "function", "function": {"name": "now"}}, {"type": "custom", "custom": {"name": "c"}}]
    assert sent(tools=tools)["tools"] == [{"name": "now", "input_schema": {"type": "object", "properties": {}}}]
    assert "tools" not in sent(tools=tools[1:], tool_choice="auto")


@pytest.mark.parametrize("choice", [{"type": "custom", "custom": {"name": "c"}}, {"type": "allowed_tools"}, "often", 3])
def test_a_choice_that_cannot_be_made_here_is_refused(choice: Any) -> None:
    assert refused(tools=FUNCTIONS, tool_choice=choice).code == "invalid_tool_choice"


def test_a_forced_call_without_functions_is_refused() -> None:
    assert refused(tools=[{"type": "custom"}], tool_choice="required").code == "invalid_tool_choice"


def test_a_schema_for_the_reply_is_closed_as_anthropic_wants_it() -> None:
    inner = {"type": "array", "items": {"type": "object", "properties": {"type": {"type": "string"}}}}
    schema = {"type": "object", "properties": {"a": inner}, "required": ["a"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}
    told = sent(response_format=wanted, reasoning_effort="minimal")["output_config"]
    assert told["effort"] == "low"
    assert told["format"]["type"] == "json_schema"
    closed = told["format"]["schema"]
    assert closed["additionalProperties"] is False
    assert closed["properties"]["a"]["items"]["additionalProperties"] is False
    assert "additionalProperties" not in closed["properties"]["a"]


def test_any_json_is_asked_for_in_words() -> None:
    body = sent({"role": "system", "content": "a"}, USER, response_format={"type": "json_object"})
    assert body["system"] == f"a\n\n{chat_on_messages.JSON_ONLY}"
    assert "output_config" not in body


@pytest.mark.parametrize(
    ("model", "efforts"),
    [
        (OLD, {}), ("claude-sonnet-4-5-20250929", {}), ("claude-opus-4-20250514", {}), ("claude-opus-4-1", {}),
        ("claude-3-7-sonnet-latest", {}), ("MiniMax-M2.5", {}), (None, {}),
        ("claude-opus-4-5-20251101", {"low": "low", "xhigh": "high", "max": "high"}),
        ("anthropic/claude-opus-4.6", {"low": "low", "xhigh": "high", "max": "max"}),
        ("us.anthropic.claude-sonnet-4-6-v1:0", {"low": "low", "xhigh": "high", "max": "max"}),
        ("claude-mythos-preview", {"low": "low", "xhigh": "high", "max": "max"}),
        ("claude-opus-4-7", {"low": "low", "xhigh": "xhigh", "max": "max"}),
        ("claude-haiku-5-5", {"low": "low", "xhigh": "xhigh", "max": "max"}),
    ],
)
def test_only_models_that_take_an_effort_get_one_and_none_above_what_they_know(
    model: Any, efforts: dict[str, str]
) -> None:
    bodies = {asked: sent(model=model, reasoning_effort=asked) for asked in ("low", "xhigh", "max")}
    told = {asked: body["output_config"]["effort"] for asked, body in bodies.items() if "output_config" in body}
    assert told == efforts


@pytest.mark.parametrize("model", [OLD, "claude-opus-4-8", "claude-opus-5", "claude-sonnet-5-5"])
def test_no_reasoning_is_asked_for_as_no_thinking(model: str) -> None:
    body = sent(model=model, reasoning_effort="none")
    assert (body["thinking"], "output_config" in body) == ({"type": "disabled"}, False)


@pytest.mark.parametrize("model", ["claude-opus-5-5", "claude-fable-5.1", "claude-mythos-preview"])
def test_models_that_always_think_are_asked_for_little_of_it(model: str) -> None:
    body = sent(model=model, reasoning_effort="none")
    assert ("thinking" in body, body["output_config"]) == (False, {"effort": "low"})
