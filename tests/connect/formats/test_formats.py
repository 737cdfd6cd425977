"""A setting written into a file, or taken out, means just that; everything else in the file stays as it was."""

from __future__ import annotations

from typing import Any

import json5
import pytest
import tomlkit
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclaw.connect.formats import FORMATS, json5_text, plain_text, toml_text, yaml_text
from metaclaw.connect.formats.base import MISSING, Entry, Format, Step, value_at, with_value, without_value
from metaclaw.errors import ConnectError
from written_configs import DOCUMENTS, KEYS, SCALARS, Pen

PATHS = st.lists(KEYS | st.just("metaclaw"), min_size=1, max_size=3).map(tuple)
SETTINGS = SCALARS | st.dictionaries(st.sampled_from(["x", "y z"]), SCALARS, min_size=1, max_size=2)


def written(format_: Format, document: dict[str, Any], pen: Pen) -> str:
    if format_ is json5_text:
        return pen.json5(document) + pen.one_of("", "\n")
    return pen.yaml(document) if format_ is yaml_text else pen.toml(document)


def oracle(format_: Format, text: str) -> Any:
    """What another reader of the format makes of it."""
    if format_ is json5_text:
        return json5.loads(text)
    return yaml.safe_load(text) if format_ is yaml_text else tomlkit.parse(text).unwrap()


EDITABLE = pytest.mark.parametrize("format_", [json5_text, toml_text, yaml_text], ids=lambda f: f.NAME)


@EDITABLE
@settings(max_examples=60, deadline=None)
@given(document=DOCUMENTS, path=PATHS, value=SETTINGS, data=st.data())
def test_put_means_the_setting_and_nothing_else(
    format_: Format, document: dict[str, Any], path: tuple[Step, ...], value: Any, data: st.DataObject
) -> None:
    text = written(format_, document, Pen(data))
    assert (format_.read(text) or {}) == document
    after = format_.put(text, path, value)
    assert format_.read(after) == oracle(format_, after) == with_value(document, path, value)


@EDITABLE
@settings(max_examples=60, deadline=None)
@given(document=DOCUMENTS, path=PATHS, data=st.data())
def test_drop_means_the_setting_and_nothing_else(
    format_: Format, document: dict[str, Any], path: tuple[Step, ...], data: st.DataObject
) -> None:
    if value_at(document, path) is MISSING:
        document = with_value(document, path, "there")
    after = format_.drop(written(format_, document, Pen(data)), path)
    assert (format_.read(after) or {}) == (oracle(format_, after) or {}) == without_value(document, path)


@EDITABLE
@settings(max_examples=60, deadline=None)
@given(document=DOCUMENTS, key=st.sampled_from(["metaclaw", "new"]), value=SETTINGS, data=st.data())
def test_every_line_and_comment_stays_where_something_is_added(
    format_: Format, document: dict[str, Any], key: str, value: Any, data: st.DataObject
) -> None:
    pen = Pen(data)
    text = written(format_, document, pen)
    after = format_.put(text, (key,), value)
    assert all(after.count(comment) == 1 for comment in pen.comments)
    rest = iter(after)
    kept = text if format_ is not json5_text else text.rstrip()
    assert all(character in rest for character in kept)  # the old text is a subsequence of the new one
    assert format_.read(format_.drop(after, (key,))) in (document, document or None)


def test_json_is_written_in_the_files_own_way() -> None:
    text = '{\n    // mine\n    "env": {\n        "A": "1", // one\n    },\n}\n'
    assert json5_text.put(text, ("env", "B"), "2") == (
        '{\n    // mine\n    "env": {\n        "A": "1", // one\n        "B": "2",\n    },\n}\n'
    )
    assert json5_text.put('{"a":1}', ("b", "c"), [True]) == '{"a":1, "b": {"c": [true]}}'
    assert json5_text.put("{}\n", ("b",), 1) == '{\n  "b": 1\n}\n'
    assert json5_text.put('{\n\t"a": {},\n\t"z": 0\n}', ("a", "b"), 1) == '{\n\t"a": {\n\t\t"b": 1\n\t},\n\t"z": 0\n}'
    assert json5_text.put("", ("a", "b"), None) == '{\n  "a": {\n    "b": null\n  }\n}\n'


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ('{"a": 1, "b": 2}', '{"b": 2}'),
        ('{"b": 2, "a": 1}', '{"b": 2 }'),
        ('{\n  "b": 2,\n  "a": 1\n}\n', '{\n  "b": 2\n}\n'),
        ('{\n  "a": 1, // note\n  "b": 2\n}\n', '{\n  // note\n  "b": 2\n}\n'),
        ('{"a": 0, "a": 1}', "{}"),
    ],
)
def test_json_loses_one_member_and_no_other_byte(text: str, after: str) -> None:
    assert json5_text.drop(text, ("a",)).replace(" }", "}") == after.replace(" }", "}")


@pytest.mark.parametrize(
    "text",
    ["{", '{"a": }', '{"a" 1}', "{a: 1} {}", '{"a": tru}', "{1a: 1}", '{"a": "\n"}', "[1 2]", "{'a': 1,,}", "/* open"],
)
def test_what_is_no_json_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ConnectError, match="not valid JSON: line 1"):
        json5_text.read(text)
    with pytest.raises(ValueError):
        json5.loads(text)


@pytest.mark.parametrize(
    "literal",
    [r"'it\'s'", r'"\x41\u00e9\0"', '"a\\\nb"', "0xFF", "+1.5e3", ".5", "5.", "-Infinity", r"'\v\b\d'", '"😀"', "null"],
)
def test_json5_literals_mean_what_another_reader_says(literal: str) -> None:
    assert json5_text.read(literal) == json5.loads(literal)


def test_both_halves_of_an_emoji_are_one() -> None:
    assert json5_text.read(r"""['\ud83d\ude00', "\ud83d\ude00"]""") == ["😀", "😀"]


def test_json_nested_beyond_reason_is_refused() -> None:
    with pytest.raises(ConnectError, match="too deeply"):
        json5_text.read("[" * 100_000)


def test_yaml_keeps_what_others_would_rewrite() -> None:
    text = "# top\nmodel:   'x'   # why\nlong: >\n   folded\n   text\nlist:\n- a\n-   b\n"
    assert yaml_text.put(text, ("model",), "y") == text.replace("'x'", "y").replace("model:   y", "model: y")
    assert yaml_text.put(text, ("new", "key"), 1) == text + "new:\n  key: 1\n"
    assert yaml_text.put("# only words\n", ("a",), 1) == "# only words\na: 1\n"


def test_yaml_with_anchors_is_edited_beside_them() -> None:
    text = "base: &b\n  x: 1\nmodel:\n  <<: *b\nother: *b\n"
    after = yaml_text.put(text, ("model", "default"), "m")
    assert after == text.replace("<<: *b\n", "<<: *b\n  default: m\n")
    assert yaml_text.read(after)["model"] == {"x": 1, "default": "m"}


ITEM = {"model_id": "metaclaw", "api_base": "u"}
WHERE = (Entry("model_id", "metaclaw"),)


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("", "- model_id: metaclaw\n  api_base: u\n"),
        ("[]\n", "- model_id: metaclaw\n  api_base: u\n"),
        ("- model_id: o # x\n  api_base: y", "- model_id: o # x\n  api_base: y\n- model_id: metaclaw\n  api_base: u\n"),
        ("  - model_id: metaclaw\n    old: 1\n  - {model_id: o}\n",
         "  - model_id: metaclaw\n    api_base: u\n  - {model_id: o}\n"),
    ],
)
def test_yaml_entries_of_a_list(text: str, after: str) -> None:
    assert yaml_text.put(text, WHERE, ITEM) == after
    left = yaml_text.read(yaml_text.drop(after, WHERE))
    assert left == [entry for entry in yaml_text.read(text) or [] if entry["model_id"] != "metaclaw"]


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "- a\nb: 1", "a: 1\n---\nb: 2\n", "a: !!python/none x"])
def test_what_is_no_yaml_is_refused(text: str) -> None:
    with pytest.raises(ConnectError, match="valid YAML"):
        yaml_text.read(text)


def test_toml_puts_root_keys_before_the_tables() -> None:
    text = "# mine\n[projects.\"/x\"] # trusted\ntrust = 'yes'\n"
    after = toml_text.put(toml_text.put(text, ("model",), "m"), ("model_providers", "metaclaw"), {"name": "M"})
    assert toml_text.read(after) == {
        "model": "m", "projects": {"/x": {"trust": "yes"}}, "model_providers": {"metaclaw": {"name": "M"}},
    }
    assert "[projects.\"/x\"] # trusted\ntrust = 'yes'\n" in after
    assert "[model_providers.metaclaw]\n" in after


def test_what_is_no_toml_is_refused() -> None:
    with pytest.raises(ConnectError, match="not valid TOML"):
        toml_text.read("a = \n")
    with pytest.raises(ConnectError, match="cannot be edited as TOML"):
        toml_text.put("a = \n", ("b",), 1)


def test_a_file_of_one_value() -> None:
    assert plain_text.read("gpt\n") == {"value": "gpt"}
    assert plain_text.put("gpt", ("value",), "metaclaw") == "metaclaw\n"
    assert plain_text.read(plain_text.drop("metaclaw\n", ("value",))) is None


def test_formats_are_found_by_name() -> None:
    assert {name: format_.NAME for name, format_ in FORMATS.items()} == {n: n for n in ("JSON", "TOML", "YAML", "text")}


def test_toml_keeps_a_note_that_stands_behind_what_goes() -> None:
    text = "a = 1\n[model_providers.metaclaw]\nname = 'M' # ours\n\n# theirs\n[tui]\nx = 1\n"
    assert toml_text.drop(text, ("model_providers", "metaclaw")).count("# theirs\n") == 1
