"""The doctor looks at the gateway: does one run, does it take the token, does its learner live, what was lost."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any

from metaclaw import __version__
from metaclaw.cli.doctor.finding import Finding, broken, note, ok
from metaclaw.config.settings import Settings
from metaclaw.running import Running


def port(settings: Settings, running: list[Running]) -> Finding:
    """Whether the port is ours, or free for us."""
    gateway = settings.gateway
    if running:
        where = ", ".join(f"{one.url} (process {one.pid})" for one in running)
        return ok("gateway", f"runs at {where}")
    if not gateway.port:
        return ok("port", "a free one is taken at each start")
    try:
        with socket.socket(socket.AF_INET6 if ":" in gateway.host else socket.AF_INET) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((gateway.host, gateway.port))
    except (OSError, UnicodeError) as error:
        return broken(
            "port", f"{gateway.host}:{gateway.port} cannot be had ({error}), and no gateway of this data folder runs",
            "Find who has it (ss -ltnp), or set another gateway.port.",
        )
    return ok("port", f"{gateway.host}:{gateway.port} is free; no gateway runs: `metaclaw start`")


def exposure(settings: Settings) -> Iterator[Finding]:
    if settings.gateway.host not in ("127.0.0.1", "localhost", "::1"):
        yield note(
            "address", f"gateway.host is {settings.gateway.host}: the network reaches your models, with the token",
            "Set gateway.host = '127.0.0.1', or put a proxy with TLS before it.",
        )


def answers(running: Running, status: int | None, told: Mapping[str, Any], failure: str) -> Iterator[Finding]:
    """What the gateway said of itself, asked with the token of this data folder."""
    if status is None:
        yield broken("gateway", f"{running.url} does not answer ({failure})", "`metaclaw stop`, then `metaclaw start`.")
        return
    if status in (401, 403):
        yield broken(
            "gateway", f"{running.url} refuses the token of this data folder", "It was changed since: start it again."
        )
        return
    if told.get("status") != "ok":
        yield note("gateway", f"{running.url} is still loading its model", "Wait, and look again.")
    if (version := told.get("version")) != __version__:
        yield note("gateway", f"it runs version {version}, and {__version__} is installed", "Start it again.")
    yield from _learner(str(told.get("learner")))
    if lost := {name: n for name, n in dict(told.get("lost", {})).items() if n}:
        counted = ", ".join(f"{name}: {n}" for name, n in lost.items())
        yield note("losses", f"since its start {counted}", "The gateway's log says why; check the disk first.")
    if files := dict(told.get("broken_files", {})):
        yield note("library", f"cannot be read: {', '.join(files)}", "`metaclaw skills list` says what is wrong.")
    for one in told.get("upstreams", ()):
        if one["cooldown_seconds_left"]:
            yield note(
                f"upstream {one['name']}", f"is left alone for {one['cooldown_seconds_left']:.0f} s more"
                f" ({one['last_failure']})", "It is asked again by itself.",
            )


def _learner(state: str) -> Iterator[Finding]:
    if state == "running":
        yield ok("learner", "is alive")
    elif state == "off":
        yield note(
            "learner", "is off: nothing is learned", "Set evolve.enabled or training.enabled, and start again."
        )
    else:
        yield broken(
            "learner", f"is not alive ({state}); requests flow all the same",
            "The gateway starts it again by itself; if that does not last, its log says why.",
        )


def clients(rows: list[dict[str, Any]], url: str | None, *, runs: bool) -> Iterator[Finding]:
    """`rows` as `metaclaw connect --json` has them; `url` is the gateway's address, None where it is not known."""
    connected = [row for row in rows if row["connected"]]
    if not connected:
        here = [row["client"] for row in rows if row["here"]]
        some = f" Here are: {', '.join(here)}." if here else ""
        yield ok("clients", f"none is connected by `metaclaw connect`.{some}")
    for row in connected:
        name = f"client {row['client']}"
        if row["edited"]:
            yield note(name, f"its files were edited since: {', '.join(row['edited'])}", "Look whether they still name"
                       f" the gateway; `metaclaw disconnect {row['client']} --force` takes our part out.")
        elif url and row["url"] != url:
            yield broken(name, f"asks {row['url']}, and the gateway is {url}", f"metaclaw connect {row['client']}")
        elif not runs:
            yield note(name, f"asks {row['url']}, where nothing runs", "metaclaw start")
        else:
            yield ok(name, f"asks {row['url']}")
