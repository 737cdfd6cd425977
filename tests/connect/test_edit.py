"""The text with a client's settings in it, and the way back from a text that was edited since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclaw.connect.base import ConfigFile, Setting
from metaclaw.connect.edit import edited, taken_out
from metaclaw.connect.formats import json5_text, toml_text, yaml_text
from metaclaw.connect.formats.base import Format, Step, with_value
from metaclaw.errors import ConnectError
from written_configs import DOCUMENTS, Pen

SETTINGS = (
    Setting(("model",), "metaclaw/m"),
    Setting(("provider", "metaclaw"), {"url": "http://127.0.0.1:8790/v1", "key": "mc-1"}),
    Setting(("agents", "model", "primary"), "metaclaw/m"),
)
PATHS: list[tuple[Step, ...]] = [setting.path for setting in SETTINGS]
EDITABLE = pytest.mark.parametrize("format_", [json5_text, toml_text, yaml_text], ids=lambda f: f.NAME)


def write(format_: Format, document: dict[str, Any], pen: Pen) -> str:
    if format_ is json5_text:
        return pen.json5(document)
    return pen.yaml(document) if format_ is yaml_text else pen.toml(document)


def file(format_: Format) -> ConfigFile:
    return ConfigFile(Path("x"), format_, SETTINGS)


@EDITABLE
@settings(max_examples=50, deadline=None)
@given(document=DOCUMENTS, data=st.data(), crlf=st.booleans())
def test_taking_out_undoes_the_settings_and_keeps_an_edit(
    format_: Format, document: dict[str, Any], data: st.DataObject, crlf: bool
) -> None:
    pen = Pen(data)
    text = write(format_, document, pen).replace("\n", "\r\n" if crlf else "\n")
    connected = edited(file(format_), text)
    expected: Any = document
    for setting in SETTINGS:
        expected = with_value(expected, setting.path, setting.value)
    assert format_.read(connected) == expected
    if crlf and "\n" in text:
        assert "\n" not in connected.replace("\r\n", "")
    with_edit = format_.put(connected.replace("\r\n", "\n"), ("theirs",), "new")
    left = taken_out(format_, with_edit, PATHS, text)
    assert left is not None
    assert format_.read(left) == {**document, "theirs": "new"}


@EDITABLE
def test_a_file_that_was_not_there_is_made_and_goes_again(format_: Format) -> None:
    text = edited(file(format_), None)
    assert taken_out(format_, text, PATHS, None) is None
    assert taken_out(format_, text, PATHS, "") == ""
    kept = format_.put(text, ("theirs",), 1)
    assert format_.read(taken_out(format_, kept, PATHS, None) or "") == {"theirs": 1}


@EDITABLE
def test_settings_that_are_there_already_change_nothing(format_: Format) -> None:
    text = edited(file(format_), None)
    assert edited(file(format_), text) == text


def test_a_value_that_gave_way_to_a_mapping_comes_back() -> None:
    text = "agents: none\nmodel: gpt\n"
    connected = edited(file(yaml_text), text)
    assert yaml_text.read(connected)["agents"] == {"model": {"primary": "metaclaw/m"}}
    assert taken_out(yaml_text, connected, PATHS, text) == text


def test_what_cannot_be_edited_alone_is_left_to_a_person() -> None:
    with pytest.raises(ConnectError, match=r"'model' cannot be changed here.*Set it to \"metaclaw/m\" by hand"):
        edited(file(yaml_text), "model: a\nmodel: b\n...\n")
