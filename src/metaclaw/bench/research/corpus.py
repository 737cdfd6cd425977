"""The small library that the studies search: made for them, nine papers a topic, the same for everybody.

Of each topic's papers one was retracted, one is about something else, and one is old. Nothing in it is real.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from metaclaw.bench.research.topics import Topic

AUTHORS = (
    "abara", "brandt", "castel", "dunmore", "elgar", "fonteyn", "grieg", "halvor", "ibarra", "jansen", "kovac",
    "lindqvist", "marlow", "novak", "okafor", "pereira", "quist", "rosales", "sandor", "tamura", "ueda", "varga",
    "wexler", "yilmaz",
)  # fmt: skip
WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Paper:
    """`percent` is the figure that its abstract reports. `about` is the topic that it bears on; empty for none."""

    key: str
    year: int
    title: str
    abstract: str
    percent: int
    about: str
    retracted: bool = False


@cache
def papers(topic: Topic) -> tuple[Paper, ...]:
    """The topic's nine papers, in the order of their keys."""
    chance = random.Random(f"corpus {topic.slug}")
    names = chance.sample(AUTHORS, 9)
    percents = chance.sample(range(11, 89), 9)
    years = [*(chance.randrange(2015, 2025) for _ in range(8)), 2009]
    verb = "raises" if topic.direction == "higher" else "lowers"
    kinds = (
        f"{topic.candidate} against {topic.baseline}", f"When {topic.candidate} pays", f"{topic.metric}, a survey",
        f"Limits of {topic.candidate}", f"{topic.baseline} revisited", f"Cheap {topic.candidate} in practice",
        f"A new look at {topic.candidate}", "Soil moisture in terraced vineyards", f"Early notes on {topic.baseline}",
    )  # fmt: skip
    made = []
    for place, (name, percent, year, kind) in enumerate(zip(names, percents, years, kinds, strict=True)):
        retracted, stranger = place == 6, place == 7
        says = (
            f"We measure drainage on slopes over {percent} percent of two seasons."
            if stranger
            else f"In {chance.randrange(4, 40)} trials, {topic.candidate} {verb} {topic.metric} by {percent} percent."
        )
        note = " This paper was retracted by its authors." if retracted else ""
        key = f"{name}{year}"
        head = kind[0].upper() + kind[1:]
        made.append(Paper(key, year, head, says + note, percent, "" if stranger else topic.slug, retracted))
    return tuple(sorted(made, key=lambda paper: paper.key))


def search(topic: Topic, queries: Sequence[str]) -> list[Paper]:
    """The topic's papers, those that share most words with the queries first; a stranger comes in last, as in life."""
    wanted = {word for query in queries for word in WORD.findall(query.lower())}

    def shared(paper: Paper) -> int:
        return len(wanted & set(WORD.findall(f"{paper.title} {paper.abstract}".lower())))

    return sorted(papers(topic), key=lambda paper: (-shared(paper), paper.key))
