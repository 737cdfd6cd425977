"""A failure as the proposers see it: what was asked, what came, and what the user said about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from metaclaw.types import Check, Turn

MAX_EXPECTED = 1_000
ANNOUNCED = (
    r"(?:should (?:have been|be|look like|read)|correct(?: answer| one)?(?: is| would be)?|expected|instead|like"
    r"|e\.g\.|example)"
)
FENCED = re.compile(ANNOUNCED + r"[^`\n]{0,40}:?\s*```[\w-]*\n(.+?)\n?```", re.IGNORECASE | re.DOTALL)
TICKED = re.compile(ANNOUNCED + r"[^`\n]{0,40}`([^`\n]+)`", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Failure:
    """`correction` is what the user said, empty if only a score or a check told of the failure."""

    turn: Turn
    correction: str
    check: Check | None = None

    @property
    def expected(self) -> str:
        """The right answer, where the user wrote it down in code marks; else empty."""
        for pattern in (FENCED, TICKED):
            found = pattern.findall(self.correction)
            if found:
                return str(found[-1]).strip()[:MAX_EXPECTED]
        return ""
