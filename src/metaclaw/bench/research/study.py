"""A study under way: what its stages have answered so far, and the figures of its experiment."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metaclaw.bench.research.corpus import Paper, papers, search
from metaclaw.bench.research.topics import ROLES, Topic

Answer = Mapping[str, Any]
CITATION = re.compile(r"\[@([a-z]+\d{4})\]")


@dataclass(slots=True)
class Study:
    """`answers` holds each stage's accepted answer by the stage's name; `rows` the experiment's values, one a seed."""

    topic: Topic
    answers: dict[str, Answer] = field(default_factory=dict)
    rows: Sequence[Mapping[str, float]] = ()
    pivots: int = 0

    def get(self, stage: str, key: str) -> Any:
        """A field of an earlier stage's answer; None before that stage has answered."""
        return self.answers.get(stage, {}).get(key)

    @property
    def found(self) -> list[Paper]:
        """What the search found."""
        return search(self.topic, self.get("search strategy", "queries") or [])

    @property
    def collected(self) -> list[Paper]:
        wanted = set(self.get("collection", "keys") or [])
        return [paper for paper in papers(self.topic) if paper.key in wanted]

    @property
    def kept(self) -> list[Paper]:
        """The papers that screening kept."""
        kept = {one["key"] for one in self.get("screening", "decisions") or [] if one["keep"]}
        return [paper for paper in self.collected if paper.key in kept]

    @property
    def seeds(self) -> list[int]:
        return list(self.get("design", "seeds") or [1, 2, 3])

    @property
    def means(self) -> dict[str, float]:
        """The mean of each condition over the seeds, to three places."""
        return {role: round(statistics.fmean(row[role] for row in self.rows), 3) for role in ROLES}

    @property
    def table(self) -> str:
        """The figures as a stage is shown them."""
        spread = {role: statistics.stdev(row[role] for row in self.rows) for role in ROLES}
        return "\n".join(f"{role}: mean {self.means[role]:.3f}, sd {spread[role]:.3f}" for role in ROLES)

    @property
    def candidate_is_better(self) -> bool:
        higher = self.means["candidate"] > self.means["baseline"]
        return self.means["candidate"] != self.means["baseline"] and higher == (self.topic.direction == "higher")

    @property
    def claimed(self) -> str:
        """The method that the study claims to be the better one: the candidate, or after a pivot the baseline."""
        return self.topic.baseline if self.pivots % 2 else self.topic.candidate

    @property
    def claim_holds(self) -> bool:
        return self.candidate_is_better != bool(self.pivots % 2)


def cited(*texts: str) -> set[str]:
    """The keys that texts cite, as [@key]."""
    return {key for text in texts for key in CITATION.findall(text)}
