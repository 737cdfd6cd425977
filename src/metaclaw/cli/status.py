"""`metaclaw status`: what is known without asking anybody, from the store."""

from __future__ import annotations

import json

import typer

from metaclaw.cli.common import rooms
from metaclaw.config import Settings, ensure_token
from metaclaw.runtime import Home
from metaclaw.store import Database
from metaclaw.training.jobs import JobRow, Jobs


def print_status(settings: Settings, *, as_json: bool) -> None:
    home = Home(settings)
    with rooms(settings) as open_rooms, Database(home.store) as database:
        generation, live = open_rooms.catalog.snapshot()
        route = open_rooms.routes.state()
        job = Jobs(database, settings.namespace, home.jobs).latest()
        waiting = open_rooms.catalog.waiting()
        broken = open_rooms.catalog.mirror.problems()
        turns = database.read("SELECT count(*) FROM turns WHERE namespace = ?", (settings.namespace,))[0][0]
    facts = {
        "address": f"http://{settings.gateway.host}:{settings.gateway.port}/v1",
        "token": ensure_token(settings),
        "store": str(home.store),
        "turns": turns,
        "generation": generation,
        "live_skills": [skill.ref for skill in live],
        "waiting_skills": [skill.ref for skill in waiting],
        "broken_files": [f"{name}: {problem}" for name, problem in broken.items()],
        "adapter": route.serving or "base model",
        "training": _training(job) if job else "never ran",
    }
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for key, value in facts.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        typer.echo(f"{key.replace('_', ' '):14} {shown}")


def _training(job: JobRow) -> str:
    """Where the latest job stands: its phase, its step, or what the gate said."""
    progress = job.progress
    if job.state in ("done", "failed"):
        return f"{job.state}: {progress.get('decision') or progress.get('error')}"
    told = progress.get("trainer", {})
    where = f"{job.state}: {progress.get('phase', 'about to begin')}"
    if "step" not in told:
        return where
    return f"{where}, step {told['step']} of {told['total_steps']}, {told['eta_seconds']:.0f} s to go"
