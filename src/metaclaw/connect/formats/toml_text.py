"""The format of TOML files: a `Format`, whose functions `formats.base` describes. The work is tomlkit's."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Comment, Table

from metaclaw.connect.formats.base import Step
from metaclaw.errors import ConnectError

NAME = "TOML"


def read(text: str) -> Any:
    try:
        return tomllib.loads(text) or None
    except tomllib.TOMLDecodeError as error:
        raise ConnectError(f"It is not valid TOML: {error}.") from error


def put(text: str, path: Sequence[Step], value: Any) -> str:
    document = _parsed(text)
    table: Any = document
    for step in path[:-1]:
        if not isinstance(table.get(step), Mapping):
            table[step] = tomlkit.table(is_super_table=True)
        table = table[step]
    table[path[-1]] = value
    return tomlkit.dumps(document)


def drop(text: str, path: Sequence[Step]) -> str:
    document = _parsed(text)
    above: Any = None
    table: Any = document
    for step in path[:-1]:
        above, table = table, table[step]
    notes = _notes_at_the_end(table[path[-1]])
    del table[path[-1]]
    if above is not None and not table:  # tomlkit writes nothing for a table that was only there by its children
        above[path[-2]] = tomlkit.table()
    return tomlkit.dumps(document) + notes


def _notes_at_the_end(value: Any) -> str:
    """The comments after the last key of a table: most likely they belong to what follows, so they stay in the file."""
    body = value.value.body if isinstance(value, Table) else []
    last = max((number for number, (key, _) in enumerate(body) if key is not None), default=-1)
    return "".join(item.as_string() for _, item in body[last + 1 :] if isinstance(item, Comment))


def _parsed(text: str) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(text)
    except TOMLKitError as error:
        raise ConnectError(f"It cannot be edited as TOML: {error}.") from error
