"""The messages dialect: read what must be known, put text behind what is cached, change nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.dialects import messages
from metaclaw.errors import RequestError
from recorded_streams import HELLO, OVERLOADED, THINKING_THEN_TOOLS, event, started

ODD = (
    b' {"model" : "m",\t"max_tokens":1e1,"system":[ {"type":"text","text":"\\u00e9\xc3\xa9","cache_control":{}} ],\n'
    b'"messages":[ {"role":"user","content":"x"} ],"x_new":{"k":[]} }\n'
)
REMINDER = "<system-reminder>The date is 2026-01-31.</system-reminder>"

TEXT = st.text(max_size=20)
LEAF = st.one_of(st.none(), st.booleans(), st.integers(), TEXT)
ANY = st.recursive(LEAF, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)))
BLOCK = st.fixed_dictionaries(
    {"type": st.just("text"), "text": TEXT},
    optional={"cache_control": st.sampled_from([{"type": "ephemeral"}, None]), "x": ANY},
)
SYSTEM = st.one_of(st.none(), TEXT, st.lists(BLOCK, max_size=4))
ROLE = st.sampled_from(["user", "assistant"])
MESSAGE = st.fixed_dictionaries({"role": ROLE, "content": st.one_of(TEXT, st.lists(BLOCK, max_size=2))})
BODY = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGE, min_size=1, max_size=3)},
    optional={"system": SYSTEM, "model": TEXT, "tools": ANY, "extra": ANY},
)


def asked(*said: Any, **more: Any) -> bytes:
    turns = [{"role": "user" if i % 2 == 0 else "assistant", "content": content} for i, content in enumerate(said)]
    return json.dumps({"model": "m", "max_tokens": 10, "messages": turns, **more}).encode()


# -- bytes -------------------------------------------------------------------------------------------------------------


@given(BODY, st.sampled_from([None, 0, 3]), st.booleans())
def test_nothing_to_change_gives_the_very_same_bytes(
    body: dict[str, Any], indent: int | None, ascii_only: bool
) -> None:
    raw = json.dumps(body, indent=indent, ensure_ascii=ascii_only).encode(errors="replace")
    assert messages.for_upstream(messages.parse(raw), "", None) == raw


@given(BODY, TEXT.filter(bool), st.sampled_from([None, 0, 3]), st.booleans(), st.sampled_from([None, "other"]))
def test_splicing_means_what_composing_means(
    body: dict[str, Any], text: str, indent: int | None, ascii_only: bool, model: str | None
) -> None:
    raw = json.dumps(body, indent=indent, ensure_ascii=ascii_only).encode(errors="replace")
    request = messages.parse(raw)
    injected = {"system": messages.inject(request.body.get("system"), text)}
    expected = {**request.exact_body(), **injected} | ({"model": model} if model else {})
    assert json.loads(messages.for_upstream(request, text, model)) == expected


def test_the_text_goes_right_behind_the_last_cached_block() -> None:
    cached, plain = b'{"text" : "c","type":"text","cache_control":{"type":"ephemeral"}}', b'{"type":"text","text":"p"}'
    new = b', {"type": "text", "text": "NEW"}'
    before = b'{"system":[ ' + plain + b" ," + cached
    after = b" , " + plain + b'],"messages":[{"role":"user","content":"x"}]}'
    assert messages.for_upstream(messages.parse(before + after), "NEW", None) == before + new + after


@pytest.mark.parametrize(
    ("system", "sent"),
    [
        (b'"Be brief."', b'"Be brief.\\n\\nNEW"'),
        (b'""', b'"NEW"'),
        (b"null", b'"NEW"'),
        (b"[ ]", b'[ {"type": "text", "text": "NEW"}]'),
        (b'[{"type":"text","text":"a"} ]', b'[{"type":"text","text":"a"}, {"type": "text", "text": "NEW"} ]'),
    ],
)
def test_only_the_system_prompt_changes(system: bytes, sent: bytes) -> None:
    raw = b'{ "messages":[{"role":"user","content":"x"}],"system" : ' + system + b"}"
    assert messages.for_upstream(messages.parse(raw), "NEW", None) == raw.replace(system, sent)


def test_without_a_system_prompt_there_is_one_now() -> None:
    raw = asked("x")
    assert messages.for_upstream(messages.parse(raw), "NEW", None) == b'{"system": "NEW", ' + raw[1:]


def test_the_configured_model_replaces_the_clients() -> None:
    assert messages.for_upstream(messages.parse(ODD), "", "other") == ODD.replace(b'"m"', b'"other"')
    assert messages.for_upstream(messages.parse(ODD), "", "m") == ODD


# -- requests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "code", "named"),
    [
        (b"{", "invalid_json", "not valid JSON"),
        (b"[]", "invalid_body", "JSON object"),
        (b'{"messages": []}', "invalid_messages", "'messages'"),
        (b'{"messages": [7]}', "invalid_messages", "messages[0]"),
        (b'{"messages": [{"content": "x"}]}', "invalid_messages", "'role'"),
        (b'{"messages": [{"role": "user"}]}', "invalid_messages", "'messages[0].content'"),
        (asked("x", [{"type": "text", "text": "y"}, {"text": 1}]), "invalid_messages", "messages[1].content[1]"),
        (asked("x", system=7), "invalid_system", "'system'"),
        (asked("x", system=["a"]), "invalid_system", "system[0]"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(raw: bytes, code: str, named: str) -> None:
    with pytest.raises(RequestError) as refused:
        messages.parse(raw)
    assert (refused.value.status, refused.value.code) == (400, code)
    assert named in str(refused.value)


RESULT = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "not the user's words"}]}


@pytest.mark.parametrize(
    ("said", "query"),
    [
        (["one", "r", "two"], "two"),
        (["one", "r", [{"type": "text", "text": REMINDER}, {"type": "text", "text": "two"}]], "two"),
        (["one", "r", [RESULT]], "one"),
        (["one", "r", [RESULT, {"type": "text", "text": REMINDER}]], "one"),
        ([[RESULT]], ""),
        (["cut here \ud83d"], "cut here ?"),
    ],
)
def test_the_query_is_the_last_that_the_user_wrote(said: list[Any], query: str) -> None:
    assert messages.parse(asked(*said)).query == query


def test_a_stream_is_asked_for_with_true_alone() -> None:
    assert messages.parse(asked("x", stream=True)).stream
    assert not messages.parse(asked("x", stream="true")).stream


def test_what_stays_the_same_from_turn_to_turn() -> None:
    system = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    first = json.loads(asked([{"type": "text", "text": "one"}], system=system))
    later = json.loads(asked([{"type": "text", "text": "one"}], "r", "two", system=system))
    assert messages.opening(first) == messages.opening(later) == ("a\nb", "one")
    assert messages.opening(json.loads(asked([RESULT]))) == ("", "")


def test_the_reply_that_is_asked_for_counts_as_taken() -> None:
    assert messages.parse(asked("x", max_tokens=5000)).tokens_taken() >= 5000


# -- replies -----------------------------------------------------------------------------------------------------------


def test_a_whole_reply_is_read() -> None:
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "Look"},
        {"type": "tool_use", "id": "t", "name": "n", "input": {}}, {"type": "server_tool_use"},
        {"type": "text", "text": "ing."},
    ]
    reader = messages.reader()
    reader.whole(json.dumps({"content": content, "stop_reason": "tool_use", "usage": {"input_tokens": 3}}).encode())
    assert (reader.text, reader.calls, reader.usage, reader.finished) == ("Looking.", 1, {"input_tokens": 3}, True)


def test_a_stream_is_read_as_it_goes_by() -> None:
    reader = messages.reader()
    *before, delta, stop = THINKING_THEN_TOOLS
    for one in before:
        reader.event(one)
    assert (reader.text, reader.calls, reader.finished) == ("Let me look.", 2, False)
    reader.event(delta)
    assert (reader.finished, reader.done) == (True, False)
    reader.event(stop)
    assert reader.done
    assert reader.usage == {
        "input_tokens": 25, "output_tokens": 15, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 1000,
        "output_tokens_details": {"thinking_tokens": 9},
    }


def test_counts_that_are_left_out_later_stay() -> None:
    reader = messages.reader()
    reader.event(started(cache_read_input_tokens=7))
    reader.event(event("message_delta", delta={}, usage={"input_tokens": None, "output_tokens": 9}))
    assert reader.usage == {"input_tokens": 25, "output_tokens": 9, "cache_read_input_tokens": 7}


def test_an_error_ends_a_stream_that_is_not_finished() -> None:
    reader = messages.reader()
    for one in OVERLOADED:
        reader.event(one)
    assert (reader.text, reader.finished, reader.done) == ("Hel", False, True)


KIND = st.sampled_from(["message_start", "content_block_start", "content_block_delta", "message_delta"])
NAME = st.sampled_from(["type", "content", "delta", "usage", "content_block", "message"])


@given(st.one_of(ANY, st.dictionaries(NAME, st.one_of(ANY, KIND))))
def test_a_reply_of_any_shape_is_no_reason_to_fail(body: Any) -> None:
    raw = json.dumps(body).encode()
    messages.reader().whole(raw)
    messages.reader().event(b"data: " + raw + b"\n\n")


@pytest.mark.parametrize("raw", [b"", b"<html>", b"\xff", b"[1]", b": ping\n\n", b"event: ping\ndata: {}\n\n"])
def test_bytes_of_any_kind_are_no_reason_to_fail(raw: bytes) -> None:
    reader = messages.reader()
    reader.whole(raw)
    reader.event(raw)
    assert (reader.text, reader.finished, reader.done) == ("", False, False)


def test_hello_is_read_to_its_end() -> None:
    reader = messages.reader()
    for one in HELLO:
        reader.event(one)
    assert (reader.text, reader.finished, reader.done) == ("Hello!", True, True)


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"), (401, "authentication_error"), (403, "permission_error"),
        (404, "not_found_error"), (405, "invalid_request_error"), (413, "request_too_large"),
        (429, "rate_limit_error"), (500, "api_error"), (502, "api_error"), (503, "overloaded_error"),
        (504, "timeout_error"), (529, "overloaded_error"),
    ],
)
def test_each_status_has_its_type_of_error(status: int, kind: str) -> None:
    error = {"type": kind, "message": "text", "code": "code"}
    assert json.loads(messages.error_body(status, "code", "text")) == {"type": "error", "error": error}
    framed = messages.error_event(status, "code", "text")
    assert framed == b"event: error\ndata: " + messages.error_body(status, "code", "text") + b"\n\n"


def test_a_type_of_error_has_its_status() -> None:
    assert [messages.status_of(kind) for kind in ("rate_limit_error", "timeout_error", None)] == [429, 504, 500]
