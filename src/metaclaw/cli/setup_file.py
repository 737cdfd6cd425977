"""What `metaclaw setup` was told, as settings and as the text of their file. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import tomlkit

KEY_LINE = re.compile(r"(?m)^(\s*\w*(?:api_key|token)\w*\s*=\s*).+$")


@dataclass(frozen=True, slots=True)
class Answers:
    """None where nobody has answered: what is set already stays."""

    url: str | None = None
    embedded: bool = False
    model: str | None = None
    api_key: str | None = None
    format: str | None = None
    client: str | None = None
    sleep_hours: str | None = None
    port: int | None = None


def flags_of(answers: Answers) -> dict[str, Any]:
    """The settings tree, with None for what has to go."""
    tree: dict[str, Any] = {}
    if answers.url is not None:
        tree["upstream"] = {"url": answers.url, "model": answers.model}
        if answers.api_key:
            tree["upstream"]["api_key"] = answers.api_key
        if answers.format:
            tree["upstream"]["formats"] = [answers.format]
    elif answers.embedded:
        tree["upstream"] = {"url": None, "model": None, "api_key": None}
        if answers.model:
            tree["model"] = {"name": answers.model}
    if answers.sleep_hours is not None:
        tree["schedule"] = {"sleep_hours": answers.sleep_hours}
    if answers.port is not None:
        tree["gateway"] = {"port": answers.port}
    return tree


def written(text: str, answers: Answers, data_dir: Path | None) -> str:
    """The file's text with the answers in it; comments and whatever nobody asked about stay."""
    document = tomlkit.parse(text)
    if data_dir is not None:
        document["data_dir"] = str(data_dir.expanduser().absolute())
    for section, values in flags_of(answers).items():
        if section not in document and any(value is not None for value in values.values()):
            document[section] = tomlkit.table()
        if section in document:
            _put(document[section], values)
    return tomlkit.dumps(document)


def shown(text: str) -> str:
    """The same as a person may see it on a screen."""
    return KEY_LINE.sub(r'\1"**********"', text)


def format_of(url: str) -> str:
    """The wire format that a provider most likely speaks."""
    host = urlsplit(url).hostname or ""
    return "messages" if host == "anthropic.com" or host.endswith(".anthropic.com") else "chat"


def _put(table: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if value is not None:
            table[name] = value
        elif name in table:
            del table[name]
