"""The topics of the studies, from `topics.toml`: what is compared, how it is measured, and the steps of its experiment.

In three of the twelve the claim is wrong, so that a study that reads its own figures must turn round.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Literal

Direction = Literal["higher", "lower"]
ROLES = ("candidate", "baseline", "ablation")


@dataclass(frozen=True, slots=True)
class Topic:
    """A comparison of two methods. `direction` says which values of the metric are better; `steps` tell the experiment
    in words, for one seed; `program` is one that does it, the bench's own; `claim_holds` says what it finds."""

    slug: str
    brief: str
    candidate: str
    baseline: str
    ablation: str
    metric: str
    direction: Direction
    claim_holds: bool
    steps: str
    program: str


def _topics() -> tuple[Topic, ...]:
    raw = resources.files(__package__).joinpath("topics.toml").read_text(encoding="utf-8")
    return tuple(Topic(**one) for one in tomllib.loads(raw)["topic"])


TOPICS = _topics()
LEARNED_ON, HELD_OUT = TOPICS[:6], TOPICS[6:]
