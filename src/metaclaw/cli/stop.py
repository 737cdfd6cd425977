"""`metaclaw stop`: ends the gateways of a data folder in order, and waits for them."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict

import typer
from rich.console import Console

from metaclaw.config.settings import Settings
from metaclaw.errors import MetaClawError
from metaclaw.running import Running, gateways

LOOK_SECONDS = 0.05
KILLED_SECONDS = 10.0


def stop(settings: Settings, timeout_seconds: float, *, kill: bool, as_json: bool) -> None:
    """Raises `MetaClawError` where one may not be told to end, or does not end."""
    found = gateways(settings.home, settings.namespace)
    for running in found:
        _tell(running, signal.SIGTERM)
    with Console(stderr=True).status("Waiting for replies that are under way and for the learner"):
        left = _wait(settings, found, timeout_seconds)
    if left and kill:
        for running in left:
            _tell(running, signal.SIGKILL)
        left = _wait(settings, left, KILLED_SECONDS)
    if left:
        names = ", ".join(f"{one.url} (process {one.pid})" for one in left)
        raise MetaClawError(f"Still running after {timeout_seconds:g} s: {names}. Wait longer, or end it with --kill.")
    if as_json:
        typer.echo(json.dumps({"stopped": [asdict(one) for one in found]}))
        return
    for running in found:
        typer.echo(f"stopped {running.url} (process {running.pid})")
    if not found:
        typer.echo(f"No gateway of {settings.home} runs in the namespace {settings.namespace}.")


def _tell(running: Running, number: signal.Signals) -> None:
    try:
        os.kill(running.pid, number)
    except ProcessLookupError:  # it ended by itself
        pass
    except PermissionError as error:
        raise MetaClawError(
            f"The gateway at {running.url} belongs to another user: process {running.pid} may not be ended."
        ) from error


def _wait(settings: Settings, told: list[Running], seconds: float) -> list[Running]:
    """Those that are still there then."""
    deadline = time.monotonic() + seconds
    while True:
        left = [one for one in gateways(settings.home, settings.namespace) if one in told]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(LOOK_SECONDS)
