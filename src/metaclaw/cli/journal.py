"""`metaclaw journal`: turns as they come, one turn whole, and a search; each with its skills, tools and signals."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from metaclaw.cli import journal_text
from metaclaw.cli.common import ConfigOption, DataDirOption, JsonOption, load_settings
from metaclaw.errors import StoreError
from metaclaw.journal import trajectories
from metaclaw.runtime.home import Home
from metaclaw.signals import ledger
from metaclaw.store import Database
from metaclaw.types import Turn
from metaclaw.visible import visible

app = typer.Typer(help="What was asked and answered, and what came of it.", no_args_is_help=True)

LOOK_SECONDS = 0.5
SideOption = Annotated[bool, typer.Option("--side", help="Also side calls: titles, probes, replays.")]


class Journal:
    """The journal of a namespace, opened to be read."""

    def __init__(self, database: Database, namespace: str) -> None:
        self.database, self.namespace = database, namespace

    def whole(self, turn: Turn) -> dict[str, Any]:
        """A turn as JSON says it, less the native bytes, with the signals and the feedback on it."""
        signals = ledger.signals_on(self.database, self.namespace, turn.id)
        said = trajectories.feedback_on(self.database, self.namespace, turn.id)
        return journal_text.as_json(turn, signals, said)


@contextlib.contextmanager
def opened(config: ConfigOption, data_dir: DataDirOption) -> Iterator[Journal]:
    settings = load_settings(config, data_dir)
    with Database(Home(settings).store) as database:
        yield Journal(database, settings.namespace)


@app.command()
def tail(
    number: Annotated[int, typer.Option("--number", "-n", min=0, help="How many of the last turns.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")] = False,
    session: Annotated[str, typer.Option(help="Of this session only.")] = "",
    side: SideOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """The last turns, with the skills injected, the tools run and the signals; one line of JSON each with --json.

    With --follow, a signal that comes later is a line of its own.

    Example: metaclaw journal tail -f
    """
    with opened(config, data_dir) as journal:
        position, signal = _last_position(journal), ledger.newest(journal.database)
        turns = trajectories.newest_turns(journal.database, journal.namespace, number, session=session, side=side)
        for turn in turns:
            _tell_turn(journal, turn, as_json=as_json)
        if follow:
            position = max(position, *(turn.position for turn in turns)) if turns else position
            with contextlib.suppress(KeyboardInterrupt):
                _follow(journal, position, signal, session, side=side, as_json=as_json)


@app.command()
def show(
    turn: Annotated[str, typer.Argument(help="The turn's id, or how it begins; `last` for the newest.")],
    raw: Annotated[bool, typer.Option("--raw", help="Also the native request and reply, as they are kept.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """One turn whole: what was asked, injected, run, answered, said of it, and what it cost.

    Example: metaclaw journal show last
    """
    with opened(config, data_dir) as journal:
        found = _find(journal, turn)
        told = journal.whole(found)
    native = {"request": found.request.decode(errors="replace"), "response": found.response.decode(errors="replace")}
    if as_json:
        typer.echo(json.dumps({**told, **(native if raw else {})}))
        return
    typer.echo(visible(journal_text.whole(told)))
    for name, text in native.items() if raw else ():
        typer.echo(f"\n--- {name}\n{visible(text)}")


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(help="What must all be in it, in either case.")],
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="How many of the last that hold them.")] = 20,
    side: SideOption = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """The last turns that hold every word, in what was asked, answered or injected. Exit code 1 where there is none.

    Example: metaclaw journal search budget review
    """
    with opened(config, data_dir) as journal:
        found = trajectories.turns_holding(journal.database, journal.namespace, words, number, side=side)
        for turn in found:
            _tell_turn(journal, turn, as_json=as_json)
    if not found:
        typer.echo("No turn holds that.", err=True)
        raise typer.Exit(1)


def _follow(journal: Journal, position: int, signal: int, session: str, *, side: bool, as_json: bool) -> None:
    """What is new since `position` and `signal`, as it comes; for ever."""
    shown: set[str] = set()
    while True:
        signals = ledger.signals_after(journal.database, journal.namespace, signal)
        for turn in trajectories.turns_after(journal.database, journal.namespace, position):
            position = turn.position
            if (side or turn.kind == "main") and session in ("", turn.session):
                shown.add(turn.id)
                # What is said of a turn is told apart below: here it would be told twice.
                _tell(journal_text.as_json(turn, [], []), as_json=as_json)
        for signal, one in signals:  # noqa: B007 - the last number is where the next look begins
            if one.value is not None and (not session or one.turn_id in shown):
                _tell(journal_text.signal_as_json(one), as_json=as_json)
        time.sleep(LOOK_SECONDS)


def _tell_turn(journal: Journal, turn: Turn, *, as_json: bool) -> None:
    _tell(journal.whole(turn), as_json=as_json)


def _tell(event: dict[str, Any], *, as_json: bool) -> None:
    typer.echo(json.dumps(event) if as_json else visible(journal_text.short(event)))


def _last_position(journal: Journal) -> int:
    last = trajectories.newest_turns(journal.database, journal.namespace, 1, side=True)
    return last[0].position if last else 0


def _find(journal: Journal, name: str) -> Turn:
    """Raises `StoreError` unless exactly one turn is meant."""
    if name == "last":
        found = trajectories.newest_turns(journal.database, journal.namespace, 1)
    else:
        found = trajectories.turns_named(journal.database, journal.namespace, name)
    if not found:
        raise StoreError(f"There is no turn '{name}'. `metaclaw journal tail` lists the last ones.")
    if len(found) > 1 and found[0].id != name:
        raise StoreError(f"More than one turn begins with '{name}'. Write more of its id.")
    return found[0]
