"""A whole gateway whose engines die, or for which there is too little memory: requests go on, and it is told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientTimeout

from metaclaw.runtime import engines
from metaclaw.runtime.engines import Embedded
from metaclaw.runtime.gateway import Gateway
from metaclaw.serving import local
from metaclaw.serving.engine import Engine
from metaclaw.serving.memory import MIB, Memory
from metaclaw.serving.promotion import admitted
from metaclaw.serving.restarts import Restarts
from metaclaw.types import AdapterState
from metaclaw.upstream import route
from running_gateway import client_of, until
from small_adapter import write_adapter
from stand_in_engine import Live, StandIn, serving, settings_of

PATIENT = ClientTimeout(total=120)


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StandIn, "running", [], raising=False)
    monkeypatch.setattr(StandIn, "started", [], raising=False)
    monkeypatch.setattr(StandIn, "broken", set(), raising=False)
    monkeypatch.setattr(StandIn, "most", 0)
    monkeypatch.setattr(local, "Engine", StandIn)


class Machine:
    """A /proc of our own, in which memory comes and goes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "self").mkdir(parents=True)
        self.leave(100_000)

    def leave(self, mib: int) -> None:
        new = self.folder / "new"
        new.write_text(f"MemAvailable: {mib * 1024} kB\n")
        new.replace(self.folder / "meminfo")
        (self.folder / str(os.getpid())).mkdir(exist_ok=True)
        (self.folder / str(os.getpid()) / "status").write_text(f"VmHWM: {300 * 1024} kB\nVmRSS: {200 * 1024} kB\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path / "proc")
    monkeypatch.setattr(engines, "Memory", lambda: Memory(machine.folder, machine.folder / "no-groups"))
    return machine


async def metric(live: Live, name: str) -> float:
    async with live.http.get("/metrics") as reply:
        lines = (await reply.text()).splitlines()
    return float(next(line for line in lines if line.startswith(f"metaclaw_{name}")).rsplit(" ", 1)[1])


@pytest.mark.usefixtures("stand_ins")
async def test_a_request_in_an_engine_that_dies_is_answered_by_the_next_one(tmp_path: Path) -> None:
    async with serving(tmp_path) as live:
        first = StandIn.running[0]
        under_way = asyncio.create_task(live.ask("s", "hold"))
        await asyncio.wait_for(first.held.wait(), 10)
        await first.die()
        StandIn.running.remove(first)
        asked_meanwhile = asyncio.create_task(live.ask("t"))
        await until(lambda: len(StandIn.started) == 2)
        StandIn.running[0].let_go.set()
        assert set(await asyncio.gather(under_way, asked_meanwhile)) == {"tiny@base"}
        engines = live.gateway.status()["engines"]
        assert (engines["ended"], engines["last_failure"]) == (1, "the engine of tiny@base was ended by signal 9")
        assert [one["role"] for one in engines["running"]] == ["serving"]
        assert await metric(live, "engine_ended_total") == 1


@pytest.mark.usefixtures("stand_ins")
async def test_one_that_dies_while_another_starts_is_noticed_and_requests_wait_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as live:
        a = live.adapter("a")
        ready = asyncio.Event()
        monkeypatch.setattr(StandIn, "ready", ready)
        live.routes.want(a, "test")
        await until(lambda: StandIn.waiting == 1)
        await StandIn.running.pop().die()
        await until(lambda: live.gateway.health()["status"] == "loading")
        asked = asyncio.create_task(live.ask("s"))
        ready.set()
        assert await asked == f"tiny@{a}"
        assert live.gateway.status()["engines"]["ended"] == 1


@pytest.mark.usefixtures("stand_ins")
async def test_while_none_comes_back_the_client_is_told_when_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "PATIENCE_SECONDS", 0.2)
    async with serving(tmp_path) as live:
        StandIn.broken.add("tiny@base")
        first = StandIn.running.pop()
        await first.die()
        body = {"model": "m", "messages": [{"role": "user", "content": "Hello."}]}
        await until(lambda: live.gateway.health()["status"] == "loading")
        async with live.http.post("/v1/chat/completions", json=body) as reply:
            assert (reply.status, reply.headers["retry-after"]) == (503, "2")
            assert (await reply.json())["error"]["code"] == "engine_restarting"
        await until(lambda: live.gateway.status()["engines"]["next_start_in_seconds"] > 0)  # it does not spin
        StandIn.broken.clear()
        await until(lambda: live.gateway.health()["status"] == "ok")
        assert await live.ask("s") == "tiny@base"


@pytest.mark.usefixtures("stand_ins")
async def test_an_adapter_that_does_not_come_back_gives_way_to_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Restarts, "seconds_left", lambda self, now: 0.0)
    async with serving(tmp_path, spare_minutes=0) as live:
        a = live.adapter("a")
        live.routes.want(a, "test")
        await until(lambda: [engine.policy for engine in StandIn.running] == [f"tiny@{a}"])
        StandIn.broken.add(f"tiny@{a}")
        await StandIn.running.pop().die()
        await until(lambda: live.gateway.health()["policy"] == "tiny@base")
        assert live.routes.state().wanted is None
        assert await live.ask("s") == "tiny@base"
        assert live.registry.verdicts(a)[-1].decision.startswith("rolled back: its engine does not come back: ")
        assert live.registry.get(a).state is AdapterState.ROLLED_BACK


@pytest.mark.usefixtures("stand_ins")
async def test_an_adapter_whose_engine_dies_at_its_first_words_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as live:
        lineage = {"parity": {"prompt": "Hello.", "reply": "Hello to you."}}
        a = live.registry.register(write_adapter(tmp_path / "a"), "tiny", None, lineage).name

        async def probe(engine: StandIn) -> str:
            await engine.die()
            return "yes"

        monkeypatch.setattr(StandIn, "probe", probe)
        live.routes.want(a, "test")
        await until(lambda: live.routes.state().wanted is None)
        assert f"The engine of '{a}' does not answer" in live.routes.state().detail
        assert await live.ask("s") == "tiny@base"


@pytest.mark.usefixtures("stand_ins")
async def test_a_swap_for_which_there_is_no_memory_is_refused_with_its_reason_stored(
    tmp_path: Path, machine: Machine
) -> None:
    async with serving(tmp_path, reserve_memory_mb=512) as live:
        a = live.adapter("a")
        machine.leave(811)  # an engine held 300 at most, and 512 stay free
        live.routes.want(a, "test")
        await until(lambda: live.gateway.status()["engines"]["swaps_refused"] == 1)
        why = "not enough memory for a second engine: 811 MB are left, it takes 300 MB, and 512 MB stay free"
        assert why in live.routes.state().detail
        assert live.registry.verdicts(a)[-1].decision == f"refused: {why} (serving.reserve_memory_mb)"
        assert (live.routes.state().wanted, StandIn.started) == (None, ["tiny@base"])
        assert await live.ask("s") == "tiny@base"
        assert await metric(live, "swaps_refused_total") == 1
        assert await metric(live, "memory_available_bytes") == 811 * MIB
        machine.leave(812)
        assert admitted(live.registry.verdicts(a))  # nothing speaks against it
        live.promotions.serve(a, at_once=True)
        await until(lambda: live.routes.state().serving == a)


@pytest.mark.usefixtures("stand_ins")
async def test_a_canary_for_which_there_is_no_memory_is_refused(tmp_path: Path, machine: Machine) -> None:
    async with serving(tmp_path) as live:
        a = live.adapter("a")
        machine.leave(700)
        live.promotions.offer(live.registry.get(a))
        await until(lambda: live.routes.state().canary is None)
        assert live.registry.verdicts(a)[-1].decision.startswith("refused: not enough memory")
        assert live.registry.get(a).state is AdapterState.ROLLED_BACK
        assert StandIn.started == ["tiny@base"]


@pytest.mark.usefixtures("stand_ins")
async def test_a_canary_for_which_the_system_gives_no_process_is_refused_and_the_old_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as live:
        a = live.adapter("a")
        monkeypatch.setattr(local, "Engine", Engine)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
        live.promotions.offer(live.registry.get(a))
        await until(lambda: live.routes.state().canary is None)
        assert live.registry.verdicts(a)[-1].decision.startswith(f"refused: The engine for tiny@{a} cannot be started")
        assert admitted(live.registry.verdicts(a))
        assert await live.ask("s") == "tiny@base"


@pytest.mark.usefixtures("stand_ins")
async def test_where_memory_runs_out_the_spare_goes_and_then_the_canary(tmp_path: Path, machine: Machine) -> None:
    async with serving(tmp_path, reserve_memory_mb=512) as live:
        a = live.adapter("a")
        live.routes.want(a, "test")
        await until(lambda: live.routes.state().serving == a)
        assert [one["role"] for one in live.gateway.status()["engines"]["running"]] == ["serving", "spare"]
        machine.leave(255)
        await until(lambda: [engine.policy for engine in StandIn.running] == [f"tiny@{a}"])
        machine.leave(100_000)
        b = live.adapter("b", parent=a)
        await live.on_trial(b)
        machine.leave(255)
        await until(lambda: live.routes.state().canary is None)
        assert live.registry.verdicts(b)[-1].decision == "refused: memory runs out: 255 MB are left"
        assert set((await live.sides()).values()) == {f"tiny@{a}"}


@pytest.mark.model
async def test_the_real_engine_is_killed_under_load(tmp_path: Path, smollm2_gguf: Path, nothing_left: None) -> None:
    pytest.importorskip("xllamacpp")
    body: dict[str, Any] = {
        "model": "m", "messages": [{"role": "user", "content": "Tell me about the sea."}], "max_tokens": 8,
    }
    async with Gateway(settings_of(tmp_path), Embedded("smol", str(smollm2_gguf))) as gateway:
        await gateway.ready()
        async with client_of(gateway) as http:

            async def whole() -> tuple[int, str]:
                async with http.post("/v1/chat/completions", json=body, timeout=PATIENT) as reply:
                    return reply.status, reply.headers.get("x-metaclaw-policy", "")

            async def streamed() -> bytes:
                async with http.post("/v1/chat/completions", json={**body, "stream": True}, timeout=PATIENT) as reply:
                    assert reply.status == 200
                    return await reply.read()

            wholes = [asyncio.create_task(whole()) for _ in range(4)]
            streams = [asyncio.create_task(streamed()) for _ in range(4)]
            await until(lambda: gateway.status()["in_flight"] == 8)
            [engine] = gateway.status()["engines"]["running"]
            assert engine["resident_bytes"] > 50 * MIB
            os.kill(engine["pid"], signal.SIGKILL)
            assert await asyncio.gather(*wholes) == [(200, "smol@base")] * 4
            for raw in await asyncio.gather(*streams):
                *_, last = [line for line in raw.splitlines() if line.startswith(b"data: ")]
                assert last == b"data: [DONE]" or json.loads(last[6:])["error"]["code"] == "upstream_broke_off"
            after = gateway.status()["engines"]
            assert after["ended"] == 1
            assert "was ended by signal 9" in after["last_failure"]
            assert after["running"][0]["pid"] != engine["pid"]
            assert await whole() == (200, "smol@base")
