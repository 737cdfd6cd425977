"""`metaclaw skills`: list, show, roll back."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from metaclaw.cli.common import ConfigOption, DataDirOption, JsonOption, load_settings, rooms
from metaclaw.library.skillfile import render

app = typer.Typer(help="What was learned in words.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(help="The skill's name.")]


@app.command("list")
def list_skills(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Every skill, with its version and state.

    Example: metaclaw skills list
    """
    with rooms(load_settings(config, data_dir)) as open_rooms:
        found = open_rooms.catalog.all()
    if as_json:
        typer.echo(json.dumps([asdict(skill) for skill in found]))
        return
    table = Table("name", "version", "state", "origin", "description")
    for skill in found:
        table.add_row(skill.name, str(skill.version), skill.state.value, skill.origin, skill.description[:80])
    Console().print(table)


@app.command()
def show(
    name: NameArgument, config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """A skill's text, history, and the comparisons that decided on it.

    Example: metaclaw skills show file-name
    """
    with rooms(load_settings(config, data_dir)) as open_rooms:
        skill = open_rooms.catalog.get(name)
        history = open_rooms.catalog.history(name)
        verdicts = open_rooms.catalog.verdicts(skill.ref)
        support = open_rooms.catalog.support_of(skill)
    if as_json:
        typer.echo(json.dumps({
            "skill": asdict(skill), "history": history, "verdicts": [asdict(v) for v in verdicts], "support": support,
        }))
        return
    typer.echo(render(skill))
    for generation, version, old, new, reason, _ in history:
        typer.echo(f"generation {generation}: version {version} {old or 'new'} -> {new} ({reason})")
    for verdict in verdicts:
        typer.echo(f"verdict: {verdict.decision} (n = {verdict.n}, effect {verdict.effect:+.2f})")
    typer.echo(f"written from: {', '.join(support) or 'no turn'}")


@app.command()
def rollback(name: NameArgument, config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Undo a skill's newest version; the next request no longer sees it.

    Example: metaclaw skills rollback file-name
    """
    with rooms(load_settings(config, data_dir)) as open_rooms:
        restored, generation = open_rooms.catalog.rollback(name, "rolled back by a person")
    now = f"its text of before is live as {restored.ref}" if restored else "no version of it is live"
    typer.echo(f"{name}: {now} (generation {generation})")
