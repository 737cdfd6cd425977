"""Multiple-choice questions on the house's rules: forms, pairs of forms, and statements, some right and some not.

A wrong option is what one other house would do, its rules drawn as ours were: ours is no more frequent, nor more alike,
than theirs, so that nothing in the options tells which is which. Every option keeps its claims, by which anybody who
knows the rules can tell whether it is right (`is_true`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaclaw.bench.workdays.documents import Document
from metaclaw.bench.workdays.facts import Field
from metaclaw.bench.workdays.rules import Rule, formats_of, other_rule
from metaclaw.bench.workdays.values import VALUE_FAMILIES

OPTIONS = 5
TRIES = 400
NO_CASE = "no case"  # None is a case: what nobody knows
LETTERS = "ABCDE"
HOW_TO_ANSWER = "Tick all that apply."
ABOUT = {
    "naming": "file name", "folder": "folder", "metadata": "metadata", "backup": "name of the kept copy",
    "worklog": "log line", "heading": "heading", "order": "order of the list", "labels": "section titles",
    "keycase": "keys", "listmark": "entry of the list", "delimiter": "row", "indent": "beginning",
    "footer": "last line",
}  # fmt: skip
ASKED = {"json": "JSON file", "md": "Markdown file", "csv": "CSV file", "edit": "changed file"}


@dataclass(frozen=True, slots=True)
class Claim:
    """That `shown` is how the house writes `case` by its rule of `family`; with `NO_CASE`, that it is the rule."""

    family: str
    case: Any
    shown: str


@dataclass(frozen=True, slots=True)
class Option:
    text: str
    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True)
class Cases:
    """Where cases come from: facts of given kinds, and documents of a given format."""

    fields: Callable[[Sequence[str]], tuple[Field, ...]]
    document: Callable[[str], Document]


Draw = Callable[[bool], Option]


def is_true(option: Option, rules: Mapping[str, Rule]) -> bool:
    """Whether all that an option claims is so under these rules."""
    return all(_written(rules[claim.family], claim.case) == claim.shown for claim in option.claims)


def draw_choice(rng: random.Random, rules: Sequence[Rule], cases: Cases) -> tuple[str, list[Option], tuple[Rule, ...]]:
    """A question on rules in force: what is asked, the options, and the rules that it is about."""
    values = [rule for rule in rules if rule.family in VALUE_FAMILIES]
    kinds = ["forms", "forms"] + (["statements"] if len(rules) > 2 else []) + (["pairs"] if len(values) > 1 else [])
    kind = rng.choice(kinds)
    if kind == "statements":
        about = tuple(rng.sample(list(rules), 3))
        return "Which of these are rules of ours?", _options(rng, about, (2, 3), _statement(rng, about)), about
    if kind == "pairs":
        about = tuple(rng.sample(values, 2))
        asked = "In which of these are both values right, as we write them here?"
        return asked, _options(rng, about, (1, 2, 2), _pair(rng, about, cases)), about
    rule = rng.choice(list(rules))
    asked = f"Which of these have the {ABOUT.get(rule.family, 'value')} right, as we write it here?"
    return asked, _options(rng, (rule,), (1, 2, 2, 3, 3, 4), _form(rng, rule, cases)), (rule,)


def put(asked: str, options: Sequence[Option]) -> str:
    """The question as it is asked."""
    listed = [f"{letter}. {option.text}" for letter, option in zip(LETTERS, options, strict=True)]
    return "\n".join([asked, *listed, HOW_TO_ANSWER])


def _options(rng: random.Random, rules: Sequence[Rule], sizes: Sequence[int], draw: Draw) -> list[Option]:
    """Five different ones, as many of them right as one of `sizes` says, in an order that tells nothing."""
    known = {rule.family: rule for rule in rules}
    wanted = rng.choice(sizes)
    right: dict[str, Option] = {}
    wrong: dict[str, Option] = {}
    for number in range(TRIES):
        if len(right) + len(wrong) == OPTIONS:
            break
        option = draw(number % 2 == 0)
        side, room = (right, wanted) if is_true(option, known) else (wrong, OPTIONS - wanted)
        if len(side) < (room if number < TRIES // 2 else OPTIONS - 1):  # some rules have few cases
            side.setdefault(option.text, option)
    options = [*right.values(), *wrong.values()]
    rng.shuffle(options)
    assert right and len(options) == OPTIONS, f"no question on {[rule.key for rule in rules]}"  # noqa: S101
    return options


def _form(rng: random.Random, rule: Rule, cases: Cases) -> Draw:
    """One case after another, each written by our rule or by the other house's."""
    other = other_rule(rng, rule)

    def draw(right: bool) -> Option:
        by = rule if right else other
        if rule.family in VALUE_FAMILIES:
            (field,) = cases.fields([VALUE_FAMILIES[rule.family][0]])
            shown = _written(by, field.value)
            return Option(f"{field.name}, {field.plain}: {shown}", (Claim(rule.family, field.value, shown),))
        case = cases.document(rng.choice(sorted(formats_of(rule.family))))
        shown = _written(by, case)
        return Option(f"{_told(rule.family, case)}: {shown}", (Claim(rule.family, case, shown),))

    return draw


def _pair(rng: random.Random, rules: Sequence[Rule], cases: Cases) -> Draw:
    """Two values side by side: right only where both are."""
    others = [other_rule(rng, rule) for rule in rules]

    def draw(right: bool) -> Option:
        fields = cases.fields([VALUE_FAMILIES[rule.family][0] for rule in rules])
        wrong = set() if right else set(rng.sample(range(2), rng.choice((1, 1, 2))))
        used = [others[place] if place in wrong else rule for place, rule in enumerate(rules)]
        claims = tuple(
            Claim(by.family, field.value, _written(by, field.value)) for by, field in zip(used, fields, strict=True)
        )
        told = [f"{field.name}, {field.plain}: {claim.shown}" for field, claim in zip(fields, claims, strict=True)]
        return Option("; and ".join(told), claims)

    return draw


def _statement(rng: random.Random, rules: Sequence[Rule]) -> Draw:
    others = {rule.family: other_rule(rng, rule) for rule in rules}

    def draw(right: bool) -> Option:
        rule = rng.choice(list(rules))
        says = (rule if right else others[rule.family]).says
        return Option(says, (Claim(rule.family, NO_CASE, says),))

    return draw


def _written(rule: Rule, case: Any) -> str:
    return rule.says if case is NO_CASE else rule.form.show(case)


def _told(family: str, case: Document) -> str:
    """What must be known of a case to judge a form of it."""
    told = f"{ASKED['edit' if case.edit else case.format]}, {case.kind} on {case.title}, task {case.number}"
    if case.edit:
        told += f", at {case.edit.path}"
    if family in ("order", "delimiter"):
        told += " (" + ", ".join(f"{name} {number}" for name, number in case.items) + ")"
    if family == "keycase":
        told += " (" + ", ".join(field.name for field in case.fields) + ")"
    return told
