"""What a client is made of: where its configuration files are, and which settings in them lead to the gateway.

A client is a module with these names at its top (`Client`). It reads and writes nothing: it names files and settings;
`formats` edits the text, `backup` touches the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from metaclaw.connect.formats.base import Format, Step

PROVIDER = "metaclaw"  # how we are called in the lists of providers that clients keep


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the gateway is: `url` without a path, the token that it takes as a key, the model to ask for (None: the
    client's own choice)."""

    url: str
    token: str
    model: str | None = None

    @property
    def openai(self) -> str:
        """The base URL of clients that speak chat completions or responses."""
        return f"{self.url}/v1"


@dataclass(frozen=True, slots=True)
class Places:
    """Where a user's files are: the home folder, and the environment that clients look at to move theirs."""

    home: Path
    environment: Mapping[str, str]

    def folder(self, variable: str, default: str) -> Path:
        """The folder that `variable` names, else `default` below the home folder."""
        named = self.environment.get(variable, "").strip()
        return self.expanded(named) if named else self.home / default

    def expanded(self, path: str) -> Path:
        """`path` with a leading ~ as the home folder."""
        return self.home / path[2:] if path.startswith("~/") else Path(path)


@dataclass(frozen=True, slots=True)
class Setting:
    """A value at a path in a file. A mapping or a list at its end is written whole.

    With `keep`, a value that is there already stays: this one is only for files that have none.
    """

    path: tuple[Step, ...]
    value: Any
    keep: bool = False


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file and what has to stand in it."""

    path: Path
    format: Format
    settings: tuple[Setting, ...]


class Client(Protocol):
    """One client. `NAME` is what it is called at the command line, `TITLE` what its users call it.

    `PROGRAM` is the command that shows that it is installed; `NEEDS_MODEL`, whether it cannot be pointed at the gateway
    without the name of a model; `NOTE`, what its user should know, one sentence.
    """

    NAME: str
    TITLE: str
    PROGRAM: str
    NEEDS_MODEL: bool
    NOTE: str

    def files(self, places: Places, endpoint: Endpoint) -> tuple[ConfigFile, ...]:
        """Every file that has to change, and the settings that lead to `endpoint`."""
