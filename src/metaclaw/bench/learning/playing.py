"""One gateway's days: work with feedback, a night in which it may train, an exam every evening. Resumable.

In: an arm's settings and a stream. Out: a run file, a line of JSON for each answer and each night. What stands in it is
not asked again; the gateway's folder is taken up with all that was learned in it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from metaclaw.bench.client import MEASURED, WHOEVER_IS_THERE, WITHOUT_SKILLS, GatewayClient
from metaclaw.bench.demo.workload import SYSTEM_PROMPT, Task
from metaclaw.bench.learning.stream import Day, follows_old_rule
from metaclaw.bench.runfile import Lines
from metaclaw.bench.server import OwnGateway

NEVER = "no-training"
"""The gateway that learns in words only."""
MAX_TOKENS = 64
SETTLE_SECONDS = 300.0
NIGHT_SECONDS = 7200.0
RAN = "It ran."  # what `metaclaw train now` says of a training that took place
SIDES: Mapping[str, Mapping[str, str]] = {"skills": {}, "weights": WITHOUT_SKILLS}
"""What the evening's exam is asked with: the skills in the prompt, or the weights alone."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """`objective` is what it trains by at night; without one it never does. `model` is None for the default."""

    name: str
    objective: str | None
    model: str | None
    epochs: int

    def settings(self) -> dict[str, Any]:
        training: dict[str, Any] = {"enabled": self.objective is not None, "epochs": self.epochs, "min_new_turns": 2}
        if self.objective:
            training["objective"] = self.objective
        return {
            "evolve": {"holdout_share": 0},  # the arms are our own
            "training": training,
            "serving": {"canary_share": 0},  # the evening's exam asks the night's adapter, or what served before it
            "schedule": {"idle_seconds": 1e6, "sleep_hours": "", **WHOEVER_IS_THERE},  # only when the night says so
            **({"model": {"name": self.model}} if self.model else {}),
        }


@dataclass(frozen=True, slots=True)
class Line:
    """`part` is `work`, `night`, or the side that the exam was asked of; `old` tells of a rule that was revoked."""

    id: str
    day: int
    part: str
    kind: str = ""
    right: bool = False
    old: bool = False
    tokens: int = 0
    policy: str = ""
    reply: str = ""
    seconds: float = 0.0
    note: Mapping[str, Any] | None = None


class Played:
    """The run file: `found` are its lines by id, those added since among them."""

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        self._lines = Lines(path, plan)
        self.found = {line["id"]: Line(**line) for line in self._lines.found}

    def add(self, line: Line) -> None:
        self.found[line.id] = line
        self._lines.add(asdict(line))


async def play(gateway: Gateway, days: list[Day], folder: Path, plan: Mapping[str, Any]) -> list[Line]:
    """All of it that is not in the run file yet. Returns all lines."""
    lines = Played(folder / f"{gateway.name}.jsonl", plan)
    if all(id_ in lines.found for day in days for id_ in _ids(gateway, day)):
        return [*lines.found.values()]
    data = folder / gateway.name
    server = OwnGateway(data, gateway.settings(), fresh=not lines.found)
    async with server, GatewayClient(server.url, server.token) as client:
        for day in days:
            await _live(gateway, day, client, lines, data / "config.toml")
            print(f"{folder.name} {gateway.name} day {day.number}: {_score(lines, day)}", flush=True)
    return [*lines.found.values()]


async def _live(gateway: Gateway, day: Day, client: GatewayClient, lines: Played, config: Path) -> None:
    if day.number == 1 and gateway.objective is None:
        for task, id_ in _exam(day, "frozen", 0):
            await _examine(client, task, id_, Line(id_, 0, "frozen"), WITHOUT_SKILLS, lines)
    for at, task in enumerate(day.work):
        await _work(client, task, f"{day.number}/work/{at}", day.number, lines)
    await _settled(client)
    if gateway.objective and f"{day.number}/night" not in lines.found:
        started = time.perf_counter()
        said = await asyncio.to_thread(_train, config)
        await client.until_swapped()
        job = (await client.status()).get("job") or {}
        kept = {key: job.get(key) for key in ("state", "decision", "error", "trainer", "examples", "held_out")}
        lines.add(Line(
            f"{day.number}/night", day.number, "night", note={"said": said, **kept},
            seconds=time.perf_counter() - started,
        ))  # fmt: skip
    for side in sides(gateway):
        for task, id_ in _exam(day, side, day.number):
            await _examine(client, task, id_, Line(id_, day.number, side), SIDES[side], lines)


def sides(gateway: Gateway) -> list[str]:
    return [*SIDES] if gateway.objective else ["skills"]


async def _work(client: GatewayClient, task: Task, id_: str, day: int, lines: Played) -> None:
    """A task of the day, and what the user says of the answer."""
    if id_ in lines.found:
        return
    answer = await client.complete(_body(task), {"x-session-id": id_})
    right = task.passes(answer.text)
    await client.feedback(answer.turn_id, 1 if right else -1, "" if right else task.correction, task.pattern)
    if not right:
        await _settled(client)
    tokens = answer.prompt_tokens + answer.completion_tokens
    lines.add(Line(id_, day, "work", task.kind, right, False, tokens, answer.policy, answer.text[:200], answer.seconds))


async def _examine(
    client: GatewayClient, task: Task, id_: str, line: Line, headers: Mapping[str, str], lines: Played
) -> None:
    if id_ in lines.found:
        return
    answer = await client.complete(_body(task), {**MEASURED, **headers})
    tokens = answer.prompt_tokens + answer.completion_tokens
    old = follows_old_rule(task, answer.text)
    lines.add(Line(
        id_, line.day, line.part, task.kind, task.passes(answer.text), old, tokens, answer.policy, answer.text[:200],
        answer.seconds,
    ))  # fmt: skip


def _body(task: Task) -> dict[str, Any]:
    messages = [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": task.prompt}]
    return {"messages": messages, "max_tokens": MAX_TOKENS, "temperature": 0}


def _exam(day: Day, side: str, number: int) -> list[tuple[Task, str]]:
    return [(task, f"{number}/{side}/{at}") for at, task in enumerate(day.exam)]


def _ids(gateway: Gateway, day: Day) -> list[str]:
    ids = [f"{day.number}/work/{at}" for at in range(len(day.work))]
    return ids + [id_ for side in sides(gateway) for _, id_ in _exam(day, side, day.number)]


async def _settled(client: GatewayClient) -> None:
    """Until every lesson of the fast loop is through."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        if (await client.status())["learning"] == "settled":
            return
        await asyncio.sleep(0.2)


def _train(config: Path) -> str:
    command = [sys.executable, "-m", "metaclaw", "train", "now", "--wait", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=NIGHT_SECONDS)
    return (done.stdout + done.stderr).strip()[-500:]


def _score(lines: Played, day: Day) -> str:
    today = [line for line in lines.found.values() if line.day == day.number and line.part != "night"]
    parts = {part: [line.right for line in today if line.part == part] for part in ("work", *SIDES)}
    return ", ".join(f"{part} {sum(rights)} of {len(rights)}" for part, rights in parts.items() if rights)
