"""`metaclaw adapters`: list, show, promote, roll back; `adapters_why` tells, compares and exports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from metaclaw.cli import adapters_why
from metaclaw.cli.common import ConfigOption, DataDirOption, JsonOption, Rooms, load_settings, rooms, visible
from metaclaw.errors import TrainingError
from metaclaw.serving.promotion import admitted

app = typer.Typer(help="What was learned in weights.", no_args_is_help=True)
app.command("why")(adapters_why.why)
app.command("diff")(adapters_why.diff)
app.command("export")(adapters_why.export)

NameArgument = Annotated[str, typer.Argument(help="The adapter's name.")]


@app.command("list")
def list_adapters(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Every adapter, with its state and its last verdict.

    Example: metaclaw adapters list
    """
    with rooms(load_settings(config, data_dir)) as opened:
        found = [(adapter, opened.registry.verdicts(adapter.name)) for adapter in opened.registry.all()]
        state = opened.routes.state()
        service = {adapter.name: state.service_of(adapter.name) for adapter, _ in found}
        serving = opened.routes.state().serving
    if as_json:
        typer.echo(json.dumps([
            {
                **asdict(one), "serving": one.name == serving, "service": service[one.name],
                "verdicts": [asdict(verdict) for verdict in verdicts],
            }
            for one, verdicts in found
        ]))
        return
    table = Table(Column("name", no_wrap=True), "base model", "state", "in service", "verdict")
    for adapter, verdicts in found:
        decision = verdicts[-1].decision if verdicts else "none"
        table.add_row(adapter.name, adapter.base_model, adapter.state.value, service[adapter.name], visible(decision))
    Console().print(table)


@app.command()
def show(
    name: NameArgument, config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False
) -> None:
    """An adapter's lineage and verdicts, as JSON; `why` tells the same in words.

    Example: metaclaw adapters show lora-0123456789ab
    """
    with rooms(load_settings(config, data_dir)) as opened:
        adapter = opened.registry.get(name)
        verdicts = opened.registry.verdicts(name)
    told = {**asdict(adapter), "verdicts": [asdict(verdict) for verdict in verdicts]}
    typer.echo(json.dumps(told, indent=None if as_json else 2))


@app.command()
def promote(
    name: NameArgument,
    force: Annotated[str, typer.Option(metavar="REASON", help="Without an admitting verdict; why, is recorded.")] = "",
    at_once: Annotated[bool, typer.Option("--at-once", help="For all sessions, without a trial in a share.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring an adapter into service: for a share of the sessions first, then, by itself, for all.

    Example: metaclaw adapters promote lora-0123456789ab
    """
    with rooms(load_settings(config, data_dir)) as opened:
        done = _promoted(opened, name, force, at_once=at_once)
    typer.echo(json.dumps({"adapter": name, "done": done, "forced": force or None}) if as_json else done)


@app.command()
def rollback(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Take back the adapter on trial, or else serve what was served before; no request fails.

    Example: metaclaw adapters rollback
    """
    with rooms(load_settings(config, data_dir)) as opened:
        undone, now = opened.promotions.roll_back()
        back = opened.carrying.bring_back()
    if as_json:
        typer.echo(json.dumps({"undone": undone, "serves": now, "skills_back": back}))
        return
    typer.echo(f"rolled back {undone}; {now or 'the base model'} serves all sessions")
    if back:
        typer.echo(f"back in the context: {', '.join(back)}")


def _promoted(opened: Rooms, name: str, force: str, *, at_once: bool) -> str:
    verdicts = opened.registry.verdicts(name)
    if admitted(verdicts):
        return opened.promotions.serve(name, at_once=at_once)
    if not force:
        opened.registry.get(name)  # one that is not there is told of as such
        raise TrainingError(
            f"No verdict admits '{name}': {_last(verdicts)}. `metaclaw adapters why {name}` has the whole story;"
            " --force 'REASON' brings it into service all the same, and records the reason."
        )
    return opened.promotions.insist(name, force, at_once=at_once)


def _last(verdicts: Sequence[object]) -> str:
    return str(getattr(verdicts[-1], "decision", "")) if verdicts else "it was never judged"
