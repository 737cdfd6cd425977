"""`metaclaw setup`: a few questions, or the flags that answer them; then a test request, and a client connected.

In: who shall answer, which client to connect, when the user sleeps. Out: the settings file, with everything else that
stood in it as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import typer
from rich.console import Console

from metaclaw.cli import connect as connecting
from metaclaw.cli.common import interactive, load_settings, log_to_stderr
from metaclaw.cli.setup_file import Answers, flags_of, format_of, shown, written
from metaclaw.cli.start import find_model
from metaclaw.config.loading import config_file
from metaclaw.config.secret import ensure_token
from metaclaw.config.settings import Settings
from metaclaw.connect.clients import CLIENTS
from metaclaw.connect.disk import PRIVATE_FILE, put
from metaclaw.errors import ConfigError, MetaClawError, UpstreamError
from metaclaw.running import gateways
from metaclaw.runtime.asking import own_door
from metaclaw.runtime.gateway import Gateway
from metaclaw.scheduler.windows import SleepHours
from metaclaw.serving.known_models import DEFAULT, KNOWN
from metaclaw.upstream.client import UpstreamClient, reply_text
from metaclaw.visible import visible

NONE = "none"
QUESTION = "Say hello in one short sentence."
MOST_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """How `setup` was called: `yes` takes the default of whatever no flag answers."""

    yes: bool
    test: bool
    as_json: bool
    config: Path | None
    data_dir: Path | None


def setup(answers: Answers, plan: Plan) -> None:
    """Raises `MetaClawError` where an answer cannot be used, or the test request gets none; the file stays then."""
    file, _ = config_file(plan.config)
    base = file if file.exists() else Path(os.devnull)
    before = load_settings(base, plan.data_dir)
    answers = _asked(answers, plan, before)
    settings = load_settings(base, plan.data_dir, flags_of(answers))
    if answers.client is not None:
        connecting.address_of(settings)  # raises where a client could not find the gateway again
    text = written(file.read_text(encoding="utf-8") if file.exists() else "", answers, plan.data_dir)
    if not plan.as_json:
        typer.echo(f"--- {file}\n{visible(shown(text))}---")
    if not plan.yes and not typer.confirm("Write this?", default=True):
        raise MetaClawError("Nothing was written.")
    put(file, text.encode(), PRIVATE_FILE)
    log_to_stderr(settings, "setup")
    said = asyncio.run(_try_out(settings, answers, plan))
    if plan.as_json:
        told = {"file": str(file), "written": True, "reply": said, "connected": answers.client}
        typer.echo(json.dumps(told))
        return
    typer.echo("\nReady. Start it with `metaclaw start`, or for good with `metaclaw service install`.")


def _asked(answers: Answers, plan: Plan, before: Settings) -> Answers:
    """With an answer to everything: from flags, else from the person, else what is set already or the default."""
    if answers.sleep_hours is not None:
        answers = replace(answers, sleep_hours=_hours(answers.sleep_hours))
    if plan.yes:
        return _with_defaults(answers, before)
    if not interactive():
        raise ConfigError(
            "Nobody is there to be asked: say --yes, with --upstream URL or --embedded, --connect CLIENT and"
            " --sleep-hours HH:MM-HH:MM; what is left out keeps its default."
        )
    if answers.url is None and not answers.embedded:
        answers = _who_answers(answers, before)
    if answers.client is None:
        here = [row["client"] for row in connecting.clients_of(before) if row["here"]]
        typer.echo(f"Clients: {', '.join(CLIENTS)}. Found here: {', '.join(here) or 'none'}.")
        client = typer.prompt("Connect which client", default=here[0] if here else NONE)
        answers = replace(answers, client=client)
    if answers.sleep_hours is None:
        usual = before.schedule.sleep_hours or NONE
        hours = typer.prompt(f"When do you sleep, so that it may train (HH:MM-HH:MM, or {NONE})", default=usual)
        answers = replace(answers, sleep_hours=_hours(hours))
    return _with_defaults(answers, before)


def _who_answers(answers: Answers, before: Settings) -> Answers:
    typer.echo("Who answers: a provider with an OpenAI-compatible or Anthropic API, or the embedded model?")
    url = typer.prompt("The provider's base URL, with its /v1; empty for the embedded model",
                       default=before.upstream.url or "")
    if not url:
        name = typer.prompt(f"Which embedded model ({', '.join(KNOWN)})", default=answers.model or DEFAULT)
        return replace(answers, embedded=True, model=name)
    model = typer.prompt("Its model; empty to let each client choose", default=answers.model or "")
    key = answers.api_key or typer.prompt("Its key; empty if it needs none", default="", hide_input=True)
    return replace(answers, url=url, model=model or None, api_key=key or None)


def _with_defaults(answers: Answers, before: Settings) -> Answers:
    client = None if answers.client in (None, NONE) else answers.client
    if client is not None and client not in CLIENTS:
        raise ConfigError(f"There is no client '{client}'. Known are: {', '.join(CLIENTS)}, and {NONE}.")
    if answers.url is not None and answers.embedded:
        raise ConfigError("Either --upstream or --embedded: one of them answers.")
    form = answers.format or (format_of(answers.url) if answers.url else None)
    return replace(answers, client=client, format=form)


def _hours(text: str) -> str:
    """As the settings have them. Raises `ConfigError` unless they can be read."""
    if text in ("", NONE):
        return ""
    SleepHours.parse(text)
    return text


async def _try_out(settings: Settings, answers: Answers, plan: Plan) -> str | None:
    """What a model said to a test request, sent through the gateway; and the client connected while one runs."""
    if not plan.test and answers.client is None:
        return None
    async with _gateway(settings) as url:
        said = await _hello(settings, url) if plan.test else None
        if said is not None and not plan.as_json:
            typer.echo(f"Test request: {QUESTION}\nIt answered:  {visible(said)}")
        if answers.client is not None:
            wish = connecting.Wish(answers.client, url, answers.model, yes=plan.yes, dry_run=False, as_json=False)
            await asyncio.to_thread(_connect, settings, wish, plan)
    return said


def _connect(settings: Settings, wish: connecting.Wish, plan: Plan) -> None:
    """Its words are for a person; with --json only ours are printed."""
    with contextlib.redirect_stdout(None) if plan.as_json else contextlib.nullcontext():
        connecting.connect(settings, wish)


@contextlib.asynccontextmanager
async def _gateway(settings: Settings) -> AsyncIterator[str]:
    """The address of the one that runs, else of one for as long as the block takes. It learns nothing."""
    if running := gateways(settings.home, settings.namespace):
        Console(stderr=True).print(
            f"A gateway runs at {running[0].url}: it is asked, and takes the new settings at its next start.",
            highlight=False, soft_wrap=True,
        )
        yield running[0].url
        return
    off = {"evolve": {"enabled": False}, "training": {"enabled": False}}
    quiet = settings.model_copy(update={
        name: getattr(settings, name).model_copy(update=change) for name, change in off.items()
    })
    embedded = await asyncio.to_thread(find_model, settings)
    async with Gateway(quiet, embedded) as gateway:
        with Console(stderr=True).status("Waiting for the model"):
            await gateway.ready()
        yield gateway.url


async def _hello(settings: Settings, url: str) -> str:
    """Raises `MetaClawError`, with what to do, where no answer comes."""
    door = own_door(url, ensure_token(settings))
    body = {"model": settings.upstream.model or "metaclaw", "max_tokens": MOST_TOKENS,
            "messages": [{"role": "user", "content": QUESTION}]}
    async with UpstreamClient(10.0, settings.upstream.idle_timeout_seconds) as client:
        try:
            return reply_text(await client.json(door, "/chat/completions", body)).strip()
        except UpstreamError as error:
            raise MetaClawError(
                f"The settings are written, and the test request failed: {_words(error)}"
                " `metaclaw doctor` looks closer."
            ) from error


def _words(error: UpstreamError) -> str:
    """What went wrong, without the JSON that it came in."""
    try:
        return str(json.loads(str(error))["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return str(error)
