"""An engine that is only being started gives way to who waits for a first word: stopped and let go, within bounds."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metaclaw.serving.courtesy import Courtesy
from metaclaw.upstream.route import Route, Router
from support import until

pytestmark = pytest.mark.skipif(not Path("/proc").exists(), reason="a process's state is read from /proc")
COUNTS = "import itertools\nfor _ in itertools.count(): pass"


@pytest.fixture
async def process() -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", COUNTS)
    yield process
    if process.returncode is None:
        process.kill()
    await process.wait()


def stopped(process: asyncio.subprocess.Process) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "T"


async def test_it_is_stopped_while_a_reply_is_awaited_and_at_no_other_time(process: asyncio.subprocess.Process) -> None:
    courtesy = Courtesy()
    with courtesy.while_starting(process):
        assert not stopped(process)
        courtesy.awaited(1)
        await until(lambda: stopped(process))
        courtesy.awaited(2)
        courtesy.awaited(1)
        assert stopped(process)
        courtesy.awaited(0)
        await until(lambda: not stopped(process))
        courtesy.awaited(1)
        await until(lambda: stopped(process))
    await until(lambda: not stopped(process))
    courtesy.awaited(2)
    assert not stopped(process)


async def test_who_waited_before_it_was_started_goes_first_as_well(process: asyncio.subprocess.Process) -> None:
    courtesy = Courtesy()
    courtesy.awaited(1)
    with courtesy.while_starting(process):
        await until(lambda: stopped(process))
    await until(lambda: not stopped(process))


async def test_after_so_many_seconds_in_all_it_loads_beside_them(process: asyncio.subprocess.Process) -> None:
    courtesy = Courtesy(most_seconds=0.2)
    with courtesy.while_starting(process):
        courtesy.awaited(1)
        await until(lambda: stopped(process))
        await until(lambda: not stopped(process))
        courtesy.awaited(0)
        courtesy.awaited(1)
        await asyncio.sleep(0.05)
        assert not stopped(process)


async def test_one_that_has_ended_stops_nobody(process: asyncio.subprocess.Process) -> None:
    courtesy = Courtesy()
    with courtesy.while_starting(process):
        process.kill()
        await process.wait()
        courtesy.awaited(1)
        courtesy.awaited(0)


async def test_a_router_tells_how_many_replies_have_not_begun() -> None:
    route = Route("http://a/v1", "p@base")
    router, told = Router(route), list[int]()
    router.on_awaited = told.append
    with router.lease(route) as first:
        first.asks()
        with pytest.raises(OSError, match="gone"), router.lease(route) as second:
            second.asks()
            raise OSError("gone")
        first.began()
        first.began()
    assert told == [1, 2, 1, 0]
