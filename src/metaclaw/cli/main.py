"""`metaclaw`: start the gateway, look at what was learned, undo it, run the demo."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from metaclaw import __version__
from metaclaw.cli import adapters, bench, mcp, schedule, skills
from metaclaw.cli.common import ConfigOption, DataDirOption, JsonOption, load_settings
from metaclaw.errors import MetaClawError

app = typer.Typer(
    help="A learning gateway for deployed LLM agents.", no_args_is_help=True, pretty_exceptions_enable=False
)
app.add_typer(skills.app, name="skills")
app.add_typer(adapters.app, name="adapters")
app.add_typer(schedule.app, name="schedule")
app.add_typer(schedule.train_app, name="train")
app.add_typer(bench.app, name="bench")
app.command()(mcp.mcp)


def main() -> None:
    """Entry point. Errors of ours end with one clear line and exit code 1."""
    try:
        app()
    except MetaClawError as error:
        Console(stderr=True).print(f"[red]metaclaw:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"metaclaw {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """A learning gateway for deployed LLM agents."""


@app.command()
def start(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    upstream: Annotated[str | None, typer.Option(help="An OpenAI-compatible provider's base URL, with /v1.")] = None,
    model: Annotated[str | None, typer.Option(help="The provider's model, or without --upstream ours.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log every step.")] = False,
) -> None:
    """Run the gateway in the foreground until Ctrl-C or SIGTERM.

    Example: metaclaw start --upstream http://127.0.0.1:8000/v1 --model my-model
    """
    from metaclaw.cli.start import find_model, run_until_stopped

    flags: dict[str, Any] = {}
    if port is not None:
        flags["gateway"] = {"port": port}
    if upstream:
        flags["upstream"] = {"url": upstream, **({"model": model} if model else {})}
    elif model:
        flags["model"] = {"name": model}
    _log_to_stderr(verbose)
    settings = load_settings(config, data_dir, flags)
    embedded = find_model(settings)  # before the loop takes the signals over: Ctrl-C ends a download
    asyncio.run(run_until_stopped(settings, embedded))


@app.command()
def status(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Show what was learned and where the gateway's token is.

    Example: metaclaw status --json
    """
    from metaclaw.cli.status import print_status

    print_status(load_settings(config, data_dir), as_json=as_json)


@app.command()
def connect(
    client: Annotated[str | None, typer.Argument(help="The client; without one, all are listed.")] = None,
    url: Annotated[str | None, typer.Option(help="The gateway's address, if not the one of the settings.")] = None,
    model: Annotated[str | None, typer.Option(help="The model that the client shall ask for.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Point a client at the gateway: shows the change, keeps a backup. `generic` prints variables and writes nothing.

    Example: metaclaw connect claude-code
    """
    from metaclaw.cli import connect as connecting

    settings = load_settings(config, data_dir)
    if client is None:
        connecting.list_clients(settings, as_json=as_json)
    else:
        connecting.connect(settings, connecting.Wish(client, url, model, yes, dry_run, as_json))


@app.command()
def disconnect(
    client: Annotated[str | None, typer.Argument(help="The client; not needed where only one is connected.")] = None,
    force: Annotated[bool, typer.Option("--force", help="In a file edited since: undo our settings only.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a client's configuration back, byte for byte.

    Example: metaclaw disconnect claude-code
    """
    from metaclaw.cli import connect as connecting

    connecting.disconnect(load_settings(config, data_dir), client, force=force, as_json=as_json)


@app.command("config")
def show_config(config: ConfigOption = None, data_dir: DataDirOption = None) -> None:
    """Print the settings in force, as JSON, secrets masked.

    Example: metaclaw config --config my.toml
    """
    typer.echo(json.dumps(load_settings(config, data_dir).model_dump(mode="json"), indent=2))


@app.command()
def demo(
    full: Annotated[bool, typer.Option("--full", help="At least 60 held-out tasks; about half an hour.")] = False,
    model: Annotated[str | None, typer.Option(help="Another embedded model.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Work folder, made anew each time.")] = None,
    results: Annotated[Path, typer.Option(help="Where demo.json and demo.png go.")] = Path("bench/results"),
    seed: Annotated[int, typer.Option(help="Which tasks are drawn.")] = 1,
    keep_running: Annotated[bool, typer.Option(help="Leave the gateway running at the end.")] = False,
) -> None:
    """The whole circle on a real model: a working week, before and after learning.

    Example: metaclaw demo --full
    """
    from metaclaw.bench.demo import DemoPlan, run_demo
    from metaclaw.cli.start import set_up_training

    _log_to_stderr(verbose=False)
    set_up_training(load_settings(None, None, {"model": {"name": model}} if model else {}))
    plan = DemoPlan.full(seed) if full else DemoPlan.quick(seed)
    asyncio.run(run_demo(plan, model, data_dir, results, keep_running=keep_running))


def _log_to_stderr(verbose: bool) -> None:
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
