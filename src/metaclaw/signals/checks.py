"""Does a reply pass a check? Bounded in time, since patterns come from clients."""

from __future__ import annotations

import re

import regex

from metaclaw.types import Check

MATCH_SECONDS = 0.2
FENCE = re.compile(r"```[\w-]*\n(.*?)\n?```", re.DOTALL)


def passes(check: Check, reply: str) -> bool | None:
    """Whether the pattern matches the whole reply; None where the pattern is unusable or takes too long."""
    try:
        return regex.fullmatch(check.pattern, bare(reply), timeout=MATCH_SECONDS) is not None
    except (regex.error, TimeoutError):
        return None


def bare(reply: str) -> str:
    """The reply without surrounding blanks, a Markdown fence around all of it, or single backticks."""
    text = reply.strip()
    fenced = FENCE.fullmatch(text)
    return (fenced.group(1) if fenced else text.strip("`")).strip()
