"""`metaclaw skills`: read the library. The commands that change it are in the modules beside this one."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from metaclaw.cli import skills_change, skills_exchange, skills_pin, skills_why
from metaclaw.cli.common import ConfigOption, DataDirOption, JsonOption, Library, library
from metaclaw.errors import SkillError
from metaclaw.library.difference import difference
from metaclaw.library.skillfile import render
from metaclaw.types import Skill
from metaclaw.visible import visible

app = typer.Typer(help="What was learned in words.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="The skill's name.")]


@app.command("list")
def list_skills(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Every skill with its version and state, what waits for you, and files that are broken.

    Example: metaclaw skills list
    """
    with library(config, data_dir) as opened:
        rows = _rows(opened)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("name", "version", "state", "origin", "vouched for", "description")
    for row in rows:
        state = row["state"] + (", pinned" if row["pinned"] else "") + (", always" if row["always"] else "")
        vouched = "yes" if row["vouched"] else "no"
        shown = [row["name"], str(row["version"]), state, row["origin"], vouched, visible(row["description"])[:80]]
        table.add_row(*map(escape, shown))
    Console().print(table)
    for row in rows:
        if row["waiting"]:
            typer.echo(f"{row['waiting']} waits for you: {visible(row['why_waiting'])}")
        elif not row["vouched"] and row["state"] == "trial":
            typer.echo(f"{row['name']}@{row['version']} {skills_why.awaits(row['name'])}")
        if row["problem"]:
            serving = f"{row['name']}@{row['version']} goes on serving" if row["version"] else "nothing is live by it"
            typer.echo(f"{row['name']}/SKILL.md is broken: {visible(row['problem'])} ({serving})")


@app.command()
def show(
    name: NameArgument,
    version: Annotated[int | None, typer.Option(help="Another version than the live one.")] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """A skill's text, scripts, history, and the comparisons that decided on it.

    Example: metaclaw skills show file-name
    """
    with library(config, data_dir) as opened:
        catalog = opened.catalog
        skill = catalog.get(name) if version is None else version_of(opened, name, version)
        history = catalog.history(name)
        verdicts = catalog.verdicts(skill.ref)
        support = catalog.support_of(skill)
        imported = [one for one in catalog.imports() if (one.name, one.version) == (name, skill.version)]
    if as_json:
        typer.echo(json.dumps({
            "skill": asdict(skill), "history": history, "verdicts": [asdict(v) for v in verdicts], "support": support,
            "imported": asdict(imported[0]) if imported else None,
        }))
        return
    typer.echo(visible(render(skill)))
    for path, text in skill.files:
        typer.echo(f"--- {path}\n{visible(text)}")
    for generation, number, old, new, reason, _ in history:
        typer.echo(f"generation {generation}: version {number} {old or 'new'} -> {new} ({visible(reason)})")
    for verdict in verdicts:
        typer.echo(f"verdict: {verdict.decision} (n = {verdict.n}, effect {verdict.effect:+.2f})")
    for one in imported:
        typer.echo(f"imported from {one.source}, sha256 {one.sha256}")
    typer.echo(f"written from: {', '.join(support) or 'no turn'}")


@app.command()
def history(
    name: NameArgument, config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """Every change of a skill: when, which version, from what state to what, and why.

    Example: metaclaw skills history file-name
    """
    with library(config, data_dir) as opened:
        opened.catalog.get(name)
        changes = opened.catalog.changes_of(name)
    if as_json:
        typer.echo(json.dumps([asdict(change) for change in changes]))
        return
    table = Table("when", "generation", "version", "change", "why")
    for change in changes:
        when = datetime.fromtimestamp(change.created_at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        step = f"{change.old.value if change.old else 'new'} -> {change.new.value}"
        table.add_row(when, str(change.generation), str(change.version), step, escape(visible(change.reason)))
    Console().print(table)


@app.command()
def diff(
    name: NameArgument,
    old: Annotated[int | None, typer.Argument(help="A version; without it, the one before the newest.")] = None,
    new: Annotated[int | None, typer.Argument(help="A later version; without it, the newest.")] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """What changed between two versions, as a unified diff. What waits for you is compared with what is live.

    Example: metaclaw skills diff file-name 1 3
    """
    with library(config, data_dir) as opened:
        before, after = _pair(opened, name, old, new)
    text = difference(before, after)
    if as_json:
        typer.echo(json.dumps({"old": before.ref if before else None, "new": after.ref, "diff": text}))
        return
    typer.echo(visible(text), nl=False)


def version_of(opened: Library, name: str, version: int) -> Skill:
    found = [skill for skill in opened.catalog.versions(name) if skill.version == version]
    if not found:
        raise SkillError(f"Skill '{name}' has no version {version}. `metaclaw skills history {name}` shows them.")
    return found[0]


def _pair(opened: Library, name: str, old: int | None, new: int | None) -> tuple[Skill | None, Skill]:
    versions = opened.catalog.versions(name)
    waiting = opened.catalog.candidate(name)
    after = version_of(opened, name, new) if new is not None else waiting or versions[-1]
    if old is not None:
        return version_of(opened, name, old), after
    live = opened.catalog.get(name)
    if waiting and new is None and live.version != waiting.version:
        return live, after
    return next((skill for skill in reversed(versions) if skill.version < after.version), None), after


def _rows(opened: Library) -> list[dict[str, Any]]:
    """What `list` tells of each skill; those that never were one, for their broken file, too."""
    problems = opened.catalog.mirror.problems()
    pinned, always = opened.catalog.pinned(), {skill.name for skill in opened.catalog.pinned_for_all()}
    waiting = {skill.name: skill for skill in opened.catalog.waiting()}
    unvouched = opened.catalog.unvouched()
    rows = [
        {
            **asdict(skill),
            "vouched": skill.ref not in unvouched,
            "pinned": skill.name in pinned,
            "always": skill.name in always,
            "waiting": waiting[skill.name].ref if skill.name in waiting else None,
            "why_waiting": _reason(opened, waiting.get(skill.name)),
            "problem": problems.pop(skill.name, ""),
        }
        for skill in opened.catalog.all()
    ]
    never = {
        "vouched": True, "version": 0, "state": "broken", "origin": "person", "description": "", "pinned": False,
        "always": False, "waiting": None, "why_waiting": "",
    }
    return rows + [{**never, "name": name, "problem": problem} for name, problem in problems.items()]


def _reason(opened: Library, waiting: Skill | None) -> str:
    if waiting is None:
        return ""
    changes = opened.catalog.changes_of(waiting.name)
    return next(change.reason for change in reversed(changes) if change.version == waiting.version)


app.command("why")(skills_why.why)
app.command("add")(skills_change.add)
app.command("edit")(skills_change.edit)
app.command("approve")(skills_change.approve)
app.command("reject")(skills_change.reject)
app.command("rollback")(skills_change.rollback)
app.command("retire")(skills_change.retire)
app.command("merge")(skills_change.merge)
app.command("pin")(skills_pin.pin)
app.command("unpin")(skills_pin.unpin)
app.command("import")(skills_exchange.import_skills)
app.command("export")(skills_exchange.export_skills)
