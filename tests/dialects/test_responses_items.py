"""Input items of every kind as chat messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metaclaw.dialects.responses_items import messages


def chat(*items: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    return messages({"input": list(items), **more})


def call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def made(call_id: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "ls", "arguments": "{}"}


def answered(call_id: str, output: Any) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def thought(text: str) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}


def test_instructions_and_leading_system_messages_become_one() -> None:
    string, parts = {"role": "developer", "content": "B"}, [{"type": "input_text", "text": "C"}]
    late = {"role": "developer", "content": "Late."}
    said = chat(string, {"role": "system", "content": parts}, {"role": "user", "content": "Hi"}, late, instructions="A")
    assert said == [
        {"role": "system", "content": "A\n\nB\n\nC"},
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": "<system-reminder>\nLate.\n</system-reminder>"},
    ]
    assert messages({"input": "Hi"}) == [{"role": "user", "content": "Hi"}]


def test_calls_join_what_was_said_before_them_and_each_other() -> None:
    said = chat(
        {"role": "user", "content": "Both, please."},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Looking."}]},
        {"type": "function_call", "id": "fc_1", "call_id": "a", "name": "ls", "arguments": '{"p": 1}'},
        {"type": "function_call", "call_id": "b", "name": "spawn", "namespace": "agents", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "b", "output": "B"},
        {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "A"}]},
        {"type": "function_call", "call_id": "c", "name": "ls", "arguments": "{}"},
    )
    assert said[1:] == [
        {
            "role": "assistant", "content": "Looking.",
            "tool_calls": [call("a", "ls", '{"p": 1}'), call("b", "agents__spawn", "{}")],
        },
        {"role": "tool", "tool_call_id": "b", "content": "B"},
        {"role": "tool", "tool_call_id": "a", "content": "A"},
        {"role": "assistant", "content": None, "tool_calls": [call("c", "ls", "{}")]},
    ]


def test_what_comes_between_a_call_and_its_output_does_not_part_them() -> None:
    """OpenAI refuses a call whose output does not stand right behind it."""
    said = chat(
        thought("Two."), made("a"), thought("And b."), made("b"), {"role": "assistant", "content": "Looking."},
        {"role": "user", "content": "Hurry."}, answered("a", "A"), {"role": "assistant", "content": "One more."},
        {"role": "developer", "content": "Late."}, made("c"), answered("c", "C"), thought("Hm."), answered("b", "B"),
        {"role": "assistant", "content": "Done."},
    )
    assert said == [
        {
            "role": "assistant", "content": "Looking.\n\nOne more.", "reasoning_content": "Two.\n\nAnd b.\n\nHm.",
            "tool_calls": [call(one, "ls", "{}") for one in "abc"],
        },
        {"role": "tool", "tool_call_id": "a", "content": "A"},
        {"role": "tool", "tool_call_id": "c", "content": "C"},
        {"role": "tool", "tool_call_id": "b", "content": "B"},
        {"role": "user", "content": "Hurry."},
        {"role": "user", "content": "<system-reminder>\nLate.\n</system-reminder>"},
        {"role": "assistant", "content": "Done."},
    ]


def test_a_call_without_an_output_holds_nothing_back() -> None:
    hurry, told = {"role": "user", "content": "Hurry."}, {"role": "assistant", "content": "Yes."}
    said = chat(made("a"), hurry, told, thought("Again."), made("a"), answered("a", "A"))
    assert [one["role"] for one in said] == ["assistant", "user", "assistant", "assistant", "tool"]
    assert said[1:3] == [hurry, told]


@pytest.mark.parametrize(
    ("item", "name", "arguments"),
    [
        ({"type": "custom_tool_call", "name": "patch", "input": "*** Begin"}, "patch", {"input": "*** Begin"}),
        ({"type": "local_shell_call", "action": {"command": ["ls"]}}, "local_shell", {"command": ["ls"]}),
        ({"type": "shell_call", "action": {"commands": ["ls"]}}, "shell", {"commands": ["ls"]}),
        ({"type": "apply_patch_call", "operation": {"path": "a"}}, "apply_patch", {"path": "a"}),
        ({"type": "tool_search_call", "arguments": {"query": "mail"}}, "tool_search", {"query": "mail"}),
    ],
)
def test_every_call_that_the_client_answers(item: dict[str, Any], name: str, arguments: Any) -> None:
    (said,) = chat({"call_id": "c1", **item})
    (one,) = said["tool_calls"]
    assert (one["id"], one["function"]["name"], json.loads(one["function"]["arguments"])) == ("c1", name, arguments)


@pytest.mark.parametrize(
    ("item", "content"),
    [
        ({"type": "custom_tool_call_output", "output": "Done."}, "Done."),
        ({"type": "shell_call_output", "output": [{"stdout": "a"}]}, '[{"stdout": "a"}]'),
        ({"type": "tool_search_output", "tools": [{"type": "function", "name": "send"}]}, '["send"]'),
        ({"type": "function_call_output", "output": []}, ""),
    ],
)
def test_every_answer_to_a_call(item: dict[str, Any], content: str) -> None:
    assert chat({"call_id": "c1", **item}) == [{"role": "tool", "tool_call_id": "c1", "content": content}]


def test_a_local_shell_is_answered_under_its_own_id() -> None:
    """Its output has no `call_id`."""
    assert chat({"type": "local_shell_call_output", "id": "c1", "output": "a"})[0]["tool_call_id"] == "c1"


def test_images_files_and_sound() -> None:
    parts = [
        {"type": "input_text", "text": "Look:"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "high"},
        {"type": "input_image", "image_url": "data:image/png;base64,BB", "detail": "original"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,CC"},
        {"type": "input_audio", "input_audio": {"data": "DD", "format": "wav"}},
    ]
    assert chat({"role": "user", "content": parts}) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "high"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,BB"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,CC"}},
                {"type": "input_audio", "input_audio": {"data": "DD", "format": "wav"}},
            ],
        }
    ]


def test_what_outputs_hold_beside_text_comes_behind_the_last_of_them() -> None:
    """A chat message of role `tool` holds text alone."""
    images = [{"type": "input_image", "image_url": f"data:image/png;base64,{data}"} for data in ("AA", "BB")]
    outputs = [answered("a", images[:1]), answered("b", [{"type": "input_text", "text": "B"}, *images[1:]])]
    hurry = {"role": "user", "content": "Hurry."}
    told: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": "a", "content": "See the next message."},
        {"role": "tool", "tool_call_id": "b", "content": "B"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": one["image_url"]}} for one in images]},
    ]
    assert chat(made("a"), made("b"), *outputs)[1:] == told
    assert chat(made("a"), made("b"), hurry, *outputs)[1:] == [*told, hurry]
    assert chat(*outputs, thought("Hm."), made("c"))[:3] == told


def test_thoughts_go_back_to_the_model_that_had_them_and_no_others_do() -> None:
    shown = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "no"}]}
    in_full, ls = thought("Hm.") | shown, made("c1")
    assert chat(in_full, ls)[0]["reasoning_content"] == "Hm."
    assert chat(in_full, {"role": "assistant", "content": "Yes."}) == [
        {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}
    ]
    assert [len(one["tool_calls"]) for one in chat(ls, in_full, ls)] == [1, 1]
    assert "reasoning_content" not in chat({**shown, "encrypted_content": "gAAA"}, ls)[0]


def test_what_only_the_provider_can_read_or_run_is_left_out() -> None:
    assert (
        chat(
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
            {"type": "compaction", "encrypted_content": "gAAA"},
            {"type": "additional_tools", "role": "developer", "tools": []},
            {"type": "message", "role": "tool", "content": "no such role"},
            {"role": 7, "content": "x"},
        )
        == []
    )
