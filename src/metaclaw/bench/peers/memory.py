"""The first k of a library's skills as the memory of an arm: a gateway learns them, and keeps them in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from metaclaw.bench.peers.first_k import first_k


@dataclass(frozen=True, slots=True)
class FirstK:
    """A `Memory`. `folder` holds a folder for each live skill, with its `SKILL.md`."""

    folder: Path

    async def before(self, asked: str) -> str:
        return first_k({path.parent.name: _body(path) for path in self.folder.glob("*/SKILL.md")}, asked)

    async def after(self, asked: str, answered: str, said: str, right: bool) -> None:
        """The gateway has heard of it."""


def _body(path: Path) -> str:
    """A skill's text without its front matter."""
    return path.read_text(encoding="utf-8").split("\n---\n", 1)[-1].strip()
