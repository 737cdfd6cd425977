"""`metaclaw data backup` and `metaclaw data restore`: everything that was learned in one file, and back again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from metaclaw.cli.common import WAITS, ConfigOption, DataDirOption, JsonOption, YesOption, agreed, load_settings
from metaclaw.config.loading import config_file
from metaclaw.errors import BackupError

if TYPE_CHECKING:
    from metaclaw.backup.archive import Archive


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    with_key: Annotated[
        bool, typer.Option("--with-key", help="Put the private signing key in, to move this installation whole.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Everything learned in one file, also while the gateway runs: journal, skills, adapters, settings without secrets.

    Example: metaclaw data backup metaclaw-2026-11-30.zip
    """
    from metaclaw.backup import taking

    settings = load_settings(config, data_dir)
    wish = taking.Wish(file.expanduser().absolute(), config_file(config)[0], with_key, force)
    with _progress("Backing up", taking.expected_bytes(settings)) as progress:
        made = taking.take(settings, wish, progress)
    if as_json:
        typer.echo(json.dumps({**asdict(made), "file": str(wish.into)}))
        return
    typer.echo(f"{wish.into}: {made.turns} turns, {made.skills} skills, {made.adapters} adapters,"
               f" {made.size_bytes / 1e6:,.1f} MB")
    typer.echo(f"sha256 {made.sha256}")
    typer.echo(f"signed by {made.signed_by}" if made.signed_by else "not signed: the package cryptography is missing")
    for name in made.missing:
        typer.echo(f"adapter {name} has no files any more: left out")
    if made.left_out:
        typer.echo(f"settings left out, since they are secrets or of this machine: {', '.join(made.left_out)}")
    if with_key:
        typer.echo("It holds the private signing key: whoever has the file can sign adapters as this installation.")


def restore(
    file: Annotated[Path, typer.Argument(help="What `metaclaw data backup` wrote.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Also where something was learned already; that is kept aside.")
    ] = False,
    signed_by: Annotated[
        str | None, typer.Option("--signed-by", help="Refuse it unless it bears this fingerprint.")
    ] = None,
    yes: YesOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a backup in place, whole or not at all. Shows what it is and who signed it, and asks.

    Example: metaclaw data restore metaclaw-2026-11-30.zip --replace
    """
    from metaclaw.backup import archive, restoring
    from metaclaw.training.signing import fingerprint

    home = load_settings(config, data_dir).home
    with archive.opened(file.expanduser().absolute()) as found:
        who = fingerprint(found.signed_by) if found.signed_by else None
        if signed_by and signed_by.lower() != who:
            raise BackupError(f"It is signed by {who or 'nobody'}, not by {signed_by}. Nothing was restored.")
        restoring.require_room(home, found, replace=replace)
        if not as_json:
            for line in _told(found, who, known=restoring.known_here(home, found) or bool(signed_by)):
                typer.echo(line)
        if not agreed(f"Restore it into {home}?", yes=yes):
            typer.echo("Nothing was restored.")
            raise typer.Exit(WAITS)
        with _progress("Restoring", found.size_bytes) as progress:
            done = restoring.restore(home, found, config_file(config)[0], progress, replace=replace)
    if as_json:
        paths = {key: str(path) if path else None for key, path in asdict(done).items()}
        typer.echo(json.dumps({**asdict(found.facts), **paths, "signed_by": who}))
        return
    typer.echo(f"Restored into {home}. Skills are live, and adapters serve, from the next `metaclaw start` on.")
    if done.config:
        typer.echo(f"Settings of the backup, without secrets: {done.config}")
    if done.aside:
        typer.echo(f"What was there before: {done.aside}")
        typer.echo(f"To undo: metaclaw stop; mv '{home}' '{home}.undone' && mv '{done.aside}' '{home}'")


def _told(found: Archive, who: str | None, *, known: bool) -> Iterator[str]:
    facts = found.facts
    when = datetime.fromtimestamp(facts.created_at).astimezone().strftime("%Y-%m-%d %H:%M")
    names = ", ".join(facts.namespaces) or "none"
    yield f"A backup of {when} by MetaClaw {facts.metaclaw}, {found.size_bytes / 1e6:,.1f} MB; namespaces: {names}"
    if who is None:
        yield "It is not signed: only you can know that it was not changed. Its skills go live as they are."
    elif known:
        yield f"Signed by {who}, which is known here."
    else:
        yield (
            f"Signed by {who}, which is not known here. Compare it with what `metaclaw data backup` said: its skills go"
            " live as they are, and adapters of that installation will count as yours."
        )
    if facts.with_key:
        yield "It holds the private signing key of that installation."


@contextmanager
def _progress(what: str, total_bytes: int) -> Iterator[Callable[[int], None]]:
    """Shown where a person looks on, on stderr."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total_bytes)
        yield lambda copied: bar.advance(task, copied)
