"""How often a model is asked for what it keeps failing at. Pure.

Its time is the user's too: an embedded model writes and replays for a minute what a small one gets right in none of
ten cases. After some failures in a row only every second case is tried, then every fourth, and so on; the first success
lifts that. Kept by policy version, since another model, or the same after training, may do better; not over a restart.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

FREE = 2  # failures in a row that cost nothing
LONGEST = 32  # cases between two tries, at most


@dataclass(slots=True)
class _Run:
    failures: int = 0
    passed_over: int = 0


@dataclass(slots=True)
class Patience:
    """Ask `is_due` for each case, and tell `went` what came of a try."""

    _runs: dict[str, _Run] = field(default_factory=lambda: defaultdict(_Run))

    def is_due(self, policy: str) -> bool:
        """Whether to try this case. A case that is not tried counts as passed over."""
        run = self._runs[policy]
        if run.passed_over + 1 < min(LONGEST, 2 ** max(0, run.failures - FREE)):
            run.passed_over += 1
            return False
        run.passed_over = 0
        return True

    def went(self, policy: str, *, well: bool) -> None:
        run = self._runs[policy]
        run.failures = 0 if well else run.failures + 1
