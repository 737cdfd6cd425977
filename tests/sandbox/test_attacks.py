"""Every attack, on both engines: nothing gets out, and the host is as it was."""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
import pytest_asyncio

from metaclaw.bench.sandbox import ATTACK_MARGIN_SECONDS, Host, attacked, attacked_plainly
from metaclaw.bench.sandbox_attacks import ATTACKS, Attack
from metaclaw.config.fast_loop import SandboxSettings
from metaclaw.sandbox import Call, Result, Sandbox
from processes import children

# One sandbox of each engine, and so one loop, for them all: an attack must also leave a sound sandbox to the next.
pytestmark = pytest.mark.asyncio(loop_scope="module")
SECONDS = 0.5
MEMORY_MB, OUTPUT_BYTES = 128, 4096


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["monty", "strong"])
async def sandbox(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    engine: Literal["monty", "strong"] = request.param
    before = children()
    settings = SandboxSettings(engine=engine, seconds=SECONDS, memory_mb=MEMORY_MB, output_bytes=OUTPUT_BYTES)
    sandbox = Sandbox(settings)
    try:
        if reason := (await sandbox.missing())[engine]:
            pytest.skip(reason)
        yield sandbox
    finally:
        await sandbox.close()
    assert children() - before == set()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_an_attack_gets_nothing(sandbox: Sandbox, attack: Attack) -> None:
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    await sandbox.warm_up()
    started = time.monotonic()
    leak, result = await attacked(sandbox, attack, SECONDS)
    assert leak == ""
    assert time.monotonic() - started < SECONDS + ATTACK_MARGIN_SECONDS
    if result is not None:
        assert len(result.stdout.encode()) <= OUTPUT_BYTES
        assert result.ok or result.error
        if attack.stopped and result.error.find("Error") < 0:
            assert result.ended_by in ("time", "memory", "output")
    now = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # a child begins as a copy of us, which counts as its own
    assert now <= max(largest, ours, (MEMORY_MB + 64) * 1024)


async def test_after_all_that_the_sandbox_still_serves(sandbox: Sandbox) -> None:
    result = await sandbox.run(Call("def double(n: int) -> int:\n    return 2 * n\n", "double", {"n": 21}))
    assert (result.ok, result.value) == (True, 42)


@pytest.mark.skipif(sys.platform != "linux", reason="some are after what only Linux has")
@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if attack.plain], ids=lambda attack: attack.name)
async def test_without_a_sandbox_the_attack_works(attack: Attack) -> None:
    assert await attacked_plainly(attack) != ""


async def test_a_leak_would_be_noticed() -> None:
    """The judge itself: each way in which something can leak is seen."""

    def result(**changes: Any) -> Result:
        fields: dict[str, Any] = {"ok": False, "value": None, "stdout": "", "error": "no", "seconds": 0.0, "engine": ""}
        return Result(**(fields | changes))

    async with Host() as host:
        assert host.leak(result()) == ""
        assert host.leak(result(ok=True, value=False)) == ""
        assert host.leak(result(ok=True, value=["etc"]))
        assert host.leak(result(stdout=f"so: {Host.SECRET}"))
        assert host.leak(result(error=f"no file {asyncio.__file__}"))
        host.path.write_text("else", encoding="utf-8")
        assert host.leak(result())
    async with Host() as host:
        _, writer = await asyncio.open_connection("127.0.0.1", host.port)
        writer.close()
        await writer.wait_closed()
        assert host.leak(result())


async def test_there_are_enough_of_them() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 30
