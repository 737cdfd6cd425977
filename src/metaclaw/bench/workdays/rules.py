"""A house's rules, drawn from a seed: families, parameters, and the days on which each comes, changes or goes.

Comes in: a seed. Goes out: a `House` with its events in the order of days; `House.known` tells what is in force.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from metaclaw.bench.workdays.documents import Delivery, Document, value_of
from metaclaw.bench.workdays.facts import Field
from metaclaw.bench.workdays.shapes import SHAPE_FAMILIES, Shape
from metaclaw.bench.workdays.values import VALUE_FAMILIES, Form

FAMILIES = (*VALUE_FAMILIES, *SHAPE_FAMILIES)
ALWAYS = ("stamp", "naming", "metadata", "backup", "worklog")  # what every office has a rule for
REVOCABLE = ("metadata", "worklog", "backup")
RULES_OF_A_HOUSE = 22
PART_ONE_DAYS, DAYS = 30, 44
INTRODUCED = (1, 2, 4, 6, 7, 9, 11, 13, 15, 17, 19, 22, 24, 28, 31, 32, 33, 34, 35, 36, 38, 40)
CHANGED_ON, REVOKED_ON = 20, 26

EventKind = Literal["new", "changed", "revoked"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as it holds from some day on; a revoked one asks that nothing of it is done any more."""

    family: str
    form: Form | Shape
    revoked: bool = False

    @property
    def key(self) -> str:
        return f"{self.family} {self.form.key}{' revoked' if self.revoked else ''}"

    @property
    def says(self) -> str:
        if self.revoked:
            return f"This rule no longer holds; leave it out from now on: {self.form.says}"
        return self.form.says

    def fields(self, document: Document) -> list[Field]:
        """The document's facts that a rule on values is about."""
        kind = VALUE_FAMILIES[self.family][0] if self.family in VALUE_FAMILIES else ""
        return [field for field in document.fields if field.kind == kind]

    def holds(self, document: Document, got: Delivery) -> bool:
        """Whether a delivery keeps to it."""
        if isinstance(self.form, Shape):
            holds = self.form.gone if self.revoked and self.form.gone else self.form.holds
            return holds(document, got)
        show = self.form.show
        return all(value_of(document.format, got.text, f.name) == show(f.value) for f in self.fields(document))

    def show(self, document: Document) -> str:
        """What right looks like, on this document; a revoked rule has nothing to show."""
        if self.revoked:
            return ""
        if isinstance(self.form, Shape):
            return self.form.show(document)
        return self.form.show(self.fields(document)[0].value)

    def correction(self, document: Document) -> str:
        """What a colleague says to somebody who broke it."""
        shown = self.show(document)
        if not shown:
            return self.says
        marked = f":\n```\n{shown}\n```" if "\n" in shown or "`" in shown else f" `{shown}`."
        return f"{self.says} It should have been{marked}"

    def pattern(self, document: Document) -> str:
        """A look-ahead for a reply in JSON that holds what the rule asks for; empty for a revoked rule."""
        if self.revoked:
            return ""
        if isinstance(self.form, Shape):
            pieces = self.form.pieces(document)
        else:
            pieces = [self.form.show(field.value) for field in self.fields(document)]
        return "(?=.*" + ".*".join(re.escape(json.dumps(piece, ensure_ascii=False)[1:-1]) for piece in pieces) + ")"


def formats_of(family: str) -> frozenset[str]:
    """Where a family applies: formats of new files, or `edit`."""
    return frozenset({"json", "md", "csv"}) if family in VALUE_FAMILIES else SHAPE_FAMILIES[family][0]


def draw_rule(rng: random.Random, family: str) -> Rule:
    if family in VALUE_FAMILIES:
        return Rule(family, VALUE_FAMILIES[family][1](rng))
    return Rule(family, SHAPE_FAMILIES[family][1](rng))


def other_rule(rng: random.Random, rule: Rule) -> Rule:
    """A rule of the same family with other parameters."""
    while (other := draw_rule(rng, rule.family)).form.key == rule.form.key:
        pass
    return other


@dataclass(frozen=True, slots=True)
class Event:
    """From the day's second question on, `rule` holds: new, in place of an older one, or no longer."""

    day: int
    kind: EventKind
    rule: Rule


@dataclass(frozen=True, slots=True)
class House:
    events: Sequence[Event]

    def known(self, day: int, *, with_today: bool) -> dict[str, Rule]:
        """The rules in force by family, without or with what this day brings; revoked ones are there, as such."""
        found: dict[str, Rule] = {}
        for event in self.events:
            if event.day < day or (with_today and event.day == day):
                found[event.rule.family] = event.rule
        return found

    def today(self, day: int) -> Event | None:
        return next((event for event in self.events if event.day == day), None)


def draw_house(seed: int) -> House:
    rng = random.Random(f"house {seed}")
    rest = [family for family in FAMILIES if family not in ALWAYS]
    chosen = [*ALWAYS, *rng.sample(rest, RULES_OF_A_HOUSE - len(ALWAYS))]
    rng.shuffle(chosen)
    _early_enough(chosen)
    rules = [draw_rule(rng, family) for family in chosen]
    news = [Event(day, "new", rule) for day, rule in zip(INTRODUCED, rules, strict=True)]
    early = [event.rule for event in news if event.day < CHANGED_ON - 5]
    changed = rng.choice([rule for rule in early if rule.family != "worklog"])
    gone = rng.choice([rule for rule in early if rule.family in REVOCABLE and rule is not changed])
    events = [
        *news,
        Event(CHANGED_ON, "changed", other_rule(rng, changed)),
        Event(REVOKED_ON, "revoked", replace(gone, revoked=True)),
    ]
    return House(sorted(events, key=lambda event: event.day))


def _early_enough(chosen: list[str]) -> None:
    """Move what may be revoked into the first days, and an everyday rule to the very first, so that it can be."""
    for place, family in enumerate(("stamp", "metadata", "backup")):
        here = chosen.index(family)
        target = (0, 3, 5)[place]
        chosen[here], chosen[target] = chosen[target], chosen[here]
