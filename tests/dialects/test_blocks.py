"""A conversation in content blocks, told in chat messages."""

from __future__ import annotations

from typing import Any

import pytest

from metaclaw.dialects import blocks
from metaclaw.dialects.boilerplate import strip_boilerplate
from metaclaw.types import Message

PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
PNG_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
LINKED = {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}}


def told(*messages: tuple[str, Any], system: Any = None) -> list[Message]:
    return blocks.as_chat(system, [{"role": role, "content": content} for role, content in messages])


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def result(call: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call, "content": content, **more}


@pytest.mark.parametrize("system", ["a\n\nb", [text("a"), text(""), {**text("b"), "cache_control": {}}]])
def test_the_system_prompt_is_the_first_message(system: Any) -> None:
    assert told(("user", "x"), system=system) == [
        {"role": "system", "content": "a\n\nb"}, {"role": "user", "content": "x"},
    ]


def test_what_claude_code_tells_anthropic_of_itself_is_no_instruction() -> None:
    system = [text("x-anthropic-billing-header: cc_version=2.1; cch=a1b2;"), text("Be brief.")]
    assert told(("user", "x"), system=system)[0] == {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize("system", [None, "", []])
def test_without_a_system_prompt_there_is_no_such_message(system: Any) -> None:
    assert told(("user", "x"), system=system) == [{"role": "user", "content": "x"}]


def test_text_alone_is_a_string_and_images_are_parts() -> None:
    assert told(("user", [text("a"), text("b")])) == [{"role": "user", "content": "a\nb"}]
    linked = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
    assert told(("user", [text("a"), PNG, LINKED])) == [{"role": "user", "content": [text("a"), PNG_PART, linked]}]


def test_an_assistants_text_calls_and_thoughts() -> None:
    content = [
        {"type": "thinking", "thinking": "one", "signature": "s"},
        {"type": "thinking", "thinking": "two", "signature": "s"},
        {"type": "redacted_thinking", "data": "xyz"},
        text("Look"), text("ing."),
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": ["é", 1]}},
        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
    ]
    first = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": ["\\u00e9", 1]}'}}
    second = {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    assert told(("assistant", content)) == [
        {
            "role": "assistant", "content": "Looking.", "reasoning_content": "one\n\ntwo",
            "tool_calls": [first, second],
        }
    ]


def test_an_assistant_that_only_calls_says_nothing() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    assert told(("assistant", [call]))[0]["content"] is None
    assert told(("assistant", "r")) == [{"role": "assistant", "content": "r"}]


def test_results_come_before_what_the_user_wrote_beside_them() -> None:
    content = [text("go on"), result("t1", "one"), result("t2", [text("two"), text("lines")])]
    assert told(("user", content)) == [
        {"role": "tool", "tool_call_id": "t1", "content": "one"},
        {"role": "tool", "tool_call_id": "t2", "content": "two\nlines"},
        {"role": "user", "content": "go on"},
    ]


def test_images_of_a_result_follow_it() -> None:
    content = [result("t1", [PNG]), result("t2", [text("seen"), PNG]), text("go on")]
    assert told(("user", content)) == [
        {"role": "tool", "tool_call_id": "t1", "content": blocks.ELSEWHERE},
        {"role": "tool", "tool_call_id": "t2", "content": "seen"},
        {"role": "user", "content": [PNG_PART, PNG_PART, text("go on")]},
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [("no such file", "Error: no such file"), ("Error: no", "Error: no"), ([text("a")], "Error: a"), ([], "Error: ")],
)
def test_a_tool_that_failed_says_so(content: Any, said: str) -> None:
    assert told(("user", [result("t1", content, is_error=True)]))[0]["content"] == said


def test_a_result_without_content_is_empty() -> None:
    without = {"type": "tool_result", "tool_use_id": "t1"}
    assert told(("user", [without])) == [{"role": "tool", "tool_call_id": "t1", "content": ""}]


def test_neighbours_of_one_role_are_one_turn() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    said, answered = [("user", "a"), ("user", "b")], [("assistant", "r"), ("assistant", [call])]
    messages = told(*said, *answered, ("user", [result("t1", "x")]), ("user", "c"))
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "user"]
    assert messages[0]["content"] == "a\nb"
    assert messages[1]["content"] == "r"


def test_an_instruction_in_the_middle_goes_into_the_users_turn_without_being_the_users_words() -> None:
    note = [{**text("note"), "cache_control": {}}]
    said, reply = told(("user", "a"), ("system", note), ("system", ""), ("assistant", "r"))
    assert said == {"role": "user", "content": "a\n<system-reminder>\nnote\n</system-reminder>"}
    assert strip_boilerplate(said["content"]) == "a"
    assert reply == {"role": "assistant", "content": "r"}
    assert told(("user", "a"), ("system", [])) == [{"role": "user", "content": "a"}]


def test_documents_search_results_and_references() -> None:
    plain = {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "d"}}
    nested = {"type": "document", "source": {"type": "content", "content": [text("n")]}}
    found = {"type": "search_result", "title": "S", "source": "https://s.example", "content": [text("c")]}
    reference = {"type": "tool_reference", "tool_name": "f"}
    assert told(("user", [plain, nested, found, reference]))[0]["content"] == "T\nd\nn\nS\nhttps://s.example\nc\nf"
    source = {"type": "base64", "media_type": "application/pdf", "data": "x"}
    pdf = {"type": "document", "title": "a.pdf", "source": source}
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,x"}}
    assert told(("user", [pdf])) == [{"role": "user", "content": [file]}]


def test_what_only_anthropic_can_read_is_left_out() -> None:
    stored = {"type": "image", "source": {"type": "file", "file_id": "f"}}
    upload = {"type": "container_upload", "file_id": "f"}
    assert told(("user", [text("a"), stored, upload, {"type": "x_new"}])) == [{"role": "user", "content": "a"}]
