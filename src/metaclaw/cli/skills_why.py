"""`metaclaw skills why`: the whole story of a skill, from the failure that made it to how it does now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from metaclaw.cli.common import ConfigOption, DataDirOption, JsonOption, Library, library
from metaclaw.evolve.corroborate import VOICES, heard_in
from metaclaw.evolve.curate import describe
from metaclaw.evolve.exposures import lifts_of
from metaclaw.evolve.extractive import rule_in
from metaclaw.evolve.vouching import voices_for
from metaclaw.journal import trajectories
from metaclaw.library.undo import last_step
from metaclaw.signals import ledger
from metaclaw.types import LIVE_STATES, Skill, Verdict
from metaclaw.visible import visible

SHOWN = 400  # characters of a request or reply
MOST_TURNS = 2_000  # of those that carried the skill, the newest

NOBODY_VOUCHES = "may be somebody else's words: it stays on trial"

NameArgument = Annotated[str, typer.Argument(help="The skill's name.")]


def why(
    name: NameArgument, config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Which failures made a skill, what admitted it, how it does now, every change, and how to undo it.

    Example: metaclaw skills why file-name
    """
    with library(config, data_dir) as opened:
        story = story_of(opened, name)
    if as_json:
        typer.echo(json.dumps(story))
    else:
        typer.echo(visible(told(story)))


def story_of(opened: Library, name: str) -> dict[str, Any]:
    """The story, as JSON says it. Raises `SkillError` where there is no such skill."""
    catalog = opened.catalog
    skill = catalog.get(name)
    waiting = catalog.candidate(name)
    versions = catalog.versions(name)
    unvouched = catalog.unvouched()
    imports = {one.version: one for one in catalog.imports() if one.name == name}
    return {
        "skill": asdict(skill),
        "waiting": waiting.ref if waiting else None,
        "versions": [
            {
                "ref": one.ref,
                "state": one.state.value,
                "origin": one.origin,
                "vouched": one.ref not in unvouched,
                "imported": asdict(imports[one.version]) if one.version in imports else None,
                "failures": [_failure(opened, turn_id) for turn_id in catalog.support_of(one)],
                "comparisons": [_comparison(verdict) for verdict in catalog.verdicts(one.ref)],
            }
            for one in versions
        ],
        "vouching": _vouching(opened, skill) if skill.ref in unvouched else [],
        "now": how_it_does(opened, skill),
        "changes": [asdict(change) for change in catalog.changes_of(name)],
        "undo": _undo(opened, skill, waiting),
    }


def how_it_does(opened: Library, skill: Skill) -> list[str]:
    """What is known of the use of the live version, a line each: how its turns went, and how much it helps.

    The first is no comparison; the second is, with the requests of the same kind from which it was withheld by chance.
    """
    turns = trajectories.turns_with_skill(opened.database, opened.catalog.namespace, skill.ref, MOST_TURNS)
    if not turns:
        return [f"no request has carried {skill.ref}"]
    outcomes = [ledger.outcome_of(opened.database, opened.catalog.namespace, turn_id) for turn_id in turns]
    bad, good = sum(one.failed for one in outcomes), sum(one.succeeded for one in outcomes)
    more = " at least" if len(turns) == MOST_TURNS else ""
    lifts = lifts_of(opened.database, opened.catalog, skill.ref)
    return [
        f"{skill.ref} was in{more} {len(turns)} requests: {good} went well, {bad} failed,"
        f" of {len(turns) - good - bad} nobody said",
        *(f"under {policy} it {describe(lift)}" for policy, lift in lifts.items()),
    ]


def told(story: Mapping[str, Any]) -> str:
    """The story in plain lines."""
    skill = story["skill"]
    lines = [f"{skill['name']}@{skill['version']} ({skill['state']}, from {skill['origin']}): {skill['description']}"]
    if story["waiting"]:
        lines.append(f"{story['waiting']} waits for you: metaclaw skills approve {skill['name']}, or reject")
    lines += story["vouching"]
    lines += ["", "Made from"]
    made = [(one["ref"], failure) for one in story["versions"] for failure in one["failures"]]
    for ref, failure in made:
        lines += _failure_lines(ref, failure)
    for one in story["versions"]:
        if one["imported"]:
            lines.append(f"  {one['ref']}: {one['imported']['source']}, sha256 {one['imported']['sha256']}")
    if lines[-1] == "Made from":
        lines.append(f"  no failure: it was written by hand, or came from elsewhere ({skill['origin']})")
    lines += ["", "Admitted by"]
    compared = [(one["ref"], comparison) for one in story["versions"] for comparison in one["comparisons"]]
    for ref, comparison in compared:
        lines += _comparison_lines(ref, comparison)
    if not compared:
        lines.append("  no comparison")
    lines += ["", "Now", *(f"  {line}" for line in story["now"]), "", "Changes"]
    for change in story["changes"]:
        when = datetime.fromtimestamp(change["created_at"]).astimezone().strftime("%Y-%m-%d %H:%M")
        step = f"version {change['version']}, {change['old'] or 'new'} -> {change['new']}"
        lines.append(f"  {when}  generation {change['generation']}, {step}: {change['reason']}")
    return "\n".join([*lines, "", "Undo", *(f"  {line}" for line in story["undo"])])


def awaits(name: str) -> str:
    """What a skill on trial waits for that nobody vouches for."""
    return (
        f"{NOBODY_VOUCHES} until you say `metaclaw skills approve {name}`, feedback shows the right answer to it, or"
        f" {VOICES} sessions have said it"
    )


def _vouching(opened: Library, skill: Skill) -> list[str]:
    """What the live version waits for, and how far it is."""
    if skill.state not in LIVE_STATES:
        return [f"{skill.ref} may be somebody else's words, passed on: nobody vouches for it"]
    said = heard_in(rule_in(skill.body), voices_for(opened.database, opened.catalog, skill))
    return [
        f"{skill.ref} {awaits(skill.name)}, each in its own words: {said} so far."
        " Until then it trains nothing, and is not exported."
    ]


def _failure(opened: Library, turn_id: str) -> dict[str, Any]:
    """A turn that a version was written from, and what was said of it."""
    namespace = opened.catalog.namespace
    turn = trajectories.turn(opened.database, namespace, turn_id)
    if turn is None:
        return {"turn": turn_id, "gone": True}
    signals = ledger.signals_on(opened.database, namespace, turn_id)
    return {
        "turn": turn_id,
        "gone": False,
        "asked": turn.query,
        "answered": turn.reply,
        "said": [item.text for item in trajectories.feedback_on(opened.database, namespace, turn_id) if item.text],
        "signals": [asdict(signal) for signal in signals if signal.value is not None],
    }


def _comparison(verdict: Verdict) -> dict[str, Any]:
    return {**asdict(verdict), "evidence": dict(verdict.evidence)}


def _failure_lines(ref: str, failure: Mapping[str, Any]) -> list[str]:
    if failure["gone"]:
        return [f"  {ref}: {failure['turn']}, which is erased"]
    return [
        f"  {ref}: {failure['turn']}",
        f"    asked:    {_cut(failure['asked'])}",
        f"    answered: {_cut(failure['answered'])}",
        *(f"    the user: {_cut(text)}" for text in failure["said"]),
        *(
            f"    {signal['source']} ({signal['value']:+.2f}): {signal['reason']}"
            + (f": {_cut(signal['evidence'])}" if signal["evidence"] and not failure["said"] else "")
            for signal in failure["signals"]
        ),
    ]


def _comparison_lines(ref: str, comparison: Mapping[str, Any]) -> list[str]:
    """The verdict in a line, and below it what either side answered, where that was kept."""
    lines = [
        f"  {ref}: {comparison['decision']} (n = {comparison['n']}, effect {comparison['effect']:+.2f},"
        f" confidence {comparison['confidence']:.2f})"
    ]
    for side, shown in comparison["evidence"].items():
        if isinstance(shown, Mapping) and "reply" in shown:
            passed = "right" if shown.get("passed") else "wrong"
            lines.append(f"    {side}: {passed}: {_cut(str(shown['reply']))}")
        else:
            lines.append(f"    {side}: {_cut(shown if isinstance(shown, str) else json.dumps(shown))}")
    return lines


def _undo(opened: Library, skill: Skill, waiting: Skill | None) -> list[str]:
    """The commands that undo what is now, and what each would do."""
    name = skill.name
    step = last_step(opened.catalog.versions(name), opened.catalog.changes_of(name))
    lines = []
    if step and step.leaves:
        before = f"brings version {step.returns.version} back" if step.returns else "leaves nothing live by this name"
        others = ", and what was merged into it" if step.merged else ""
        lines.append(f"metaclaw skills rollback {name}   {before}{others}")
    elif step:
        lines.append(f"metaclaw skills rollback {name}   brings it back into use")
    if skill.state in LIVE_STATES:
        lines.append(f"metaclaw skills retire {name}   takes it out of use")
    if waiting:
        lines.append(f"metaclaw skills reject {name}   refuses {waiting.ref}, which waits")
    return lines or ["nothing of it is in use"]


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"
