"""The Responses dialect: read what must be known, change nothing else."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.dialects import responses
from metaclaw.errors import RequestError

ODD = b' {"model" : "m",\t"input":[ {"role":"user","content":"\\u00e9\xc3\xa9", "x":1e2} ],"x_new":{"k":[]} }\n'
ENVIRONMENT = "<environment_context>\n  <cwd>/home/ada</cwd>\n</environment_context>"
AGENTS = "# AGENTS.md instructions for /home/ada\n\n<INSTRUCTIONS>\nBe brief.\n</INSTRUCTIONS>"


def item(role: str, *texts: str) -> dict[str, Any]:
    """A message item as Codex sends it."""
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text} for text in texts]}


CODEX = {
    "model": "m", "stream": True, "store": False,
    "input": [
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "custom", "name": "exec"}]},
        item("developer", "You are Codex."),
        item("developer", "<permissions instructions>...</permissions instructions>"),
        item("user", AGENTS, ENVIRONMENT),
        item("user", "Rename the notes."),
        {"type": "function_call", "call_id": "c1", "name": "ls", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "notes.txt"},
    ],
}


def sent(body: dict[str, Any], text: str, model: str | None = None) -> dict[str, Any]:
    """What the upstream gets, parsed."""
    parsed: dict[str, Any] = json.loads(responses.for_upstream(responses.parse(json.dumps(body).encode()), text, model))
    return parsed


# -- requests ----------------------------------------------------------------------------------------------------------


def test_nothing_to_change_gives_the_very_same_bytes() -> None:
    assert responses.for_upstream(responses.parse(ODD), "", None) is ODD
    assert responses.for_upstream(responses.parse(ODD), "", "m") is ODD


@pytest.mark.parametrize(
    ("raw", "code", "named"),
    [
        (b"{", "invalid_json", "not valid JSON"),
        (b"[]", "invalid_body", "JSON object"),
        (b"{}", "invalid_input", "'input'"),
        (b'{"input": 7}', "invalid_input", "'input'"),
        (b'{"input": {"role": "user"}}', "invalid_input", "'input'"),
        (b'{"input": [{"role": "user", "content": "x"}, "y"]}', "invalid_input", "input[1]"),
        (b'{"input": "x", "instructions": ["y"]}', "invalid_instructions", "'instructions'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(raw: bytes, code: str, named: str) -> None:
    with pytest.raises(RequestError) as refused:
        responses.parse(raw)
    assert (refused.value.status, refused.value.code) == (400, code)
    assert named in str(refused.value)


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "prompt"])
def test_what_stands_for_the_input_may_stand_alone(name: str) -> None:
    raw = json.dumps({"model": "m", name: "x_1"}).encode()
    request = responses.parse(raw)
    assert (request.query, request.stream, responses.for_upstream(request, "", None)) == ("", False, raw)
    assert json.loads(responses.for_upstream(request, "NEW", None))["instructions"] == "NEW"


def test_the_query_is_what_the_user_wrote_last() -> None:
    def query(*items: dict[str, Any] | str) -> str:
        sent: Any = items[0] if isinstance(items[0], str) else list(items)
        return responses.parse(json.dumps({"input": sent}).encode()).query

    assert query("Hi") == "Hi"
    assert query(item("user", "one"), item("assistant", "no"), item("user", "two", "three")) == "two\nthree"
    assert query({"role": "user", "content": "plain"}, item("developer", "no")) == "plain"
    assert query(*CODEX["input"]) == "Rename the notes."  # type: ignore[misc]
    assert query(item("user", "mine"), item("user", ENVIRONMENT)) == "mine"
    assert query(item("developer", "no"), {"type": "function_call_output", "call_id": "c", "output": "no"}) == ""
    assert query({"role": "user", "content": "cut \ud83d"}) == "cut ?"


def test_the_reply_that_is_asked_for_counts_as_taken() -> None:
    def taken(**more: Any) -> int:
        return responses.parse(json.dumps({"input": "x", **more}).encode()).tokens_taken()

    assert taken(max_output_tokens=5000) >= 5000 > taken()


# -- where the injected text goes --------------------------------------------------------------------------------------


def test_injected_at_the_end_of_the_last_leading_system_message() -> None:
    expected = copy.deepcopy(CODEX)
    expected["input"][2]["content"].append({"type": "input_text", "text": "NEW"})  # type: ignore[index]
    assert sent(CODEX, "NEW") == expected
    short = {"instructions": "mine", "input": [{"role": "system", "content": "Be brief."}, item("user", "Hi")]}
    assert sent(short, "NEW")["input"][0]["content"] == "Be brief.\n\nNEW"
    assert sent(short, "NEW")["instructions"] == "mine"


def test_else_injected_at_the_end_of_the_instructions() -> None:
    late = [item("user", "Hi"), item("developer", "Late.")]
    assert sent({"input": late, "instructions": "Be brief."}, "NEW") == {
        "input": late, "instructions": "Be brief.\n\nNEW",
    }
    for none in ({"instructions": None}, {"instructions": ""}, {}):
        assert sent({"input": "Hi", **none}, "NEW") == {"input": "Hi", "instructions": "NEW"}


def test_only_the_injection_point_changes() -> None:
    system, rest = b'{"content":"Be \\u00e9xact." , "role":"developer"}', b'{"role":"user","content":"x"} ], "n": 1.0 }'
    raw = b'{ "model":"m",\n "input" : [ ' + system + b", " + rest
    assert responses.for_upstream(responses.parse(raw), "NEW", None) == raw.replace(b"xact.", b"xact.\\n\\nNEW")
    assert responses.for_upstream(responses.parse(raw), "", "other") == raw.replace(b'"m"', b'"other"')


TEXT = st.text(max_size=12)
PART = st.one_of(
    st.fixed_dictionaries({"type": st.sampled_from(["input_text", "output_text"]), "text": TEXT}),
    st.fixed_dictionaries({"type": st.just("input_image"), "image_url": TEXT}),
)
CONTENT = st.one_of(TEXT, st.lists(PART, max_size=3), st.none())
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user", "assistant"]), "content": CONTENT},
    optional={"type": st.just("message"), "id": TEXT, "x": st.integers()},
)
OTHER = st.sampled_from(
    [
        {"type": "additional_tools", "role": "developer", "tools": []},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "o"},
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"},
        {"type": "item_reference", "id": "msg_1"},
    ]
)
BODY = st.fixed_dictionaries(
    {"input": st.one_of(TEXT, st.lists(st.one_of(MESSAGE, OTHER), max_size=4))},
    optional={"instructions": st.one_of(TEXT, st.none()), "model": TEXT, "extra": st.lists(TEXT, max_size=2)},
)


def composed(body: dict[str, Any], text: str, model: str | None) -> dict[str, Any]:
    """The same on parsed JSON, written down as the dialect's docstring has it."""
    body = copy.deepcopy(body) | ({"model": model} if model else {})
    place, field, part = body, "instructions", None
    for one in body["input"] if isinstance(body["input"], list) else []:
        if one.get("type") == "additional_tools":
            continue
        if one.get("role") not in ("system", "developer"):
            break
        if one["content"] is not None:
            place, field, part = one, "content", {"type": "input_text", "text": text}
    if isinstance(place.get(field), list):
        place[field].append(part)
    else:
        place[field] = f"{place[field]}\n\n{text}" if place.get(field) else text
    return body


@given(BODY, TEXT.filter(bool), st.sampled_from([None, 0, 3]), st.booleans(), st.sampled_from([None, "other"]))
def test_splicing_means_what_composing_means(
    body: dict[str, Any], text: str, indent: int | None, ascii_only: bool, model: str | None
) -> None:
    raw = json.dumps(body, indent=indent, ensure_ascii=ascii_only).encode(errors="replace")
    request = responses.parse(raw)
    assert json.loads(responses.for_upstream(request, text, model)) == composed(request.exact_body(), text, model)
    assert responses.for_upstream(request, "", None) is raw


# -- conversations -----------------------------------------------------------------------------------------------------


def test_the_opening_stays_the_same_from_turn_to_turn() -> None:
    system, said = responses.opening(CODEX)
    assert said == "Rename the notes."
    assert system == "You are Codex.\n\n<permissions instructions>...</permissions instructions>"
    later = {**CODEX, "input": [*CODEX["input"], item("assistant", "Done."), item("user", "More.")]}  # type: ignore[misc]
    assert responses.opening(later) == (system, said)
    assert responses.opening({"input": "Hi", "instructions": "Be brief."}) == ("Be brief.", "Hi")
    assert responses.opening({"previous_response_id": "resp_1"}) == ("", "")


def test_a_conversation_in_the_shape_of_chat() -> None:
    assert responses.conversation(CODEX) == [
        {"role": "system", "content": "You are Codex.\n\n<permissions instructions>...</permissions instructions>"},
        {"role": "user", "content": f"{AGENTS}\n{ENVIRONMENT}"},
        {"role": "user", "content": "Rename the notes."},
        {
            "role": "assistant", "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "ls", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "notes.txt"},
    ]


# -- replies -----------------------------------------------------------------------------------------------------------

USAGE = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
OUTPUT = [
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {
        "type": "message", "role": "assistant",
        "content": [
            {"type": "output_text", "text": "Hel", "annotations": []}, {"type": "output_text", "text": "lo"},
            {"type": "refusal", "refusal": "no"},
        ],
    },
    {"type": "function_call", "call_id": "c1", "name": "ls", "arguments": "{}"},
    {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    {"type": "custom_tool_call", "call_id": "c2", "name": "exec", "input": "x"},
]


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\r\ndata: {json.dumps({'type': kind, **fields})}\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("status", "finished"), [("completed", True), ("incomplete", True), ("failed", False), ("queued", False)]
)
def test_a_whole_reply_is_read(status: str, finished: bool) -> None:
    reader = responses.reader()
    reader.whole(json.dumps({"id": "resp_1", "status": status, "output": OUTPUT, "usage": USAGE}).encode())
    assert (reader.text, reader.calls, reader.finished, reader.usage) == ("Hello", 2, finished, USAGE)


@pytest.mark.parametrize("end", ["completed", "incomplete"])
def test_a_stream_is_read_as_it_goes_by(end: str) -> None:
    reader = responses.reader()
    stream = [
        event("response.created", response={"id": "resp_1"}), b": keep-alive\n\n", b"data: not json\n\n",
        event("response.output_text.delta", delta="Hel"), event("response.output_text.delta", delta="lo"),
        event("response.function_call_arguments.delta", delta="{}"),
        *(event("response.output_item.done", item=one) for one in OUTPUT),
    ]
    for one in stream:
        reader.event(one)
        assert not (reader.finished or reader.done)
    reader.event(event(f"response.{end}", response={"output": OUTPUT, "usage": USAGE}))
    assert (reader.text, reader.calls, reader.finished, reader.done) == ("Hello", 2, True, True)
    assert reader.usage == USAGE
    reader.event(b"data: [DONE]\n\n")
    assert (reader.text, reader.finished, reader.done) == ("Hello", True, True)


@pytest.mark.parametrize("last", [event("response.failed", response={"status": "failed"}), event("error", message="m")])
def test_a_failure_ends_a_stream_and_does_not_finish_it(last: bytes) -> None:
    reader = responses.reader()
    reader.event(event("response.output_text.delta", delta="half"))
    reader.event(last)
    assert (reader.text, reader.finished, reader.done) == ("half", False, True)


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[1]", b'{"output": 3}', b'{"output": [null, {"content": 4}]}'])
def test_a_reply_of_any_shape_is_no_reason_to_fail(raw: bytes) -> None:
    reader = responses.reader()
    reader.whole(raw)
    reader.event(b"data: " + raw + b"\n\n")
    reader.event(b'data: {"type": "response.completed", "response": 3}\n\n')
    assert reader.text == ""


@pytest.mark.parametrize("odd", [{}, [], 3, None])
def test_an_event_of_any_shape_is_no_reason_to_fail(odd: Any) -> None:
    reader = responses.reader()
    for name in ("type", "delta", "item", "response"):
        for kind in ("response.output_text.delta", "response.output_item.done", "response.completed"):
            body = {"type": kind, "item": {"type": odd}, "response": {"output": [odd, {"content": odd}]}, name: odd}
            reader.event(f"data: {json.dumps(body)}\n\n".encode())
    assert (reader.text, reader.calls) == ("", 0)


def test_the_text_of_a_stream_without_deltas_is_in_its_last_event() -> None:
    reader = responses.reader()
    reader.event(event("response.completed", response={"output": OUTPUT}))
    assert reader.text == "Hello"


def test_an_error_in_a_stream_tells_codex_and_the_sdk_alike() -> None:
    """Codex reads `response.error` of `response.failed`, the SDK an `error` at the top."""
    raw = responses.error_event(502, "upstream_broke_off", "It broke off.")
    assert raw.startswith(b"event: response.failed\ndata: {")
    data = json.loads(raw.partition(b"data: ")[2])
    assert data["error"] == data["response"]["error"]
    assert (data["error"]["code"], data["error"]["message"]) == ("upstream_broke_off", "It broke off.")
    assert (data["type"], data["response"]["status"]) == ("response.failed", "failed")
    reader = responses.reader()
    reader.event(raw)
    assert (reader.done, reader.finished) == (True, False)
