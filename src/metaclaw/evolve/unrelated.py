"""Requests that a skill has nothing to do with, and whether it gets in their way all the same. Pure.

A few are built in, with answers that any model knows; others are the user's own, answered well before. A skill that
shows in the reply to one of them would show elsewhere too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from metaclaw.dialects.base import object_or_empty
from metaclaw.dialects.chat import inject
from metaclaw.dialects.translation import as_chat
from metaclaw.signals.checks import bare
from metaclaw.types import Turn

MAX_ANSWER_TOKENS = 32
SHOWS = 0.5  # share of a reply's new words that come from the skill
FEWEST = 2  # of them, at least: one word may be there by chance


@dataclass(frozen=True, slots=True)
class Probe:
    """`passes` tells of a reply whether it is right; None where the reply without the skill is the measure.

    `turn` is where the request comes from; None for one that is built in.
    """

    asked: str
    passes: Callable[[str], bool] | None = None
    turn: Turn | None = None

    def body(self, like: Turn, block: str) -> dict[str, Any]:
        """The request, of the model that `like` was sent to, with `block` injected."""
        sent = object_or_empty(like.request)
        if self.turn is None:
            body: dict[str, Any] = {"messages": [{"role": "user", "content": self.asked}]}
        else:
            body = as_chat(self.turn.dialect, json.loads(self.turn.request))
        named = {field: sent[field] for field in ("model",) if isinstance(sent.get(field), str)}
        limit = {} if "max_completion_tokens" in body else {"max_tokens": MAX_ANSWER_TOKENS}
        body = {**body, **named, **limit, "messages": inject(body["messages"], block), "stream": False}
        if "temperature" in sent:
            body["temperature"] = 0
        body.pop("stream_options", None)
        return body


@dataclass(frozen=True, slots=True)
class Spill:
    """An unrelated request whose reply the skill changed for the worse."""

    asked: str
    without: str
    with_skill: str


def _said(pattern: str) -> Callable[[str], bool]:
    found = re.compile(pattern, re.IGNORECASE)
    return lambda reply: found.fullmatch(bare(reply)) is not None


BUILT_IN = (
    Probe("What is 4 + 9? Reply with the number only.", _said(r"(?:4 \+ 9 = )?13\.?")),
    Probe("What is the capital of Japan? Reply with one word.", _said(r"tokyo\.?")),
    Probe("Which day comes before Thursday? Reply with one word.", _said(r"wednesday\.?")),
    Probe("What is the opposite of wet? Reply with one word.", _said(r"dry\.?")),
)


def spill(probe: Probe, without: str, with_skill: str, block: str) -> Spill | None:
    """What was right and is not any more, or holds the skill's words in the place of its own."""
    if probe.passes is not None:
        harmed = probe.passes(without) and not probe.passes(with_skill)
    else:
        harmed = _shows(without, with_skill, block)
    return Spill(probe.asked, without, with_skill) if harmed else None


def _shows(without: str, with_skill: str, block: str) -> bool:
    fresh = _words(with_skill) - _words(without)
    from_skill = fresh & _words(block)
    return len(from_skill) >= FEWEST and len(from_skill) >= SHOWS * len(fresh)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]{3,}", text.lower()))
