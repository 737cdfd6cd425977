"""`metaclaw connect` and `metaclaw disconnect`: a client of the user's to the gateway, and back to how it was."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from metaclaw.config.secret import ensure_token
from metaclaw.config.settings import Settings
from metaclaw.connect import answers
from metaclaw.connect.backup import Connection
from metaclaw.connect.base import Client, Endpoint, Places
from metaclaw.connect.clients import CLIENTS, GENERIC, client_named
from metaclaw.connect.plan import Change, change_of, difference
from metaclaw.connect.variables import as_shell, variables
from metaclaw.errors import ConnectError
from metaclaw.journal.redact import Redactor


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asked for."""

    client: str
    url: str | None
    model: str | None
    yes: bool
    dry_run: bool
    as_json: bool


def connect(settings: Settings, wish: Wish) -> None:
    """Ask the gateway, show what would change, and change it. Raises `ConnectError`; nothing is changed then."""
    url = (wish.url or address_of(settings)).rstrip("/").removesuffix("/v1")
    token = ensure_token(settings)
    listed = answers.check(url, token)
    if wish.client == GENERIC:
        _print_variables(Endpoint(url, token, wish.model), as_json=wish.as_json)
        return
    client = client_named(wish.client)
    endpoint = Endpoint(url, token, _model(client, wish.model, settings, listed))
    connection = _connection(settings, client.NAME)
    connection.require_unedited()
    changes = [change_of(file, connection.original(file.path)) for file in client.files(_places(), endpoint)]
    if not wish.as_json:
        typer.echo(Redactor([token]).text(difference(changes)), nl=False)
    agreed = not wish.dry_run and (wish.yes or _asked(f"Connect {client.TITLE} to {url}?", as_json=wish.as_json))
    if agreed:
        connection.write(changes, endpoint)
    _say_connected(client, endpoint, changes, written=agreed, as_json=wish.as_json)


def disconnect(settings: Settings, name: str | None, *, force: bool, as_json: bool) -> None:
    """Put a client's files back; without a name, those of the one client that is connected."""
    connection = _connection(settings, client_named(name or _only_one(settings)).NAME)
    done = connection.restore(force=force)
    if as_json:
        typer.echo(json.dumps({"client": connection.client, "files": [{"path": p, "result": r} for p, r in done]}))
        return
    for path, result in done:
        typer.echo(f"{path}: {result}")


def list_clients(settings: Settings, *, as_json: bool) -> None:
    """Every client: whether it is here, and whether it is connected."""
    rows = clients_of(settings)
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table("client", "here", "connected", "configuration")
    for row in rows:
        where = row["url"] + (", edited since" if row["edited"] else "") if row["connected"] else ""
        table.add_row(row["client"], "yes" if row["here"] else "", where, "\n".join(row["files"]))
    table.add_row(GENERIC, "", "", "prints variables for any OpenAI or Anthropic client")
    Console().print(table)


def clients_of(settings: Settings) -> list[dict[str, Any]]:
    """Every client, as JSON tells it."""
    return [_row(settings, client) for client in CLIENTS.values()]


def _row(settings: Settings, client: Client) -> dict[str, Any]:
    connection = _connection(settings, client.NAME)
    manifest = connection.manifest()
    files = [file.path for file in client.files(_places(), Endpoint("", "", ""))]
    return {
        "client": client.NAME,
        "here": shutil.which(client.PROGRAM) is not None or any(path.exists() for path in files),
        "connected": manifest is not None,
        "url": manifest.url if manifest else None,
        "model": manifest.model if manifest else None,
        "edited": connection.edited_since(),
        "files": [str(path) for path in files],
    }


def _places() -> Places:
    return Places(Path.home(), os.environ)


def _connection(settings: Settings, client: str) -> Connection:
    return Connection(client, settings.home / "connect" / client)


def _only_one(settings: Settings) -> str:
    connected = [name for name in CLIENTS if _connection(settings, name).manifest() is not None]
    if len(connected) != 1:
        known = f"Connected are: {', '.join(connected)}. Name one." if connected else "No client is connected."
        raise ConnectError(known)
    return connected[0]


def address_of(settings: Settings) -> str:
    """Where a client on this machine finds the gateway, without /v1. Raises `ConnectError` where nobody can know."""
    gateway = settings.gateway
    if not gateway.port:
        raise ConnectError("The gateway takes a free port each time (gateway.port is 0). Name its address with --url.")
    return gateway.url(gateway.port)


def _model(client: Client, asked: str | None, settings: Settings, listed: Sequence[str]) -> str | None:
    """The model that the client will ask for; None where it may keep its own choice."""
    if asked or not client.NEEDS_MODEL:
        return asked
    known = settings.upstream.model or (listed[0] if len(listed) == 1 else None)
    if known is None:
        some = f" The gateway lists {', '.join(listed[:8])}{' and more' if len(listed) > 8 else ''}." if listed else ""
        raise ConnectError(f"{client.TITLE} needs the name of a model: say --model NAME.{some}")
    return known


def _asked(question: str, *, as_json: bool) -> bool:
    if as_json or not sys.stdin.isatty():
        raise ConnectError("Nobody is there to be asked: say --yes to write this, or --dry-run to look only.")
    return typer.confirm(question)


def _say_connected(
    client: Client, endpoint: Endpoint, changes: Sequence[Change], *, written: bool, as_json: bool
) -> None:
    if as_json:
        files = [{"path": str(change.file.path), "change": change.kind} for change in changes]
        known = {"client": client.NAME, "url": endpoint.url, "model": endpoint.model, "files": files}
        typer.echo(json.dumps({**known, "written": written}))
        return
    if not written:
        typer.echo("Nothing was changed.")
        return
    typer.echo(f"{client.TITLE} asks {endpoint.url} from its next start on. {client.NOTE}")
    typer.echo(f"`metaclaw disconnect {client.NAME}` puts everything back.")
    for change in changes:
        if change.file.path.stat().st_mode & 0o044:
            typer.echo(f"{change.file.path} holds the gateway's token, and other users of this machine may read it.")


def _print_variables(endpoint: Endpoint, *, as_json: bool) -> None:
    write: Callable[[str], None] = typer.echo
    write(json.dumps(variables(endpoint)) if as_json else as_shell(endpoint).rstrip("\n"))
