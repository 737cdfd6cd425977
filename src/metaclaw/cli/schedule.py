"""`metaclaw schedule` and `metaclaw train`: when the slow loop may run, when it next will, and training now."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from metaclaw.cli.common import ConfigOption, DataDirOption, JsonOption, load_settings
from metaclaw.cli.status import job_text
from metaclaw.config.settings import Settings
from metaclaw.config.slow_loop import ScheduleSettings
from metaclaw.errors import MetaClawError
from metaclaw.runtime.home import Home
from metaclaw.runtime.schedule import agenda_of, machine_of, rule_of, utc_now
from metaclaw.runtime.trainable import cannot_train
from metaclaw.scheduler.board import Board
from metaclaw.scheduler.presence import presence_here
from metaclaw.scheduler.scheduler import TELL_AGAIN
from metaclaw.scheduler.windows import Senses, Span, away_by, upcoming
from metaclaw.store import Database
from metaclaw.training.jobs import Jobs

app = typer.Typer(help="When the slow loop may run.", no_args_is_help=True)
train_app = typer.Typer(help="The slow loop, on demand.", no_args_is_help=True)

ALIVE_SECONDS = 2 * TELL_AGAIN.total_seconds()
MOST_SHOWN = 10


@app.command()
def show(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """The rule in force, what this machine tells, and what the learner does about it now.

    Example: metaclaw schedule show
    """
    settings = load_settings(config, data_dir)
    rule = rule_of(settings.schedule)
    senses, idle, problem = asyncio.run(_look(settings.schedule))
    with Database(Home(settings).store) as database:
        board = Board(database, settings.namespace)
        seen, ago = board.seen()
        asked, answer, held = board.asked_seconds(), board.answered(), board.held_seconds()
    facts = {
        "learner": _learner(seen, ago),
        "asked_for": None if asked is None else f"{asked:.0f} s ago",
        "last_answer": answer or None,
        "paused_by_hand": None if held is None else _for_how_long(held),
        "sleep_hours": settings.schedule.sleep_hours or None,
        "time_zone": settings.schedule.time_zone or "this machine's",
        "away_now": away_by(utc_now(), senses.meetings, rule) or None,
        "idle_seconds_needed": rule.idle_seconds,
        "input_idle_seconds": idle if settings.schedule.watch_input else None,
        "on_battery": senses.on_battery,
        "calendar": (problem or f"{len(senses.meetings)} meetings ahead") if settings.schedule.calendar else None,
    }
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for key, value in facts.items():
        typer.echo(f"{key.replace('_', ' '):20} {_shown(value)}")


@app.command("next")
def show_next(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """The coming week's sleep hours and meetings. Idle windows come besides, whenever it has been quiet long enough.

    Example: metaclaw schedule next
    """
    schedule = load_settings(config, data_dir).schedule
    rule, agenda = rule_of(schedule), agenda_of(schedule)
    now = utc_now()
    if agenda:
        asyncio.run(agenda.refresh(now))
        if agenda.problem:
            typer.echo(f"no calendar: {agenda.problem}", err=True)
    found = upcoming(now, agenda.meetings(now) if agenda else (), rule)
    long_enough = [(span, why) for span, why in found if (span.end - span.start).total_seconds() >= rule.min_seconds]
    if as_json:
        ends = [(_local(span.start, rule.zone), _local(span.end, rule.zone), why) for span, why in long_enough]
        typer.echo(json.dumps([{"start": a.isoformat(), "end": b.isoformat(), "why": why} for a, b, why in ends]))
        return
    quiet = min(rule.quiet_seconds, rule.idle_seconds)
    for span, why in long_enough[:MOST_SHOWN]:
        typer.echo(f"{_told(span, rule.zone)}  {why}, after {quiet:.0f} s of quiet")
    typer.echo(f"and at any time after {rule.idle_seconds:.0f} s of quiet")


@train_app.command()
def now(
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is done, with what came of it.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train now, on whatever is proven and new, without waiting for a window. Your requests still come first.

    Example: metaclaw train now --wait
    """
    settings = load_settings(config, data_dir)
    if reason := cannot_train(settings):
        raise MetaClawError(reason)
    with Database(Home(settings).store) as database:
        board = Board(database, settings.namespace)
        _, ago = board.seen()
        board.ask()
        learner = ago <= ALIVE_SECONDS
        answer = _answered(database, settings, board) if learner and wait else None
    if as_json:
        typer.echo(json.dumps({"asked": True, "learner": learner, "answer": answer}))
    elif answer is not None:
        typer.echo(answer)
    elif learner:
        typer.echo("asked for; `metaclaw status` tells how far it is")
    else:
        typer.echo("asked for; nothing trains until a learner runs: metaclaw start")


@train_app.command()
def pause(
    hours: Annotated[
        float | None, typer.Option(help="For so long; else until `metaclaw train resume`.", min=0.01, max=24 * 365)
    ] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold training back, whatever the windows say. What is being trained stops within a second, and is kept.

    Example: metaclaw train pause --hours 4
    """
    settings = load_settings(config, data_dir)
    with Database(Home(settings).store) as database:
        board = Board(database, settings.namespace)
        board.hold(None if hours is None else hours * 3600)
        held = board.held_seconds()
    assert held is not None  # noqa: S101 - it was set a moment ago
    if as_json:
        typer.echo(json.dumps({"paused": True, "seconds": hours and round(hours * 3600)}))
    else:
        typer.echo(f"paused {_for_how_long(held)}; `metaclaw train resume` or `metaclaw train now` ends that")


@train_app.command()
def resume(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Let the windows decide again. What was paused goes on where it stood.

    Example: metaclaw train resume
    """
    settings = load_settings(config, data_dir)
    with Database(Home(settings).store) as database:
        board = Board(database, settings.namespace)
        was_held = board.held_seconds() is not None
        board.take_back()
    if as_json:
        typer.echo(json.dumps({"paused": False, "was_paused": was_held}))
    else:
        typer.echo("resumed: it trains in the next window" if was_held else "it was not paused")


def _answered(database: Database, settings: Settings, board: Board) -> str:
    """What came of it, once it is done; until then, on a terminal, how far it is."""
    jobs = Jobs(database, settings.namespace, Home(settings).jobs)
    with Console(stderr=True).status("Waiting for the learner") as shown:
        while board.asked_seconds() is not None:
            if (job := jobs.latest()) and job.state not in ("done", "failed"):
                shown.update(escape(job_text(job)))
            time.sleep(0.5)
    return board.answered()


async def _look(schedule: ScheduleSettings) -> tuple[Senses, Mapping[str, float], str]:
    """What the senses tell at this moment; seconds without input by source; what is wrong with the calendar."""
    presence, agenda = presence_here(), agenda_of(schedule)
    machine = machine_of(schedule, None)
    try:
        if agenda:
            await agenda.refresh(utc_now())
        senses = await machine.look()
        idle = await presence.idle_seconds() if schedule.watch_input else {}
        meetings = agenda.meetings(utc_now()) if agenda else ()
        return Senses(senses.last_input, senses.on_battery, None, meetings), idle, agenda.problem if agenda else ""
    finally:
        await machine.close()
        await presence.close()


def _learner(seen: Mapping[str, Any], ago: float) -> str:
    if ago > ALIVE_SECONDS:
        return "does not run, or does not train"
    return f"{seen['phase']}: {seen['reason']} ({ago:.0f} s ago)"


def _for_how_long(seconds: float) -> str:
    if seconds == float("inf"):
        return "until you resume it"
    return f"for {seconds / 3600:.1f} h" if seconds >= 3600 else f"for {max(1, round(seconds / 60))} min"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {seconds:.0f}" for name, seconds in value.items()) or "nothing tells here"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def _local(moment: datetime, zone: Any) -> datetime:
    return moment.astimezone(zone)


def _told(span: Span, zone: Any) -> str:
    start, end = _local(span.start, zone), _local(span.end, zone)
    return f"{start:%a %Y-%m-%d %H:%M} to {end:%H:%M}" if start.date() == end.date() else (
        f"{start:%a %Y-%m-%d %H:%M} to {end:%a %H:%M}"
    )
