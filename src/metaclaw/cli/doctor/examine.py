"""Everything that the doctor looks at, in order; and `metaclaw doctor`, which tells it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape

from metaclaw.cli.common import load_settings
from metaclaw.cli.connect import address_of, clients_of
from metaclaw.cli.doctor import folder, gateway, machine, models
from metaclaw.cli.doctor.finding import Finding, any_broken, broken, note, ok
from metaclaw.cli.start import TerminalProgress
from metaclaw.config.secret import known_token
from metaclaw.config.settings import Settings
from metaclaw.connect import answers
from metaclaw.errors import ConfigError, ConnectError, MetaClawError
from metaclaw.running import Running, gateways
from metaclaw.runtime.home import Home
from metaclaw.sandbox import Sandbox
from metaclaw.serving.fetch import Progress

SIGNS = {"ok": "[green]ok[/green]    ", "note": "[yellow]note[/yellow]  ", "broken": "[red]broken[/red]"}


def doctor(config: Path | None, data_dir: Path | None, *, as_json: bool) -> None:
    """Exit code 1 where something is broken."""
    findings = []
    console = Console(highlight=False, soft_wrap=True)
    with TerminalProgress() as progress:
        for finding in examine(config, data_dir, progress):
            findings.append(finding)
            if not as_json:
                console.print(f"{SIGNS[finding.level]}  {escape(finding.name)}: {escape(finding.text)}")
                if finding.mend:
                    console.print(f"          mend: {escape(finding.mend)}")
    if as_json:
        typer.echo(json.dumps({"broken": any_broken(findings), "findings": [asdict(one) for one in findings]}))
    if any_broken(findings):
        raise typer.Exit(1)


def examine(config: Path | None, data_dir: Path | None, progress: Progress) -> Iterator[Finding]:
    """Finding by finding, as they are made."""
    try:
        settings = load_settings(config, data_dir)
    except ConfigError as error:
        yield broken("settings", str(error), "Mend the file or the environment; docs/configuration.md lists every key.")
        return
    yield ok("settings", "can be used")
    yield from machine.versions(settings)
    yield from folder.data_folder(settings.home)
    yield from folder.token(settings)
    home = Home(settings)
    found, checkup = folder.store(home.store)
    yield from found
    yield from _disk(settings)
    yield from machine.memory(settings, machine.available_memory())
    asked = asyncio.run(models.ask(settings))
    yield from map(models.provider, asked)
    if settings.embedded:
        yield from models.weights(settings, progress)
    yield machine.clock(time.time(), checkup.newest_turn_at if checkup else None, models.time_told(asked))
    yield from _sandbox(settings)
    yield from gateway.exposure(settings)
    running = gateways(settings.home, settings.namespace)
    yield gateway.port(settings, running)
    for one in running:
        yield from _answers(one, known_token(settings))
    yield from gateway.clients(clients_of(settings), _address(settings, running), runs=bool(running))


def _disk(settings: Settings) -> Iterator[Finding]:
    places = {settings.home, *([settings.weights_dir] if settings.embedded else [])}
    there = {next(path for path in (place, *place.parents) if path.exists()) for place in places}
    devices = {path.stat().st_dev: path for path in sorted(there, reverse=True)}
    for path in devices.values():
        yield machine.disk(path, machine.free_bytes(path))
    if settings.home.is_dir():
        try:
            seconds = machine.sync_seconds(settings.home)
        except OSError as error:
            yield broken("disk speed", f"nothing can be written to {settings.home}: {error.strerror}", "Mend that.")
        else:
            yield machine.disk_speed(seconds, settings.gateway.durable_timeout_seconds)


def _sandbox(settings: Settings) -> Iterator[Finding]:
    """Which engines can run code skills here."""
    missing = asyncio.run(_missing(settings))
    usable = [name for name, reason in missing.items() if reason is None]
    reasons = " ".join(f"{name}: {reason}" for name, reason in missing.items() if reason)
    if not usable:
        yield note("sandbox", f"no code skill can run here. {reasons}", "Install what is missing; text skills work.")
    elif reasons:
        yield note("sandbox", f"{', '.join(usable)} can run. {reasons}", "Needed only for code skills that use more.")
    else:
        yield ok("sandbox", f"{' and '.join(usable)} can run")


async def _missing(settings: Settings) -> dict[str, str | None]:
    sandbox = Sandbox(settings.sandbox)
    try:
        return dict(await sandbox.missing())
    finally:
        await sandbox.close()


def _answers(running: Running, token: str | None) -> Iterator[Finding]:
    try:
        status, told = answers.state(running.url, token or "")
    except ConnectError as error:
        yield from gateway.answers(running, None, {}, str(error))
    else:
        yield from gateway.answers(running, status, told, "")


def _address(settings: Settings, running: list[Running]) -> str | None:
    if running:
        return running[0].url
    try:
        return address_of(settings)
    except MetaClawError:
        return None
