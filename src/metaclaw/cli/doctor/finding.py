"""What the doctor says of one thing: is it well, and else what mends it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`note`: it works, and could be better. `broken`: something that was asked for does not work."""

    name: str
    level: Level
    text: str
    mend: str = ""


def ok(name: str, text: str) -> Finding:
    return Finding(name, "ok", text)


def note(name: str, text: str, mend: str) -> Finding:
    return Finding(name, "note", text, mend)


def broken(name: str, text: str, mend: str) -> Finding:
    return Finding(name, "broken", text, mend)


def any_broken(findings: Iterable[Finding]) -> bool:
    return any(finding.level == "broken" for finding in findings)
