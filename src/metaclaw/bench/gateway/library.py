"""A library of many skills, and questions that some of them fit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from metaclaw.library.catalog import Catalog
from metaclaw.store import Database
from metaclaw.types import Skill, SkillState

DOCUMENTS = ("minutes", "invoice", "report", "offer", "contract", "memo", "letter", "summary", "plan", "checklist")
TOPICS = ("budget", "hiring", "travel", "safety", "stock", "payroll", "marketing", "support", "audit", "training")
TEAMS = ("Lisbon", "Oslo", "Nairobi", "Lima", "Osaka", "Quebec", "Riga", "Seoul", "Tunis", "Zagreb")
RULES = ("starts with the date", "ends with the initials of its author", "names the cost centre", "is in metric units",
         "quotes the order number", "has a heading in capitals", "lists the open points last", "is dated in UTC",
         "carries a status line", "keeps amounts in cents")
QUESTIONS = [
    f"Write the {document} about {topic} for the {team} office, please."
    for document, topic, team in zip(DOCUMENTS, TOPICS, TEAMS, strict=True)
]


def skills(count: int) -> Iterator[Skill]:
    """The first `count` of ten thousand: one for each document, topic, team and rule."""
    combinations = itertools.product(RULES, TEAMS, TOPICS, DOCUMENTS)
    for rule, team, topic, document in itertools.islice(combinations, count):
        request = f"Write the {document} about {topic} for the {team} office."
        yield Skill(
            name=f"{document}-{topic}-{team.lower()}-{RULES.index(rule)}",
            description=f"How this user wants it done. Use for requests like: {request}",
            body=f"Rule, in the user's words: The {document} about {topic} for {team} {rule}.",
        )


def fill(data_dir: Path, count: int) -> None:
    """Publish them into the namespace `default` of `data_dir`."""
    with Database(data_dir / "metaclaw.db") as database:
        catalog = Catalog(database, "default", data_dir / "skills" / "default")
        for skill in skills(count):
            catalog.publish(skill, SkillState.ACTIVE, "part of the benchmark's library", [])
