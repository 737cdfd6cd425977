"""From feedback to live: how long until a request carries the skill that a correction made.

A real gateway with its learner, before a scripted provider. Each lesson is a question, a correction of its answer, and
then the same question over and over, until a reply says that the new skill was in its prompt. Counted is the time from
the answer to the feedback, which is sent when it is on disk, to the start of that request. Where the model writes the
skills, and replays prove them before they go live, the time in which the model was at it is taken off.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from rich.console import Console

from metaclaw.bench.client import GatewayClient
from metaclaw.bench.poison.data import Genuine, genuine
from metaclaw.bench.results import Arm, Check, write
from metaclaw.context.compose import OPENING
from metaclaw.errors import MetaClawError

TOKEN = "mc-bench-feedback-0123456789abcdefgh"  # noqa: S105 - of a gateway that lives for a minute
SYSTEM = "You assist a small team."
BAR_MILLISECONDS = 50.0
GIVE_UP_SECONDS = 5.0
PAUSE_SECONDS = 0.002  # between two looks: asking without pause would be a load of its own on so few cores
START_SECONDS = 60.0
BY_MODEL = 20  # lessons in which the model writes the skill
ANSWER, SHOWN = "answer number {}", re.compile(r"answer number \d+")
ASKED, SAID = re.compile(r"Request: (.+)"), re.compile(r"The user said: (.+)")  # as the proposer words its prompt
WARM_UP = f"Begin with the tower, then the bridge, and then the market. It should have been `{ANSWER.format(999)}`."
MODEL_SECONDS = 0.02  # that each of its answers takes


def main(results: Path) -> None:
    """Print the figures and write `feedback.json`."""
    lessons = [one for one in genuine() if one.language == "en"]
    found = {
        "extractive": asyncio.run(measure("extractive", lessons)),
        "model": asyncio.run(measure("model", lessons[:BY_MODEL])),
    }
    arms, checks = {}, {}
    for name, taken in found.items():
        quantiles = sorted(one for one in taken if one is not None)
        median, p95 = statistics.median(quantiles), quantiles[int(0.95 * (len(quantiles) - 1))]
        metric = "median milliseconds from the answer to feedback to the request with the skill"
        arms[name] = Arm(
            metric if name == "extractive" else f"{metric}, less the model's own",
            round(median, 2), (round(quantiles[0], 2), round(quantiles[-1], 2)), len(quantiles),
        )
        bar = f"under {BAR_MILLISECONDS:g}"
        checks[f"{name}_live_ms_median"] = Check(round(median, 2), bar, median < BAR_MILLISECONDS)
        checks[f"{name}_live_ms_p95"] = Check(round(p95, 2), bar, p95 < BAR_MILLISECONDS)
    missed = {name: taken.count(None) for name, taken in found.items()}
    path = write(results, "feedback", "metaclaw bench feedback", "scripted", [0], arms, checks,
                 {"without_a_skill_of_their_own": missed, "ci95_is": "smallest and largest"})
    console = Console()
    for name, check in checks.items():
        console.print(f"{'holds ' if check.holds else 'FAILS '} {name}: {check.value} ms (bar: {check.bar})")
    console.print(f"written: {path}", highlight=False)


async def measure(proposer: str, lessons: Sequence[Genuine]) -> list[float | None]:
    """Milliseconds of each lesson, less the model's; None where no skill came of it within the time."""
    model = Provider(MODEL_SECONDS if proposer == "model" else 0.0)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            model.running() as url, _gateway(Path(folder), url, proposer) as gateway,
            GatewayClient(gateway, TOKEN) as client,
        ):
            await _until_ready(client)
            taken = [await _lesson(client, lesson, number, model) for number, lesson in enumerate(lessons)]
    return [None if seconds is None else seconds * 1e3 for seconds in taken]


async def _lesson(client: GatewayClient, lesson: Genuine, number: int, model: Provider) -> float | None:
    before = set(await client.matching_skills(SYSTEM, lesson.request))
    answer = await client.ask(SYSTEM, lesson.request, 16, {"x-session-id": lesson.request})
    shown = f" It should have been `{ANSWER.format(number)}`." if model.seconds else ""
    model.calls.clear()
    await client.feedback(answer.turn_id, -1, f"{lesson.correction}{shown}")
    committed = time.perf_counter()
    while (started := time.perf_counter()) < committed + GIVE_UP_SECONDS:
        if set(await client.matching_skills(SYSTEM, lesson.request)) - before:
            return started - committed - busy(model.calls, committed, started)
        await asyncio.sleep(PAUSE_SECONDS)
    return None


def busy(calls: Iterable[tuple[float, float]], first: float, last: float) -> float:
    """For how many seconds between two moments at least one call was under way."""
    found, until = 0.0, first
    for began, ended in sorted(calls):
        found += max(0.0, min(ended, last) - max(began, until))
        until = max(until, ended)
    return found


class Provider:
    """A model that follows what it is told, writes any rule down that it is shown, and takes its time for it.

    `calls` are those that its learner made, as moments of their beginning and end.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.calls: list[tuple[float, float]] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Its base URL, with /v1."""
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()

    async def _complete(self, request: web.Request) -> web.Response:
        began = time.perf_counter()
        body = await request.json()
        if body.get("max_tokens") != 1:  # else the bench looks whether a skill is there
            await asyncio.sleep(self.seconds)
            self.calls.append((began, time.perf_counter()))
        message = {"role": "assistant", "content": _answer(body)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({"id": "c", "object": "chat.completion", "model": "scripted", "choices": [choice]})


def _answer(body: dict[str, Any]) -> str:
    told = "\n".join(str(message.get("content") or "") for message in body["messages"])
    shown = SHOWN.findall(told)
    if "response_format" not in body:
        return shown[-1] if shown and OPENING in told else "There was nothing of note."
    asked, said = ASKED.findall(told) or ["Again."], SAID.findall(told) or [told[-200:]]
    return json.dumps({
        "rule": said[-1], "name": f"rule-{len(told)}", "edit": "create", "names": [],
        "use_for": "Requests of this kind.", "not_for": "Anything else.", "example_request": asked[-1],
        "example_answer": shown[-1] if shown else "",
    })


@asynccontextmanager
async def _gateway(folder: Path, provider: str, proposer: str) -> AsyncIterator[str]:
    """`metaclaw start` on a folder of its own; its log is thrown away with that."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {
        **os.environ, "METACLAW_DATA_DIR": str(folder / "data"), "METACLAW_GATEWAY__PORT": str(port),
        "METACLAW_GATEWAY__TOKEN": TOKEN, "METACLAW_UPSTREAM__URL": provider, "METACLAW_TRAINING__ENABLED": "false",
        "METACLAW_EVOLVE__PROPOSER": proposer, "METACLAW_EVOLVE__CODE_SKILLS": "false",
    }
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "metaclaw", "start", env=environment, stdout=log, stderr=log
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def _until_ready(client: GatewayClient) -> None:
    """Until the gateway answers and its learner has read all there is."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            answer = await client.ask(SYSTEM, "What is there to see?", 16, {"x-session-id": "warm-up"})
            await client.feedback(answer.turn_id, -1, WARM_UP)
            if await _carries(client):
                return
        except aiohttp.ClientError:
            await asyncio.sleep(0.1)
    raise MetaClawError("The gateway of the bench did not learn its first lesson within a minute.")


async def _carries(client: GatewayClient) -> bool:
    for _ in range(50):
        if await client.matching_skills(SYSTEM, "What is there to see?"):
            return True
        await asyncio.sleep(0.1)
    return False
