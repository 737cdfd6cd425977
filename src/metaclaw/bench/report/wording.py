"""How the report words what the result files hold: titles, questions, and figures with their units. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from metaclaw.bench.results import Arm

T = TypeVar("T")
TITLES = {
    "demo": ("The demo", "A working week of house conventions that no model can know: does the whole circle learn it?"),
    "workdays": ("Workdays", "934 questions over 44 simulated days, each house with rules of its own."),
    "workdays-agent": ("Workdays, with tools", "The same days, played by an agent that reads and writes files."),
    "metaclaw-bench-as-shipped": ("MetaClaw-Bench, as shipped", "The paper's public data, its faults left in."),
    "metaclaw-bench-repaired": ("MetaClaw-Bench, repaired", "The paper's public data, its faults mended."),
    "research": ("Research pipeline", "23 stages from a topic to a cited draft: how often must a stage be redone?"),
    "peers": ("Beside what else one could use", "The same stream and model with other ways of learning."),
    "learning": ("Learning under drift", "Rules come, change and go: what do words and weights keep, and forget?"),
    "learning-skills": ("Learning under drift, in words", "Rules come, change and go: what do skills alone know?"),
    "trainer": ("The trainer", "Tokens a second and memory, beside TRL's SFTTrainer."),
    "gate-aa": ("The gate", "Does it promote what is no better, or what was spoilt on purpose?"),
    "swap": ("Swaps", "A new adapter under load: is a request lost, mixed or delayed?"),
    "gateway": ("The gateway's speed", "Everything on, beside a bare pass-through and other gateways."),
    "gateway-soak": ("The gateway's memory", "Half an hour of load without pause."),
    "feedback": ("From feedback to live", "How long until a correction is in the next request?"),
    "signals": ("Signals", "Does it notice what went wrong, in twelve languages?"),
    "retrieval": ("Retrieval", "Does a request find its skill among up to 100,000, and none where none fits?"),
    "sandbox": ("The sandbox", "Attacks from code skills, and what a call costs."),
    "curation": ("Curation", "2,000 failures of 50 rules: does the library stay small, and every rule covered?"),
    "skills-aa": ("Skills without effect", "Are they admitted, or called helpful?"),
    "poison": ("Poison", "Attempts to plant a skill, beside genuine corrections, which must be kept."),
    "scheduling": ("Scheduling", "Ten thousand simulated weeks with crashes: is an invariant broken?"),
    "first-minutes": ("First minutes", "From a fresh clone to the first learned skill, as a newcomer."),
}  # fmt: skip
NO_SHARE = re.compile(r"\b(milliseconds?|ms|seconds?|a second|megabytes|mb|tokens|ratio|times|points)\b", re.IGNORECASE)


def title(name: str) -> tuple[str, str]:
    """A benchmark's title and what it asks."""
    return TITLES.get(name, (name.replace("-", " ").capitalize(), ""))


def in_order(things: Iterable[T], name: Callable[[T], str]) -> list[T]:
    """Learning first, then what carries it: the order of `TITLES`; what has no title comes last."""
    places = {known: place for place, known in enumerate(TITLES)}
    return sorted(things, key=lambda thing: (places.get(name(thing), len(places)), name(thing)))


def words(name: str) -> str:
    """A check's or an arm's name as people read it."""
    return name.replace("_", " ")


def is_share(arm: Arm) -> bool:
    """Whether an arm's value is a share of 1, by its size and by the words of its metric."""
    return 0 <= arm.value <= 1 and not NO_SHARE.search(arm.metric)


def arm_value(arm: Arm) -> str:
    """An arm's value: a share as per cent, all else as the number it is."""
    return f"{arm.value:.1%}" if is_share(arm) else number(arm.value)


def arm_interval(arm: Arm) -> str:
    """Its 95 % interval, in the same way."""
    low, high = arm.ci95
    return f"{low:.1%} to {high:.1%}" if is_share(arm) else f"{number(low)} to {number(high)}"


def number(value: float | None) -> str:
    """A number with as many places as say something: 31,266; 0.354; 3.8."""
    if value is None:
        return "not measured"
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
