"""The arms: who learns by what. Each says what is put before a question, and what the gateway is told afterwards.

`frozen` knows nothing; `feedback-log` reads what the user said so far; `handwritten` reads the very rules that the
question checks (an upper bound, since it knows them before anybody told them); `placebo` reads as much about something
else. `skills`, `weights` and `both` learn through the gateway, and so does `shuffled-feedback`, from the wrong words.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metaclaw.bench.client import MEASURED, WITHOUT_SKILLS
from metaclaw.bench.workdays.course import Course, Question
from metaclaw.bench.workdays.handwritten import OPENING

BUDGET_CHARACTERS = 3_200  # as much as the default budget for skills in a prompt
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
    the feedback of other questions. `checked`: with the feedback comes a pattern that a right reply matches."""

    name: str
    learns: bool = False
    skills: bool = False
    trains: bool = False
    shuffled: bool = False
    checked: bool = True

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


def context_of(arm: Arm, course: Course, question: Question, heard: Sequence[tuple[str, str]]) -> str:
    """What the arm puts into the system prompt. `heard` are (what was asked, what the user found wrong) so far."""
    if arm.name == "handwritten":
        return course.handwritten(question)
    if arm.name == "placebo":
        return _as_long(KITCHEN, len(course.handwritten(question)), course.seed)
    return feedback_log(heard) if arm.name == "feedback-log" else ""


def feedback_log(heard: Sequence[tuple[str, str]]) -> str:
    """What the user found wrong, the newest last, as far as the budget of skills goes."""
    entries: list[str] = []
    room = BUDGET_CHARACTERS
    for asked, said in reversed(heard):
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
