"""The first minutes: from `metaclaw start` on an empty home to the first learned skill, as the README has them.

`scripts/first_minutes.sh` has cloned and set up before, and says how long that took. Here the gateway is started with
the embedded model, downloads its weights, answers wrongly, is corrected, and answers another request of the kind.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
from rich.console import Console

from metaclaw.bench.client import GatewayClient
from metaclaw.bench.results import Arm, Check, write
from metaclaw.bench.server import free_port
from metaclaw.errors import MetaClawError

FIRST = "Suggest a file name for the notes of the budget review of 4 March 2026."
NEXT = "Suggest a file name for the notes of the hiring meeting of 9 March 2026."
CORRECTION = "File names start with the date as YYYYMMDD. It should have been `20260304_budget_review.md`."
CHECK = r"\d{8}_\w+\.md"
RIGHT = re.compile(r"\b20260309_\w+\.md\b")
MAX_TOKENS = 96
MOST_MINUTES = 10
GIVE_UP_SECONDS = 1800.0
LIVE_SECONDS = 60.0  # a person takes longer to ask the next thing than the learner to learn; a busy machine may not

console = Console()


async def play(data_dir: Path) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds of each part, and what was said. Raises `MetaClawError` where a part does not come to an end."""
    seconds, said = dict[str, float](), dict[str, str]()
    began = time.perf_counter()

    def done(part: str) -> None:
        nonlocal began
        now = time.perf_counter()
        seconds[part], began = round(now - began, 1), now
        console.print(f"{part}: {seconds[part]:.1f} s", highlight=False)

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    gateway = await asyncio.create_subprocess_exec(sys.executable, "-m", "metaclaw", "start", "--port", str(port))
    try:
        await _until(lambda: _health(url), "listens", gateway)
        done("weights")  # they are here before it listens
        await _until(lambda: _health(url, "ok"), "answers", gateway)
        done("start")
        async with GatewayClient(url, (data_dir / "token").read_text(encoding="ascii").strip()) as client:
            first = await client.ask("You assist a small team.", FIRST, MAX_TOKENS, {"x-session-id": "first"})
            said["first"] = first.text
            done("first request")
            await client.feedback(first.turn_id, -1, CORRECTION, CHECK)
            done("correction")
            await _until_learned(client)
            done("skill live")
            body = {"messages": [{"role": "system", "content": "You assist a small team."},
                                 {"role": "user", "content": NEXT}], "max_tokens": MAX_TOKENS, "temperature": 0}
            answer = await client.complete(body, {"x-session-id": "next"})
            said["next"], said["skills"] = answer.text, ", ".join(answer.skills)
            done("next request")
    finally:
        if gateway.returncode is None:
            gateway.terminate()
        await gateway.wait()
    return seconds, said


async def _until_learned(client: GatewayClient) -> None:
    deadline = time.monotonic() + LIVE_SECONDS
    while time.monotonic() < deadline:
        if (await client.status())["skills"]:
            return
        await asyncio.sleep(0.02)


async def _health(url: str, status: str = "") -> bool:
    try:
        async with aiohttp.ClientSession() as http, http.get(f"{url}/healthz") as reply:
            return status in (await reply.json())["status"]
    except aiohttp.ClientError:
        return False


async def _until(true: Callable[[], Awaitable[bool]], what: str, gateway: Process) -> None:
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while not await true():
        if gateway.returncode is not None or time.monotonic() > deadline:
            raise MetaClawError(f"No gateway {what}; its message is above.")
        await asyncio.sleep(0.1)


def report(results: Path, before: dict[str, float], seconds: dict[str, float], said: dict[str, str]) -> Path:
    parts = {**before, **seconds}
    minutes = round(sum(parts.values()) / 60, 2)
    wrong, right = not re.search(CHECK, said["first"]), bool(RIGHT.search(said["next"]))
    arm = Arm("minutes from a fresh clone to the answer with the first learned skill", minutes, (minutes, minutes), 1)
    checks = {
        "minutes": Check(minutes, f"under {MOST_MINUTES}", minutes < MOST_MINUTES),
        "first_request_wrong": Check(float(wrong), "1", wrong),
        "next_request_has_the_skill": Check(float(bool(said["skills"])), "1", bool(said["skills"])),
        "next_request_right": Check(float(right), "1", right),
    }
    return write(results, "first-minutes", "make first-minutes", "qwen2.5-coder-1.5b", [0], {"skills": arm}, checks,
                 {"seconds": parts, "said": said})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--clone-seconds", type=float, required=True)
    parser.add_argument("--set-up-seconds", type=float, required=True)
    given = parser.parse_args()
    before = {"clone": given.clone_seconds, "set-up": given.set_up_seconds}
    seconds, said = asyncio.run(play(given.data_dir))
    for who, words in said.items():
        console.print(f"{who}: {words}", markup=False, highlight=False)
    path = report(given.results, before, seconds, said)
    console.print(f"{sum({**before, **seconds}.values()) / 60:.1f} minutes in all; written: {path}", highlight=False)


if __name__ == "__main__":
    main()
