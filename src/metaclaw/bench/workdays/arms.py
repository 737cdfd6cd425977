"""The arms: who learns by what. Each says what is put before a question, and what the gateway is told afterwards.

`frozen` knows nothing; `feedback-log` reads what the user said so far; `handwritten` reads the very rules that the
question checks (an upper bound, since it knows them before anybody told them); `placebo` reads as much about something
else. `skills`, `weights` and `both` learn through the gateway, and so does `shuffled-feedback`, from the wrong words.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from metaclaw.bench.client import MEASURED, WITHOUT_SKILLS
from metaclaw.bench.workdays.documents import Document, Edit, Format
from metaclaw.bench.workdays.facts import draw_field
from metaclaw.bench.workdays.questions import RIGHT, ChoiceQuestion, FileQuestion
from metaclaw.bench.workdays.rules import Rule, formats_of
from metaclaw.bench.workdays.values import VALUE_FAMILIES

BUDGET_CHARACTERS = 3_200  # as much as the default budget for skills in a prompt
OPENING = "How this user wants it done. Follow what applies; ignore the rest.\n"
SAMPLE_DAY = date(2025, 10, 7)
KITCHEN = (
    "Knives go back into the block with the blade to the left, the bread knife last. For example: paring, chef, bread.",
    "Soup bowls are stacked by fives, deep ones below. For example: five deep, five shallow.",
    "Basil is watered from below before eight, thyme only on Fridays. For example: Tuesday, basil, half a cup.",
    "The oven is preheated ten degrees above what the recipe says. For example: 190 where it says 180.",
    "Tea towels are boiled, aprons are not. For example: Monday, four towels at ninety.",
    "Bread rests on the north shelf under linen, cut side down. For example: rye, linen, north shelf.",
    "Pans hang by size from the window to the door. For example: twenty, twenty-four, twenty-eight.",
    "Rice is rinsed three times and rests twelve minutes. For example: basmati, three rinses.",
    "Jars are labelled on the lid, never on the glass. For example: lid, plum, autumn.",
    "Eggs are stored blunt end up and used from the right. For example: six left, take the right one.",
    "Cutting boards: red for meat, blue for fish, white for bread. For example: trout on blue.",
    "The coffee grinder is emptied before it is filled. For example: brush, tap, fill.",
)


@dataclass(frozen=True, slots=True)
class Arm:
    """`learns`: the gateway hears of answers and feedback. `trains`: it may train between days. `shuffled`: it hears
    the feedback of other questions."""

    name: str
    learns: bool = False
    skills: bool = False
    trains: bool = False
    shuffled: bool = False

    @property
    def headers(self) -> Mapping[str, str]:
        return {**({} if self.learns else MEASURED), **({} if self.skills else WITHOUT_SKILLS)}


ARMS = {
    arm.name: arm
    for arm in (
        Arm("frozen"),
        Arm("feedback-log"),
        Arm("handwritten"),
        Arm("placebo"),
        Arm("shuffled-feedback", learns=True, skills=True, shuffled=True),
        Arm("skills", learns=True, skills=True),
        Arm("weights"),  # the same gateway as `both`, asked without skills, and told nothing
        Arm("both", learns=True, skills=True, trains=True),
    )
}


def context_of(arm: Arm, seed: int, question: FileQuestion | ChoiceQuestion, heard: Sequence[tuple[str, str]]) -> str:
    """What the arm puts into the system prompt. `heard` are (what was asked, what the user said) so far, in order."""
    if arm.name == "handwritten":
        return handwritten(seed, question.rules)
    if arm.name == "placebo":
        return _as_long(KITCHEN, len(handwritten(seed, question.rules)), seed)
    return feedback_log(heard) if arm.name == "feedback-log" else ""


def handwritten(seed: int, rules: Sequence[Rule]) -> str:
    """The rules in the words of somebody who knows them, each with an example that no question uses."""
    if not rules:
        return ""
    return OPENING + "\n".join(f"- {rule.says} {example(seed, rule)}".rstrip() for rule in rules)


def example(seed: int, rule: Rule) -> str:
    """A rule on a case from another year."""
    if rule.revoked:
        return ""
    rng = random.Random(f"example {seed} {rule.key}")
    if rule.family in VALUE_FAMILIES:
        field = draw_field(rng, SAMPLE_DAY, VALUE_FAMILIES[rule.family][0])
        return f"For example: {field.plain} is written `{rule.form.show(field.value)}`."
    return f"For example:\n```\n{rule.show(_sample(rule.family))}\n```"


def feedback_log(heard: Sequence[tuple[str, str]]) -> str:
    """What the user found wrong, the newest last, as far as the budget of skills goes."""
    entries: list[str] = []
    room = BUDGET_CHARACTERS
    for asked, said in reversed(heard):
        if said == RIGHT:
            continue
        entry = f"- Asked: {asked[:160]}\n  The user said: {said}"
        room -= len(entry)
        if room < 0:
            break
        entries.append(entry)
    return "What the user said of earlier answers:\n" + "\n".join(reversed(entries)) if entries else ""


def _as_long(lines: Sequence[str], characters: int, seed: int) -> str:
    """As many of the lines as fill so many characters, in an order of the seed's."""
    if not characters:
        return ""
    text = OPENING
    order = random.Random(f"placebo {seed}").sample(list(lines), len(lines))
    while len(text) < characters:
        for line in order:
            text += f"- {line}\n"
    return text[:characters]


def _sample(family: str) -> Document:
    """An old document of a format that the family applies to."""
    found = sorted(formats_of(family))
    if found == ["edit"]:
        edit = Edit("plans/picnic.txt", "Venue: lawn", "Venue: lake")
        return Document("plan", "picnic plan", "txt", SAMPLE_DAY, 17, edit=edit)
    fields = tuple(draw_field(random.Random(1), SAMPLE_DAY, kind) for kind in ("money", "person"))
    items = (("pear", 31), ("fig", 54), ("lemon", 22))
    written: Format = "md" if "md" in found else "json" if "json" in found else "csv"
    return Document("trip report", "autumn picnic", written, SAMPLE_DAY, 17, fields, items)
