"""`metaclaw adapters`: list, show, roll back."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from metaclaw.cli.common import ConfigOption, DataDirOption, JsonOption, load_settings, rooms
from metaclaw.serving.routes import rollback as roll_back

app = typer.Typer(help="What was learned in weights.", no_args_is_help=True)


@app.command("list")
def list_adapters(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Every adapter, with its state and verdict.

    Example: metaclaw adapters list
    """
    with rooms(load_settings(config, data_dir)) as open_rooms:
        found = [(adapter, open_rooms.registry.verdicts(adapter.name)) for adapter in open_rooms.registry.all()]
        serving = open_rooms.routes.state().serving
    if as_json:
        typer.echo(json.dumps([
            {**asdict(a), "serving": a.name == serving, "verdicts": [asdict(v) for v in vs]} for a, vs in found
        ]))
        return
    table = Table("name", "base model", "state", "serving", "verdict")
    for adapter, verdicts in found:
        decision = verdicts[-1].decision if verdicts else "none"
        table.add_row(
            adapter.name, adapter.base_model, adapter.state.value, "yes" if adapter.name == serving else "", decision
        )
    Console().print(table)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The adapter's name.")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
) -> None:
    """An adapter's lineage and verdicts, as JSON.

    Example: metaclaw adapters show lora-0123456789ab
    """
    with rooms(load_settings(config, data_dir)) as open_rooms:
        adapter = open_rooms.registry.get(name)
        verdicts = open_rooms.registry.verdicts(name)
    typer.echo(json.dumps({**asdict(adapter), "verdicts": [asdict(v) for v in verdicts]}, indent=2))


@app.command()
def rollback(config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Serve what was served before the newest adapter; a running gateway swaps without failing a request.

    Example: metaclaw adapters rollback
    """
    with rooms(load_settings(config, data_dir)) as open_rooms:
        undone = open_rooms.routes.state().wanted
        parent = roll_back(open_rooms.routes, open_rooms.registry)
    typer.echo(f"rolled back {undone}; {parent or 'the base model'} serves next")
