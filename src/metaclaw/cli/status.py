"""`metaclaw status`: what was learned, from the store, and how the gateway is, from itself where one runs."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from metaclaw import __version__
from metaclaw.cli.common import rooms
from metaclaw.cli.connect import clients_of
from metaclaw.config.secret import ensure_token
from metaclaw.config.settings import Settings
from metaclaw.connect import answers
from metaclaw.errors import ConnectError
from metaclaw.running import Running, gateways
from metaclaw.runtime.home import Home
from metaclaw.serving.routes import RouteState
from metaclaw.store import Database
from metaclaw.training.jobs import JobRow, Jobs
from metaclaw.visible import visible


def print_status(settings: Settings, *, as_json: bool) -> None:
    home = Home(settings)
    with rooms(settings) as open_rooms, Database(home.store) as database:
        generation, live = open_rooms.catalog.snapshot()
        route = open_rooms.routes.state()
        job = Jobs(database, settings.namespace, home.jobs).latest()
        waiting = open_rooms.catalog.waiting()
        broken = open_rooms.catalog.mirror.problems()
        turns = database.read("SELECT count(*) FROM turns WHERE namespace = ?", (settings.namespace,))[0][0]
    running = gateways(settings.home, settings.namespace)
    usual = settings.gateway.url(settings.gateway.port)
    facts = {
        "version": __version__,
        "namespace": settings.namespace,
        "gateway": [f"{one.url} (process {one.pid})" for one in running] or "not running",
        **_of_the_gateway(running, settings),
        "address": f"{running[0].url if running else usual}/v1",
        "token": ensure_token(settings),
        "store": str(home.store),
        "disk_bytes": sum(_bytes(path, settings) for path in settings.home.rglob("*")),
        "clients": [row["client"] for row in clients_of(settings) if row["connected"]],
        "turns": turns,
        "generation": generation,
        "live_skills": [skill.ref for skill in live],
        "waiting_skills": [skill.ref for skill in waiting],
        "broken_files": [f"{name}: {problem}" for name, problem in broken.items()],
        "adapter": (route.serving or "base model") + _on_trial(route),
        "training": job_text(job) if job else "never ran",
    }
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for key, value in facts.items():
        name = "disk" if key == "disk_bytes" else key.replace("_", " ")
        typer.echo(f"{name:14} {visible(_shown(key, value))}")


def _of_the_gateway(running: list[Running], settings: Settings) -> dict[str, Any]:
    """What the first one says of itself; nothing where none runs."""
    if not running:
        return {}
    try:
        status, told = answers.state(running[0].url, ensure_token(settings))
    except ConnectError as error:
        return {"trouble": str(error)}
    if status != 200:
        return {"trouble": f"it answers {status}; `metaclaw doctor` may know why"}
    wanted = ("policy", "learner", "in_flight", "refused", "lost", "weights", "engines")
    return {name: told[name] for name in wanted if told.get(name) is not None}


def engines_text(state: Mapping[str, Any]) -> list[str]:
    """Each engine that runs; then what went wrong with them since the gateway began."""
    running = [f"{one['policy']} ({one['role']}{_memory_of(one)})" for one in state["running"]]
    trouble = [f"{state['ended']} ended by themselves"] if state["ended"] else []
    trouble += [f"{state['swaps_refused']} swaps refused"] if state["swaps_refused"] else []
    return running + trouble + ([f"last failure: {state['last_failure']}"] if state["last_failure"] else [])


def _memory_of(engine: Mapping[str, Any]) -> str:
    resident = engine.get("resident_bytes")
    return f", {resident >> 20} MB" if resident else ""


def _bytes(path: Path, settings: Settings) -> int:
    """The size of a file that is ours. Weights are not what was learned, and may be shared."""
    try:
        known = path.lstat()
    except OSError:  # gone meanwhile
        return 0
    return known.st_size if stat.S_ISREG(known.st_mode) and settings.weights_dir not in path.parents else 0


def _shown(key: str, value: Any) -> str:
    if key == "disk_bytes":
        return f"{value / 1e6:,.1f} MB"
    if key == "engines":
        value = engines_text(value)
    elif isinstance(value, Mapping):
        return ", ".join(f"{name} {n}" for name, n in value.items()) or "nothing"
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)


def _on_trial(route: RouteState) -> str:
    return f"; on trial in {route.canary_share:.0%} of the sessions: {route.canary}" if route.canary else ""


def job_text(job: JobRow) -> str:
    """Where the latest job stands: its phase, its step, or what the gate said."""
    progress = job.progress
    if job.state in ("done", "failed"):
        return f"{job.state}: {progress.get('decision') or progress.get('error')}"
    told = progress.get("trainer", {})
    where = f"{job.state}: {progress.get('phase', 'about to begin')}"
    if "step" not in told:
        return where
    return f"{where}, step {told['step']} of {told['total_steps']}, {told['eta_seconds']:.0f} s to go"
