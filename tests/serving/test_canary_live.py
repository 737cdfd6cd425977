"""A whole gateway with two engines at once: HTTP servers of ours in the place of llama.cpp processes."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

import pytest

from metaclaw.errors import EngineError
from metaclaw.runtime.home import Home
from metaclaw.serving import local
from metaclaw.serving.promotion import roll_back_stale
from metaclaw.types import AdapterState
from running_gateway import stored_turns, until
from shell import Shell
from stand_in_engine import SHARE, StandIn, serving, settings_of


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StandIn, "running", [], raising=False)
    monkeypatch.setattr(StandIn, "started", [], raising=False)
    monkeypatch.setattr(StandIn, "broken", set(), raising=False)
    monkeypatch.setattr(StandIn, "most", 0)
    monkeypatch.setattr(local, "Engine", StandIn)


async def test_both_serve_at_once_and_a_session_stays_with_one(tmp_path: Path) -> None:
    async with serving(tmp_path) as live:
        a = live.adapter("a")
        await live.on_trial(a)
        first = await live.sides()
        assert set(first.values()) == {"tiny@base", f"tiny@{a}"}
        assert await live.sides() == first
        assert {await live.ask(session, x_metaclaw_side="bench") for session in first} == {"tiny@base"}
        written = await asyncio.to_thread(stored_turns, Home(settings_of(tmp_path)).store)
        assert Counter((turn.session, turn.policy) for turn in written if turn.kind == "main") == Counter(
            dict.fromkeys(first.items(), 2)
        )
        status = live.gateway.status()["adapter"]
        assert (status["canary"], status["canary_share"], status["serving"]) == (a, SHARE, None)
        live.promotions.pass_on(a, "no harm", {})
        await until(lambda: live.routes.state().serving == a)
        assert set((await live.sides()).values()) == {f"tiny@{a}"}
        assert StandIn.started == ["tiny@base", f"tiny@{a}"]  # no other engine for all than for the few


async def test_a_canary_is_taken_back_in_less_than_a_second_and_its_request_ends_where_it_began(tmp_path: Path) -> None:
    async with serving(tmp_path) as live:
        a = live.adapter("a")
        await live.on_trial(a)
        ours = next(session for session, policy in (await live.sides()).items() if policy == f"tiny@{a}")
        canary = StandIn.running[-1]
        under_way = asyncio.create_task(live.ask(ours, "hold"))
        await asyncio.wait_for(canary.held.wait(), 10)
        await asyncio.to_thread(live.promotions.roll_back)
        asked_at = time.monotonic()
        while await live.ask(ours) != "tiny@base":
            pass
        assert time.monotonic() - asked_at < 1.0
        assert canary.alive  # it finishes what it began
        canary.let_go.set()
        assert await under_way == f"tiny@{a}"
        await until(lambda: not canary.alive)


async def test_rolling_back_what_serves_all_takes_less_than_a_second_while_its_spare_is_there(
    tmp_path: Path, shell: Shell
) -> None:
    shell.data.mkdir(parents=True)
    async with serving(shell.data) as live:
        a = live.adapter("a")
        await live.on_trial(a)
        live.promotions.pass_on(a, "no harm", {})
        await until(lambda: live.routes.state().serving == a)
        code, out, _ = await asyncio.to_thread(shell, "adapters", "rollback", "--json")
        asked_at = time.monotonic()
        while await live.ask("s0") != "tiny@base":
            pass
        assert time.monotonic() - asked_at < 1.0
        assert (code, json.loads(out)) == (0, {"undone": a, "serves": None, "skills_back": []})
        assert StandIn.started == ["tiny@base", f"tiny@{a}"]


async def test_never_more_than_two_engines_and_a_spare_makes_room(tmp_path: Path) -> None:
    async with serving(tmp_path) as live:
        a = live.adapter("a")
        live.routes.want(a, "test")
        await until(lambda: live.routes.state().serving == a)
        assert [engine.policy for engine in StandIn.running] == ["tiny@base", f"tiny@{a}"]
        b = live.adapter("b", parent=a)
        await live.on_trial(b)
        assert [engine.policy for engine in StandIn.running] == [f"tiny@{a}", f"tiny@{b}"]
        c = live.adapter("c", parent=a)
        live.routes.want(c, "test")
        await until(lambda: live.routes.state().serving == c)
        await until(lambda: {engine.policy for engine in StandIn.running} == {f"tiny@{b}", f"tiny@{c}"})
        assert set((await live.sides()).values()) == {f"tiny@{b}", f"tiny@{c}"}
        assert StandIn.most == 2


async def test_what_was_wanted_while_a_swap_failed_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, spare_minutes=0) as live:
        a, b = live.adapter("a"), live.adapter("b")
        live.routes.want(a, "test")
        await until(lambda: live.routes.state().serving == a)

        async def probe(engine: StandIn) -> str:
            if engine.policy == f"tiny@{b}":
                raise EngineError("it does not answer")
            return "yes"

        ready = asyncio.Event()
        monkeypatch.setattr(StandIn, "ready", ready)
        monkeypatch.setattr(StandIn, "probe", probe)
        live.routes.want(b, "test")
        await until(lambda: StandIn.waiting == 1)
        roll_back_stale(live.routes, live.registry, [a, b])
        ready.set()
        await until(lambda: live.routes.state().serving is None)
        assert live.routes.state().wanted is None
        assert await live.ask("s") == "tiny@base"


async def test_without_time_for_a_spare_the_old_engine_ends(tmp_path: Path) -> None:
    async with serving(tmp_path, spare_minutes=0) as live:
        a = live.adapter("a")
        live.routes.want(a, "test")
        await until(lambda: [engine.policy for engine in StandIn.running] == [f"tiny@{a}"])
        assert await live.ask("s") == f"tiny@{a}"


async def test_a_canary_whose_engine_dies_is_taken_back_and_no_request_fails(tmp_path: Path) -> None:
    async with serving(tmp_path) as live:
        a = live.adapter("a")
        await live.on_trial(a)
        canary = StandIn.running[-1]
        await canary.stop()
        assert set((await live.sides()).values()) == {"tiny@base"}
        await until(lambda: live.routes.state().canary is None)
        assert live.registry.verdicts(a)[-1].decision == (
            f"rolled back: its engine died: the engine of tiny@{a} was ended by signal 9"
        )
        assert live.registry.get(a).state is AdapterState.ROLLED_BACK


async def test_a_canary_that_cannot_be_started_is_taken_back_and_the_next_one_is_tried(tmp_path: Path) -> None:
    async with serving(tmp_path) as live:
        a, b = live.adapter("a"), live.adapter("b")
        StandIn.broken.add(f"tiny@{a}")
        live.routes.begin_canary(a, SHARE, "test")
        live.promotions.offer(live.registry.get(b))
        await until(lambda: live.routes.state().canary_since is not None)
        assert live.routes.state().canary == b
        assert live.registry.verdicts(a)[-1].decision.startswith("rolled back: it could not be served")
        assert set((await live.sides()).values()) == {"tiny@base", f"tiny@{b}"}


async def test_a_gateway_that_starts_again_goes_on_with_the_trial(tmp_path: Path) -> None:
    async with serving(tmp_path) as live:
        a = live.adapter("a")
        await live.on_trial(a)
        first, since = await live.sides(), live.routes.state().canary_since
    assert StandIn.running == []
    async with serving(tmp_path) as live:
        await until(lambda: len(StandIn.running) == 2)
        assert await live.sides() == first
        assert live.routes.state().canary_since == since
