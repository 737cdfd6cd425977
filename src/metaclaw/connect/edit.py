"""A file's text with the settings of a client in it, or without them again: pure, and checked against what it means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from metaclaw.connect.base import ConfigFile
from metaclaw.connect.formats.base import MISSING, Format, Step, value_at, with_value, without_value
from metaclaw.errors import ConnectError

EMPTY: tuple[Any, ...] = (None, {}, [])
BARE = ("", "{}", "[]")  # what is left of a file that held nothing but our settings


def edited(file: ConfigFile, text: str | None) -> str:
    """The text (None: there is no file yet) with every setting of the file; nothing else in it changes.

    Raises `ConnectError` for text that cannot be read, or where a setting cannot be written without touching more.
    """
    content, crlf = _unix(text or "")
    for setting in file.settings:
        now = value_at(file.format.read(content), setting.path)
        if now is MISSING or (now != setting.value and not setting.keep):
            content = _put(file.format, content, setting.path, setting.value)
    return _as_it_was(content, crlf)


def taken_out(format: Format, text: str, paths: Sequence[Sequence[Step]], original: str | None) -> str | None:  # noqa: A002
    """The text with what was at `paths` in `original` there again, and everything else in it as it is.

    What `original` did not have goes, with the mappings that were made to hold it. None where nothing is left of a
    file that did not exist before (`original` is None then).
    """
    content, crlf = _unix(text)
    before = format.read(_unix(original)[0]) if original is not None else None
    for path in (_as_deep_as(before, whole) for whole in reversed(paths)):
        now, then = value_at(format.read(content), path), value_at(before, path)
        if then is MISSING:
            content = _drop(format, content, path, before)
        elif now != then:
            content = _put(format, content, path, then)
    if before in EMPTY and "".join(content.split()) in BARE:
        return original
    return _as_it_was(content, crlf)


def _as_deep_as(before: Any, path: Sequence[Step]) -> Sequence[Step]:
    """The path, or the part of it that led to something else than a mapping, which had to give way."""
    for depth in range(1, len(path)):
        value = value_at(before, path[:depth])
        if value is not MISSING and not isinstance(value, dict if isinstance(path[depth], str) else list):
            return path[:depth]
    return path


def _put(format: Format, text: str, path: Sequence[Step], value: Any) -> str:  # noqa: A002
    wanted = with_value(format.read(text), path, value)
    return _checked(format, format.put(text, path, value), wanted, path, value)


def _drop(format: Format, text: str, path: Sequence[Step], before: Any) -> str:  # noqa: A002
    """Without what is at `path`, and without the mappings above it that are empty now and were not there before."""
    while path and value_at(format.read(text), path) is not MISSING:
        wanted = without_value(format.read(text), path)
        text = _checked(format, format.drop(text, path), wanted, path, None)
        path = path[:-1]
        if not path or value_at(format.read(text), path) not in EMPTY or value_at(before, path) is not MISSING:
            break
    return text


def _checked(format: Format, after: str, wanted: Any, path: Sequence[Step], value: Any) -> str:  # noqa: A002
    try:
        same = format.read(after) == wanted or (format.read(after) in EMPTY and wanted in EMPTY)
    except ConnectError:
        same = False
    if not same:
        name = ".".join(map(str, path))
        what = "Take it out" if value is None else f"Set it to {json.dumps(value)}"
        raise ConnectError(f"'{name}' cannot be changed here without touching more than that. {what} by hand.")
    return after


def _unix(text: str) -> tuple[str, bool]:
    """The text with plain newlines, and whether it had Windows' ones throughout."""
    crlf = "\r\n" in text and "\n" not in text.replace("\r\n", "")
    return (text.replace("\r\n", "\n") if crlf else text), crlf


def _as_it_was(text: str, crlf: bool) -> str:
    return text.replace("\n", "\r\n") if crlf else text
