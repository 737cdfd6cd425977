"""A spliced body means what the parsed and composed one means, and differs from the client's nowhere else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.dialects import chat, splice

TEXT = st.text(max_size=20)
PARTS = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXT}), max_size=3)
CONTENT = st.one_of(TEXT, PARTS, st.none())
ROLES = st.sampled_from(["system", "developer", "user", "assistant"])
MESSAGE = st.fixed_dictionaries({"role": ROLES}, optional={"content": CONTENT, "name": TEXT, "x": st.integers()})
LEAF = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT)
ANY = st.recursive(LEAF, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)))
BODY = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGE, min_size=1, max_size=3)}, optional={"model": TEXT, "tools": ANY, "extra": ANY}
)


@given(BODY, TEXT.filter(bool), st.sampled_from([None, 0, 3]), st.booleans(), st.sampled_from([None, "other"]))
def test_splicing_means_what_composing_means(
    body: dict[str, Any], text: str, indent: int | None, ascii_only: bool, model: str | None
) -> None:
    raw = json.dumps(body, indent=indent, ensure_ascii=ascii_only).encode(errors="replace")
    request = chat.parse(raw)
    injected = {"messages": chat.inject(request.exact_body()["messages"], text)}
    expected = {**request.exact_body(), **injected} | ({"model": model} if model else {})
    assert json.loads(chat.for_upstream(request, text, model)) == expected


def test_only_the_injection_point_changes() -> None:
    system, rest = b'{"content":"Be \\u00e9xact." , "role":"system"}', b'{"role":"user"} ], "n" : 1.0 }'
    raw = b'{ "model":"m",\n "messages" : [ ' + system + b", " + rest
    assert chat.for_upstream(chat.parse(raw), "NEW", None) == raw.replace(b"xact.", b"xact.\\n\\nNEW")


def test_the_last_of_two_equal_keys_counts() -> None:
    messages = b'"messages": [], "messages": [{"role": "user", "content": "x"}]'
    raw = b"{" + messages + b', "a": "]}", "model": "a", "m\\u006fdel": "b"}'
    changed = chat.for_upstream(chat.parse(raw), "", "c")
    assert changed == raw.replace(b'"b"', b'"c"')


@given(ANY)
def test_every_value_is_found_where_it_stands(value: Any) -> None:
    document = json.dumps({"a": [0, value], "b": value}, ensure_ascii=False, indent=1).encode(errors="replace")
    paths: list[list[str | int]] = [["a", 1], ["b"]]
    for path in paths:
        span = splice.find(document, path)
        assert span is not None
        assert json.loads(document[span.start : span.end]) == json.loads(document)["b"]


def test_text_goes_right_behind_a_value() -> None:
    document = b'{"a": [1 , {"b": "]"} ]}'
    assert splice.apply(document, [splice.behind(document, ["a", 1], b", 2")]) == b'{"a": [1 , {"b": "]"}, 2 ]}'


def test_what_is_not_there_is_not_found() -> None:
    document = b'{"a": [1, 2], "b": "x"}'
    paths: list[list[str | int]] = [["c"], ["a", 2], ["a", "x"], ["b", 0], ["b", "x"]]
    for path in paths:
        assert splice.find(document, path) is None
    with pytest.raises(KeyError, match=r"a\.2"):
        splice.replace(document, ["a", 2], b"")


@pytest.mark.parametrize(
    "raw",
    [
        b'{"tools": [{"messages": 1}], "messages": [{"content": "a"}]}',  # a second key of that name, elsewhere
        b'{"messages": 0, "messages": [{"content": "a"}]}',  # the last one counts
        b'{"messages": [{"content": "a"}], "x\\"messages": 1}',  # one that only ends like it
        b'{"\\u006dessages": 0, "messages" : [{"content": "a"}]}',  # spelt with an escape, so the later one counts
        b'{"a": "\\"messages\\": [", "messages":[{"content":"a"}]}',  # inside a string
        b'{"a": "messages", "b": ["messages"], "messages":[{"content":"a"}]}',  # a value
    ],
)
def test_the_right_key_is_found_whatever_looks_like_it(raw: bytes) -> None:
    changed = json.loads(splice.apply(raw, [splice.append(raw, ("messages", 0, "content"), b"b")]))
    assert changed == {**json.loads(raw), "messages": [{"content": "ab"}]}


def test_a_key_that_only_an_escape_spells_is_found() -> None:
    raw = b'{"messages": 0, "\\u006dessages": [{"content": "a"}]}'
    changed = json.loads(splice.apply(raw, [splice.append(raw, ("messages", 0, "content"), b"b")]))
    assert changed == {"messages": [{"content": "ab"}]}
