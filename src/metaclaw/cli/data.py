"""`metaclaw data`: what is kept of conversations, handed out for other trainers, and forgotten for good."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from metaclaw.cli import backup
from metaclaw.cli.common import (
    WAITS,
    ConfigOption,
    DataDirOption,
    JsonOption,
    YesOption,
    agreed,
    load_settings,
)
from metaclaw.config.secret import known_secrets
from metaclaw.config.settings import Settings
from metaclaw.erasure import Consequences, Forgetting
from metaclaw.errors import TrainingError
from metaclaw.journal.redact import Redactor
from metaclaw.runtime.home import Home
from metaclaw.store import Database
from metaclaw.store.scrub import LARGEST_BESIDE_OTHERS_BYTES, SECONDS_PER_GB
from metaclaw.training.export import Refused, chat_lines, preference_lines
from metaclaw.training.selection import finished
from metaclaw.visible import visible

app = typer.Typer(help="What is kept of conversations: export it, forget it, back it up.", no_args_is_help=True)
app.command()(backup.backup)
app.command()(backup.restore)
MOST_SHOWN = 50


class Kind(StrEnum):
    SFT = "sft"
    PREFERENCE = "preference"


@app.command()
def sessions(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """The newest sessions, with the names that `forget` takes.

    Example: metaclaw data sessions
    """
    with _store(config, data_dir) as (settings, database):
        rows = database.read(
            "SELECT found.session, found.turns, found.first_at, found.last_at, turns.query FROM"
            " (SELECT session, count(*) AS turns, min(created_at) AS first_at, max(created_at) AS last_at,"
            " min(position) AS first, max(position) AS last FROM turns WHERE namespace = ? AND kind = 'main'"
            " GROUP BY session ORDER BY last DESC LIMIT ?) AS found JOIN turns ON turns.position = found.first"
            " ORDER BY found.last DESC",
            (settings.namespace, MOST_SHOWN),
        )
    if as_json:
        keys = ("session", "turns", "first_at", "last_at", "began")
        typer.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
        return
    table = Table("session", "turns", "last", "began with")
    for session, turns, _, last, began in rows:
        when = datetime.fromtimestamp(last).astimezone().strftime("%Y-%m-%d %H:%M")
        table.add_row(escape(visible(session)), str(turns), when, escape(visible(began[:60])))
    Console().print(table)


@app.command()
def export(
    kind: Annotated[Kind, typer.Option(help="`sft`: conversations that went well; `preference`: pairs.")] = Kind.SFT,
    out: Annotated[Path | None, typer.Option(help="The file to write; without it, standard output.")] = None,
    all_generations: Annotated[
        bool, typer.Option("--all-generations", help="Also turns from before the library last changed.")
    ] = False,
    with_support: Annotated[
        bool, typer.Option("--with-support", help="Also turns that skills were written from.")
    ] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write OpenAI fine-tuning JSONL: what was said, with tools, secrets redacted. Tells what was left out, and why.

    Example: metaclaw data export --kind preference --with-support --out pairs.jsonl
    """
    if as_json and out is None:
        raise TrainingError("With --json, say where the lines go: --out FILE.")
    with _store(config, data_dir) as (settings, database):
        turns = finished(
            database, settings.namespace, all_generations=all_generations, with_support=with_support
        )
        redactor = Redactor(known_secrets(settings))  # again: a line may be from before we knew a secret
    made = list(chat_lines(turns) if kind is Kind.SFT else preference_lines(turns))
    lines = [redactor.text(json.dumps(one, ensure_ascii=False)) for one in made if not isinstance(one, Refused)]
    left_out = Counter(one.reason for one in made if isinstance(one, Refused))
    text = "".join(f"{line}\n" for line in lines)
    if out is None:
        typer.echo(text, nl=False)
    else:
        _write(out, text)
    if as_json:
        typer.echo(json.dumps({"kind": kind.value, "examples": len(lines), "file": str(out), "left_out": left_out}))
        return
    typer.echo(f"{len(lines)} {kind.value} examples{f' in {out}' if out else ''}", err=True)
    for reason, count in left_out.most_common():
        typer.echo(f"{count} turns left out: {reason}", err=True)


@app.command()
def forget(
    session: Annotated[str, typer.Option(help="The session, as `metaclaw data sessions` names it.")],
    derived: Annotated[
        bool, typer.Option("--derived", help="Also the words of its skills and the weights of its adapters.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what it means, and change nothing.")] = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase a session, and take out of use what was learned from it. Shows what that means, and asks.

    Example: metaclaw data forget --session 19ab3f-4c1d --yes
    """
    with _store(config, data_dir) as (settings, database):
        forgetting = Forgetting(settings, database)
        means = forgetting.shows(session)
        if not as_json:
            for line in _told(means, settings.training.erased_data, derived=derived):
                typer.echo(visible(line))
        if not dry_run:
            if not agreed("Erase it? This cannot be undone.", yes=yes):
                typer.echo("Nothing was erased.")
                raise typer.Exit(WAITS)
            with Console(stderr=True).status("Erasing; a large store is written anew"):
                forgetting.forget(session, derived=derived)
    if as_json:
        typer.echo(json.dumps({**_facts(means), "erased": not dry_run}))
    elif not dry_run:
        typer.echo("Erased.")


def _told(means: Consequences, policy: str, *, derived: bool) -> Iterator[str]:
    trace = means.trace
    if trace.again:
        yield f"Session {trace.session} was erased before; what came late goes too."
    yield f"{len(trace.turns)} turns with {trace.feedback} pieces of feedback, and all signals on them"
    if trace.quoting:
        yield f"{len(trace.quoting)} side calls since then that may quote it: judging, replays, proposals, titles"
    live = {skill.ref for skill in means.live_skills}
    for skill in means.skills:
        text = "its text goes too" if derived else "its text stays, and may quote the session (--derived erases it)"
        use = "goes out of use until you approve it" if skill.ref in live and not derived else "is marked stale"
        yield f"skill {skill.ref} {use}; {text}"
    for adapter in means.adapters:
        out = policy == "rollback" or derived
        weights = "; its files are deleted" if derived else ""
        use = "is rolled back" if out and adapter.name == means.serving else "may not serve" if out else "is flagged"
        yield f"adapter {adapter.name} {use}{weights}"
    for job in means.jobs:
        stopped = ", and it fails" if job.state in ("running", "paused") else ""
        yield f"training job {job.id} loses its data{stopped}"
    if trace.kindred:
        yield f"other sessions begin the same way and may hold the same text: {', '.join(trace.kindred)}"
    if means.learning:
        yield "something is being learned right now and may quote it: run this again when `metaclaw status` is settled"
    if means.store_bytes > LARGEST_BESIDE_OTHERS_BYTES:
        seconds = means.store_bytes / 1e9 * SECONDS_PER_GB
        yield f"the store is written anew, some {seconds:.0f} s: stop the gateway before, or turns may not be kept"
    yield "a client that goes on with this conversation sends its text again"


def _facts(means: Consequences) -> dict[str, Any]:
    trace = means.trace
    return {
        "session": trace.session, "turns": list(trace.turns), "side_calls": list(trace.quoting),
        "feedback": trace.feedback, "kindred": list(trace.kindred), "learning": means.learning,
        "skills": [skill.ref for skill in means.skills], "live_skills": [skill.ref for skill in means.live_skills],
        "adapters": [adapter.name for adapter in means.adapters], "serving": means.serving,
        "jobs": [job.id for job in means.jobs],
    }


@contextmanager
def _store(config: Path | None, data_dir: Path | None) -> Iterator[tuple[Settings, Database]]:
    settings = load_settings(config, data_dir)
    with Database(Home(settings).store) as database:
        yield settings, database


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and for its owner's eyes."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.touch(0o600)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise TrainingError(f"{path} cannot be written: {error.strerror}.") from error
