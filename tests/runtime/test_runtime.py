"""The whole process: killed under load, stopped, refused its port, started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from metaclaw.errors import MetaClawError
from metaclaw.runtime.gateway import Gateway
from running_gateway import CHAT, TOKEN, client_of, opened, settings_for, stored_turns, until
from upstream_server import DONE, ScriptedUpstream, chat_body, delta, streamed, upstream

BODY = chat_body("Hi", stream=True)
ENOUGH_TURNS = 400
CLIENTS = 24


@asynccontextmanager
async def started(
    folder: Path, scripted: ScriptedUpstream, **environment: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`python -m metaclaw start` in a process of its own, and where it listens; killed if it is still there."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "metaclaw", "start", "--port", "0", stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ, "HOME": str(folder), "METACLAW_DATA_DIR": str(folder), "METACLAW_GATEWAY__TOKEN": TOKEN,
            "METACLAW_UPSTREAM__URL": scripted.url, "METACLAW_TRAINING__ENABLED": "false", **environment,
        },
    )
    assert process.stderr
    try:
        async with asyncio.timeout(20):
            line = await process.stderr.readuntil(b"Ready: ")
        listens = re.search(r"listens on (\S+)/v1", line.decode())
        assert listens
        yield process, listens[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def ask_until_it_dies(url: str, finished: list[str]) -> None:
    """Streamed turns, one after the other; `finished` gets the id of each whose [DONE] came."""
    with contextlib.suppress(aiohttp.ClientError):
        async with aiohttp.ClientSession(url, headers={"authorization": f"Bearer {TOKEN}"}) as http:
            while True:
                async with http.post(CHAT, data=BODY) as reply:
                    seen = b""
                    async for chunk in reply.content.iter_any():
                        seen += chunk
                        if seen.endswith(DONE):
                            finished.append(reply.headers["x-metaclaw-turn"])


async def test_kill_9_under_load_loses_no_turn_that_a_client_saw_finish(tmp_path: Path) -> None:
    finished: list[str] = []
    async with upstream(streamed([delta("a"), delta("b", "stop"), DONE])) as scripted:
        async with started(tmp_path, scripted, METACLAW_EVOLVE__ENABLED="false") as (process, url):
            clients = [asyncio.create_task(ask_until_it_dies(url, finished)) for _ in range(CLIENTS)]
            await until(lambda: len(finished) >= ENOUGH_TURNS, 30)
            process.kill()
            await asyncio.gather(*clients)
        async with opened(settings_for(tmp_path, scripted.url)) as again, client_of(again) as http:
            async with http.post(CHAT, data=BODY) as reply:
                assert (await reply.read()).endswith(DONE)
                finished.append(reply.headers["x-metaclaw-turn"])
            kept = {turn.id: turn for turn in await asyncio.to_thread(stored_turns, tmp_path / "metaclaw.db")}
    assert len(set(finished)) > ENOUGH_TURNS
    assert [turn_id for turn_id in finished if turn_id not in kept] == []
    assert {kept[turn_id].reply for turn_id in finished} == {"ab"}


async def test_sigterm_ends_it_cleanly_with_its_learner(tmp_path: Path) -> None:
    answer = streamed([delta("a", "stop"), DONE])
    async with upstream(answer) as scripted, started(tmp_path, scripted) as (process, url):
        known = {"authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(url, headers=known) as http, http.post(CHAT, data=BODY) as reply:
            assert (await reply.read()).endswith(DONE)
        children = children_of(process.pid)
        assert len(children) == 1
        process.terminate()
        async with asyncio.timeout(10):
            assert await process.wait() == 0
        assert not [child for child in children if running(child)]


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_kill_9_leaves_no_learner_behind(tmp_path: Path) -> None:
    async with upstream() as scripted, started(tmp_path, scripted) as (process, _):
        children = children_of(process.pid)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await until(lambda: not [child for child in children if running(child)])


def running(pid: int) -> bool:
    """Whether it is there and no zombie: where nobody reaps orphans, a dead one stays listed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def test_a_port_in_use_is_told_and_nothing_stays_open(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = settings_for(tmp_path, "http://127.0.0.1:1/v1", gateway={"port": taken.getsockname()[1]})
        gateway = Gateway(settings, None)
        with pytest.raises(MetaClawError, match="choose another --port"):
            await gateway.__aenter__()
    assert not gateway._database._thread.is_alive()


async def test_stopping_waits_for_the_streams_under_way(tmp_path: Path) -> None:
    async with upstream() as scripted:
        goes_on = asyncio.Event()

        async def pieces() -> AsyncIterator[bytes]:
            yield delta("a")
            await goes_on.wait()
            yield delta("b", "stop") + DONE

        scripted.answer = streamed(pieces)
        gateway = Gateway(settings_for(tmp_path, scripted.url), None)
        await gateway.__aenter__()
        async with client_of(gateway) as http, http.post(CHAT, data=BODY) as reply:
            assert await reply.content.readuntil(b"\n\n") == delta("a")
            stopping = asyncio.create_task(gateway.__aexit__())
            await asyncio.sleep(0)
            goes_on.set()
            assert (await reply.read()).endswith(DONE)
        await stopping
    assert [turn.reply for turn in await asyncio.to_thread(stored_turns, tmp_path / "metaclaw.db")] == ["ab"]
