"""`metaclaw config`: the settings in force, where each comes from, their file, and whether it can be used."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from metaclaw.cli.common import ConfigOption, DataDirOption, JsonOption, load_settings
from metaclaw.config.loading import config_file, sources
from metaclaw.visible import visible

app = typer.Typer(help="The settings in force, and where they come from.")


@app.callback(invoke_without_command=True)
def config_whole(context: typer.Context, config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """The settings in force. Without a command: all of them as one JSON document, secrets masked.

    Example: metaclaw config --config my.toml
    """
    if context.invoked_subcommand is None:
        typer.echo(json.dumps(load_settings(config, data_dir).model_dump(mode="json"), indent=2))


@app.command()
def show(
    changed: Annotated[bool, typer.Option("--changed", help="Only what differs from the defaults.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Every setting with its value and where that comes from; secrets are masked.

    Example: metaclaw config show --changed
    """
    settings = load_settings(config, data_dir)
    known = sources(config) | ({"data_dir": "flag: --data-dir"} if data_dir else {})
    rows = [
        {"key": key, "value": value, "source": known.get(key, "default")}
        for key, value in _leaves(settings.model_dump(mode="json"))
        if not changed or key in known
    ]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("key", "value", "from")
    for row in rows:
        value = "" if row["value"] is None else row["value"]
        shown = value if isinstance(value, str) else json.dumps(value)
        table.add_row(*(escape(visible(text)) for text in (row["key"], shown, row["source"])))
    Console().print(table)


@app.command("path")
def path_of(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """The file that settings are read from. It need not be there, unless somebody named it.

    Example: $EDITOR "$(metaclaw config path)"
    """
    path, named = config_file(config)
    if as_json:
        typer.echo(json.dumps({"path": str(path), "there": path.is_file(), "named": named}))
    else:
        typer.echo(str(path))


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="The file; without one, that of `metaclaw config path`.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether a file and the environment together can be used: exit code 1, and what to mend, where not.

    Example: metaclaw config check my.toml
    """
    load_settings(file, None)
    path, _ = config_file(file)
    if as_json:
        typer.echo(json.dumps({"path": str(path), "usable": True, "there": path.is_file()}))
        return
    there = f"{path}: can be used"
    typer.echo(there if path.is_file() else f"{path} is not there; defaults and environment can be used")


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
