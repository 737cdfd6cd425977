"""The rules as somebody writes them who knows them, each with an example that no question uses."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date

from metaclaw.bench.workdays.documents import Document, Edit, Format
from metaclaw.bench.workdays.facts import draw_field
from metaclaw.bench.workdays.rules import Rule, formats_of
from metaclaw.bench.workdays.values import VALUE_FAMILIES

OPENING = "How this user wants it done. Follow what applies; ignore the rest.\n"
SAMPLE_DAY = date(2025, 10, 7)


def handwritten(seed: int, rules: Sequence[Rule]) -> str:
    """Nothing where there are no rules."""
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
