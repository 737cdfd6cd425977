"""A code skill as it is offered to a model: its name there, what it takes, and what its text costs. Pure.

In: a live skill of kind `code`. Out: an `Offer`, which reads a call's arguments and words what the program returned.
The names begin with `metaclaw_`, so that nobody takes our tools for a client's.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from metaclaw.errors import SkillError
from metaclaw.library.tool import Tool, arguments_of, as_text, tool_of
from metaclaw.types import Skill

log = logging.getLogger(__name__)

PREFIX = "metaclaw_"
MAX_NAME = 64  # OpenAI's limit; Anthropic allows more
NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_-]")


@dataclass(frozen=True, slots=True)
class Offer:
    """`name` is what the model calls, `ref` the skill's name@version, `characters` the length of what it is told."""

    name: str
    ref: str
    tool: Tool
    characters: int

    @property
    def description(self) -> str:
        return self.tool.description

    @property
    def parameters(self) -> Mapping[str, Any]:
        return self.tool.parameters

    def arguments(self, text: str) -> dict[str, Any]:
        """A call's arguments, checked. Raises `SkillError` in words for the model that called."""
        return arguments_of(self.tool, text)

    def told(self, value: Any) -> str:
        """What the program returned, as the model reads it."""
        return as_text(value)


@lru_cache(maxsize=256)
def offer_of(skill: Skill) -> Offer | None:
    """None where the skill's program cannot be offered: its file was edited, or it wants what nothing here gives."""
    try:
        tool = tool_of(skill)
    except SkillError as error:
        log.warning("not offered: %s", error)
        return None
    told = json.dumps({"description": tool.description, "parameters": tool.parameters})
    name = own_name(tool.name)
    return Offer(name, skill.ref, tool, len(name) + len(told)) if not tool.capabilities else None


def own_name(name: str) -> str:
    """Always the same for the same tool, and short enough."""
    own = PREFIX + NOT_IN_A_NAME.sub("_", name)
    if len(own) <= MAX_NAME:
        return own
    return f"{own[: MAX_NAME - 9]}_{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:8]}"
