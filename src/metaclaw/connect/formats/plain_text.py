"""The format of files that hold one value and nothing else: a `Format`, whose functions `formats.base` describes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metaclaw.connect.formats.base import Step

NAME = "text"
VALUE = "value"  # the one setting that such a file has


def read(text: str) -> Any:
    return {VALUE: text.strip()} if text.strip() else None


def put(text: str, path: Sequence[Step], value: Any) -> str:
    return f"{value}\n"


def drop(text: str, path: Sequence[Step]) -> str:
    return ""
