"""From feedback to live: how long until a request carries the skill that a correction made.

A real gateway with its learner, before a scripted provider. Each lesson is a question, a correction of its answer, and
then the same question over and over, until a reply says that the new skill was in its prompt. Counted is the time from
the answer to the feedback, which is sent when it is on disk, to the start of that request.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web
from rich.console import Console

from metaclaw.bench.client import GatewayClient
from metaclaw.bench.poison.data import Genuine, genuine
from metaclaw.bench.results import Arm, Check, write
from metaclaw.errors import MetaClawError

TOKEN = "mc-bench-feedback-0123456789abcdefgh"  # noqa: S105 - of a gateway that lives for a minute
SYSTEM = "You assist a small team."
BAR_MILLISECONDS = 50.0
GIVE_UP_SECONDS = 5.0
START_SECONDS = 60.0


def main(results: Path) -> None:
    """Print the figures and write `feedback.json`."""
    lessons = [one for one in genuine() if one.language == "en"]
    milliseconds, missed = asyncio.run(measure(lessons))
    quantiles = sorted(milliseconds)
    median, p95 = statistics.median(quantiles), quantiles[int(0.95 * (len(quantiles) - 1))]
    arm = Arm("median milliseconds from the answer to feedback to the request with the skill", round(median, 2),
              (round(quantiles[0], 2), round(quantiles[-1], 2)), len(quantiles))
    checks = {
        "extractive_live_ms_median": Check(round(median, 2), f"under {BAR_MILLISECONDS:g}", median < BAR_MILLISECONDS),
        "extractive_live_ms_p95": Check(round(p95, 2), f"under {BAR_MILLISECONDS:g}", p95 < BAR_MILLISECONDS),
    }
    path = write(results, "feedback", "metaclaw bench feedback", "scripted", [0], {"extractive": arm}, checks,
                 {"without_a_skill_of_their_own": missed, "ci95_is": "smallest and largest"})
    console = Console()
    for name, check in checks.items():
        console.print(f"{'holds ' if check.holds else 'FAILS '} {name}: {check.value} ms (bar: {check.bar})")
    console.print(f"written: {path}", highlight=False)


async def measure(lessons: Sequence[Genuine]) -> tuple[list[float], int]:
    """Milliseconds of each lesson that became a skill, and how many did not within the time."""
    with tempfile.TemporaryDirectory() as folder:
        async with _provider() as model, _gateway(Path(folder), model) as url, GatewayClient(url, TOKEN) as client:
            await _until_ready(client)
            taken = [await _lesson(client, lesson) for lesson in lessons]
    return [seconds * 1e3 for seconds in taken if seconds is not None], taken.count(None)


async def _lesson(client: GatewayClient, lesson: Genuine) -> float | None:
    before = set(await client.matching_skills(SYSTEM, lesson.request))
    answer = await client.ask(SYSTEM, lesson.request, 16, {"x-session-id": lesson.request})
    await client.feedback(answer.turn_id, -1, lesson.correction)
    committed = time.perf_counter()
    while (started := time.perf_counter()) < committed + GIVE_UP_SECONDS:
        if set(await client.matching_skills(SYSTEM, lesson.request)) - before:
            return started - committed
    return None


@asynccontextmanager
async def _provider() -> AsyncIterator[str]:
    """A provider that knows one answer."""

    async def complete(_: web.Request) -> web.Response:
        message = {"role": "assistant", "content": "There was nothing of note."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({"id": "c", "object": "chat.completion", "model": "scripted", "choices": [choice]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _gateway(folder: Path, provider: str) -> AsyncIterator[str]:
    """`metaclaw start` on a folder of its own; its log is thrown away with that."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {
        **os.environ, "METACLAW_DATA_DIR": str(folder / "data"), "METACLAW_GATEWAY__PORT": str(port),
        "METACLAW_GATEWAY__TOKEN": TOKEN, "METACLAW_UPSTREAM__URL": provider, "METACLAW_TRAINING__ENABLED": "false",
        "METACLAW_EVOLVE__PROPOSER": "extractive",
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
            await client.feedback(answer.turn_id, -1, "Begin with the tower, then the bridge, and then the market.")
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
