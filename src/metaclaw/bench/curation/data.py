"""The latent rules, their requests and their users' words; and a stream of failures drawn from them.

`tuning.txt` and `held_out.txt` hold 25 rules each: an answer, five ways to ask (`?`), two that are kept for the end
(`!`), and eight ways to put the user right (`-`). Some rules look alike and contradict each other. Thresholds of the
curation were chosen on the first file alone. The blanks of a request are filled by chance.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import resources
from typing import Literal

Half = Literal["tuning", "held_out"]
NO_ANSWER = "-"
ANSWER_TOLD = 0.75  # how often a user writes the right answer down
STREAM_TOPICS = (
    "budget review", "garden party", "login page", "payment form", "search index", "travel policy", "sales forecast",
    "image gallery", "password reset", "team retreat", "price list", "stock report", "hiring plan", "data export",
    "news feed", "order history", "safety audit", "user profile", "shopping cart", "water meter", "music library",
    "booking calendar", "chat window", "energy bill", "file upload", "road map", "train schedule", "press release",
    "annual report", "customer survey",
)  # fmt: skip
LATE_TOPICS = (
    "kitchen renovation", "loyalty programme", "map viewer", "tax return", "video player", "warehouse move",
    "print queue", "book club", "rental contract", "weather station",
)  # fmt: skip
NAMES = ("Anna", "Ben", "Carla", "David", "Elena", "Frank", "Greta", "Hugo", "Ines", "Jonas", "Mira", "Tom")


@dataclass(frozen=True, slots=True)
class Rule:
    """`answer`, `requests` and `late_requests` have blanks; `said` has none."""

    name: str
    half: Half
    answer: str
    requests: tuple[str, ...]
    late_requests: tuple[str, ...]
    said: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """A failure: what was asked, what the user said of the reply, and the right answer ('' where there is no one)."""

    rule: Rule
    request: str
    correction: str
    answer: str


def rules(half: Half) -> list[Rule]:
    text = resources.files("metaclaw.bench.curation").joinpath(f"{half}.txt").read_text(encoding="utf-8")
    return [_rule(block, half) for block in text.split("\n\n")]


def stream(of: Sequence[Rule], n: int, seed: int) -> list[Case]:
    """`n` failures in random order, of each rule about as many."""
    chance = random.Random(seed)
    drawn = [of[number % len(of)] for number in range(n)]
    chance.shuffle(drawn)
    return [_case(rule, chance.choice(rule.requests), chance.choice(STREAM_TOPICS), chance) for rule in drawn]


def held_out_requests(wordings: Sequence[str], each: int, seed: int) -> list[str]:
    """Requests on topics that the stream does not have, `each` of every wording."""
    chance = random.Random(seed)
    pairs = [(wording, topic) for wording in wordings for topic in chance.sample(LATE_TOPICS, each)]
    return [wording.format_map(_blanks(topic, chance)) for wording, topic in pairs]


def _rule(block: str, half: Half) -> Rule:
    head, *lines = block.strip().splitlines()
    name, answer = head.removeprefix("# ").split(" | ", 1)
    of = {mark: tuple(line[2:] for line in lines if line[0] == mark) for mark in "?!-"}
    return Rule(name, half, answer, of["?"], of["!"], of["-"])


def _case(rule: Rule, wording: str, topic: str, chance: random.Random) -> Case:
    blanks = _blanks(topic, chance)
    said, answer = chance.choice(rule.said), ""
    if rule.answer != NO_ANSWER:
        answer = rule.answer.format_map(blanks)
        if chance.random() < ANSWER_TOLD:
            said += chance.choice((" It should have been `{}`.", " Correct would be `{}`.", " Expected: `{}`")).format(
                answer
            )
    return Case(rule, wording.format_map(blanks), said, answer)


def _blanks(topic: str, chance: random.Random) -> dict[str, str]:
    day = date(2026, 1, 1) + timedelta(days=chance.randrange(365))
    words = re.findall(r"\w+", topic)
    pascal = "".join(word.capitalize() for word in words)
    hour, minute = chance.randrange(13, 23), chance.randrange(60)
    rgb = [chance.randrange(256) for _ in range(3)]
    return {
        "t": topic, "T": topic.capitalize(), "s": "_".join(words), "S": "_".join(words).upper(), "k": "-".join(words),
        "p": pascal, "c": pascal[0].lower() + pascal[1:], "n": str(chance.randrange(10, 990)),
        "name": chance.choice(NAMES), "day": f"{day.day} {day:%B} {day.year}", "D": f"{day:%Y%m%d}",
        "iso": day.isoformat(), "dd": f"{day:%d}", "mm": f"{day:%m}", "yyyy": f"{day.year}",
        "phone": f"44 {chance.randrange(100, 999)} {chance.randrange(10, 99)} {chance.randrange(10, 99)}",
        "clock": f"{hour - 12}:{minute:02} pm", "hh": f"{hour}", "mi": f"{minute:02}",
        "r1": str(rgb[0]), "r2": str(rgb[1]), "r3": str(rgb[2]), "hex": "".join(f"{part:02x}" for part in rgb),
    }  # fmt: skip
