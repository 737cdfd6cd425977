"""The line to the learner: it never waits, and a learner that dies is started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from metaclaw import link
from metaclaw.link import LearnerLink
from running_gateway import CHAT, client_of, opened, settings_for, until
from upstream_server import chat_body, upstream

COPIES_ITS_INPUT = "import sys\nwith open(sys.argv[1], 'a') as f:\n for line in sys.stdin: f.write(line); f.flush()"
NEVER_READS = "import time; time.sleep(60)"


@pytest.fixture(autouse=True)
def quick_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "RESTART_SECONDS", 0.05)


def instead_of_the_learner(monkeypatch: pytest.MonkeyPatch, *command: str) -> None:
    start = asyncio.create_subprocess_exec

    async def scripted(*_: str, **pipes: Any) -> asyncio.subprocess.Process:
        return await start(sys.executable, "-c", *command, **pipes)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", scripted)


def pid_of(line: LearnerLink) -> int:
    assert line._process
    return line._process.pid


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def test_a_learner_is_greeted_told_and_ended_with_its_input(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    heard = tmp_path / "heard"
    instead_of_the_learner(monkeypatch, COPIES_ITS_INPUT, str(heard))
    line = LearnerLink({"settings": {}})
    running = asyncio.create_task(line.run())
    await until(lambda: line.alive)
    for under_way in (1, 2, 3):
        line.activity(under_way)
    line.recorded()
    await until(lambda: heard.exists() and heard.read_text().count("\n") >= 4)
    told = [json.loads(text) for text in heard.read_text().splitlines()]
    first, then = {"under_way": 1}, {"under_way": 3, "recorded": True}
    assert told[:4] == [{"settings": {}}, {"under_way": 0}, first, then]
    await ended(running)
    assert line._process
    assert line._process.returncode == 0
    assert not line.alive


async def test_while_news_keeps_coming_it_is_told_more_and_more_seldom_but_for_what_is_urgent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = LearnerLink({})
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(line, "_send", lambda message: told.append(dict(message)))
    loop, pauses = asyncio.get_running_loop(), list[float]()

    def note(seconds: float, *_: object) -> asyncio.Future[None]:
        pauses.append(seconds)
        return loop.create_future()

    monkeypatch.setattr(loop, "call_later", note)
    for _ in range(6):
        line.recorded()
        line.recorded()
        line._tell()  # the pause is over
    assert len(told) == 7
    assert pauses[:6] == [link.TELL_SECONDS * 2**n for n in range(4)] + [link.MOST_TELL_SECONDS] * 2
    line.activity(2)
    assert len(told) == 7
    line.recorded(urgent=True)
    assert told[7:] == [{"under_way": 2, "recorded": True}]
    line._tell()  # nothing came: the next is told at once, and the pause is short again
    line.recorded()
    assert len(told) == 9
    assert pauses[-1] == link.TELL_SECONDS


async def test_a_stuck_learner_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    instead_of_the_learner(monkeypatch, NEVER_READS)
    monkeypatch.setattr(link, "STOP_SECONDS", 0.1)
    monkeypatch.setattr(link, "TELL_SECONDS", 0)
    line = LearnerLink({"padding": "x" * 1000})
    running = asyncio.create_task(line.run())
    await until(lambda: line.alive)
    async with asyncio.timeout(20):
        while not line.dropped:
            line.recorded()
            await asyncio.sleep(0)
    await ended(running)
    assert line._process
    assert line._process.returncode == -signal.SIGKILL


async def test_no_process_to_be_had_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: str, **__: Any) -> asyncio.subprocess.Process:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refused)
    line = LearnerLink({})
    running = asyncio.create_task(line.run())
    await until(lambda: line.starts >= 3)
    line.activity(1)
    await ended(running)
    assert line.dropped == 1


async def test_a_killed_learner_comes_back_and_requests_flow_meanwhile(tmp_path: Path) -> None:
    async with upstream() as scripted:
        settings = settings_for(tmp_path, scripted.url, evolve={"enabled": True, "proposer": "extractive"})
        async with opened(settings) as gateway, client_of(gateway) as http:
            line = gateway._link
            assert line
            await until(lambda: line.alive)
            first = pid_of(line)
            os.kill(first, signal.SIGKILL)
            for _ in range(20):
                async with http.post(CHAT, data=chat_body()) as reply:
                    assert reply.status == 200
            await until(lambda: line.starts == 2 and line.alive)
            assert pid_of(line) != first
            async with http.get("/healthz") as reply:
                health = await reply.json()
            assert (health["learner"], health["lost"]) == ("running", {})
        assert not line.alive
