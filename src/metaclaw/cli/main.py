"""`metaclaw`: start the gateway, look at what was learned, undo it, run the demo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from metaclaw import __version__
from metaclaw.cli.later import Later, group_of
from metaclaw.cli.options import ConfigOption, DataDirOption, JsonOption
from metaclaw.errors import MetaClawError

GROUPS = group_of(
    Later("mcp", "metaclaw.cli.mcp:mcp", "Serve the learned skills over the Model Context Protocol."),
    Later("skills", "metaclaw.cli.skills:app", "What was learned in words."),
    Later("adapters", "metaclaw.cli.adapters:app", "What was learned in weights."),
    Later("dashboard", "metaclaw.cli.dashboard:dashboard", "Print a link into the dashboard."),
    Later("journal", "metaclaw.cli.journal:app", "What was asked and answered, and what came of it."),
    Later("config", "metaclaw.cli.config_commands:app", "The settings in force, and where they come from."),
    Later("service", "metaclaw.cli.service:app", "The gateway as a service of your session."),
    Later("data", "metaclaw.cli.data:app", "What is kept of conversations: export it, forget it."),
    Later("schedule", "metaclaw.cli.schedule:app", "When the slow loop may run."),
    Later("train", "metaclaw.cli.schedule:train_app", "The slow loop, on demand."),
    Later("bench", "metaclaw.cli.bench:app", "Benchmarks and their results."),
)
app = typer.Typer(
    help="A learning gateway for deployed LLM agents.", no_args_is_help=True, pretty_exceptions_enable=False,
    cls=GROUPS,
)


def main() -> None:
    """Entry point. Errors of ours end with one clear line and exit code 1."""
    try:
        app()
    except MetaClawError as error:
        from rich.console import Console
        from rich.markup import escape

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
    log_format: Annotated[str | None, typer.Option(help="`text` for people, `json` for machines.")] = None,
) -> None:
    """Run the gateway in the foreground until Ctrl-C or SIGTERM.

    Example: metaclaw start --upstream http://127.0.0.1:8000/v1 --model my-model
    """
    import asyncio

    from metaclaw.cli.common import load_settings, log_to_stderr
    from metaclaw.cli.start import find_model, loop_for_many_requests, run_until_stopped
    from metaclaw.config.secret import ensure_token

    flags: dict[str, Any] = {}
    if port is not None:
        flags["gateway"] = {"port": port}
    if upstream:
        flags["upstream"] = {"url": upstream, **({"model": model} if model else {})}
    elif model:
        flags["model"] = {"name": model}
    if verbose or log_format:
        flags["log"] = {**({"level": "info"} if verbose else {}), **({"format": log_format} if log_format else {})}
    settings = load_settings(config, data_dir, flags)
    ensure_token(settings)  # before the log, which masks it
    log_to_stderr(settings, "gateway")
    embedded = find_model(settings)  # before the loop takes the signals over: Ctrl-C ends a download
    with asyncio.Runner(loop_factory=loop_for_many_requests()) as runner:
        runner.run(run_until_stopped(settings, embedded))


@app.command()
def status(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Show what was learned and where the gateway's token is.

    Example: metaclaw status --json
    """
    from metaclaw.cli.common import load_settings
    from metaclaw.cli.status import print_status

    print_status(load_settings(config, data_dir), as_json=as_json)


@app.command()
def setup(
    upstream: Annotated[str | None, typer.Option(help="A provider's base URL, with its /v1.")] = None,
    embedded: Annotated[bool, typer.Option("--embedded", help="The embedded model answers.")] = False,
    model: Annotated[str | None, typer.Option(help="The provider's model, or with --embedded ours.")] = None,
    api_key: Annotated[str | None, typer.Option(
        help="The provider's key, written down; METACLAW_UPSTREAM__API_KEY is used and is not."
    )] = None,
    wire_format: Annotated[str | None, typer.Option(
        "--format", help="What the provider speaks: chat, messages or responses; else told by its URL."
    )] = None,
    client: Annotated[str | None, typer.Option("--connect", help="A client to connect, or `none`.")] = None,
    sleep_hours: Annotated[str | None, typer.Option(help="When it may train: HH:MM-HH:MM, or `none`.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", min=1, max=65535)] = None,
    test: Annotated[bool, typer.Option(help="End with a test request.")] = True,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; defaults for what no flag says.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set up in a minute: who answers, which client to connect, when you sleep; then a test request.

    Without a terminal, say --yes: each question has a flag.

    Example: metaclaw setup --yes --upstream http://127.0.0.1:8000/v1 --model my-model --connect codex
    """
    from metaclaw.cli.setup import Plan
    from metaclaw.cli.setup import setup as set_up
    from metaclaw.cli.setup_file import Answers

    answers = Answers(upstream, embedded, model, api_key, wire_format, client, sleep_hours, port)
    set_up(answers, Plan(yes, test, as_json, config, data_dir))


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
    from metaclaw.cli.common import load_settings

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
    from metaclaw.cli.common import load_settings

    connecting.disconnect(load_settings(config, data_dir), client, force=force, as_json=as_json)


@app.command()
def doctor(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Look at everything that MetaClaw needs, and say how to mend what is wrong. Changes nothing.

    Exit code 1 where something is broken, 0 where at most something could be better.

    Example: metaclaw doctor
    """
    from metaclaw.cli.doctor.examine import doctor as tell

    tell(config, data_dir, as_json=as_json)


@app.command()
def stop(
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for its end.")] = 60.0,
    kill: Annotated[bool, typer.Option("--kill", help="End it by force if it has not ended by then.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stop the gateway of the data folder: replies that are under way are finished first.

    Exit code 0 also where none runs; 1 where one has not ended in time.

    Example: metaclaw stop
    """
    from metaclaw.cli.common import load_settings
    from metaclaw.cli.stop import stop as stop_gateways

    stop_gateways(load_settings(config, data_dir), timeout, kill=kill, as_json=as_json)


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
    import asyncio

    from metaclaw.cli.common import load_settings, log_to_stderr, need

    need("aiohttp", "metaclaw demo", "demo")
    from metaclaw.bench.demo import DemoPlan, run_demo
    from metaclaw.cli.start import set_up_training

    settings = load_settings(None, None, {"model": {"name": model}} if model else {})
    log_to_stderr(settings, "demo")
    set_up_training(settings)
    plan = DemoPlan.full(seed) if full else DemoPlan.quick(seed)
    asyncio.run(run_demo(plan, model, data_dir, results, keep_running=keep_running))
