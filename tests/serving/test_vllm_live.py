"""A whole gateway before a server that does as vLLM does with adapters (`vllm_server`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from pydantic import ValidationError

from judged_adapters import admitted_adapter
from metaclaw.config.settings import Settings
from metaclaw.errors import EngineError
from metaclaw.runtime.engines import Embedded
from metaclaw.runtime.gateway import Gateway
from metaclaw.runtime.home import Home
from metaclaw.serving import vllm as engines
from metaclaw.serving.promotion import Promotions
from metaclaw.serving.restarts import Restarts
from metaclaw.serving.routes import Routes
from metaclaw.store import Database
from metaclaw.training.registry import Registry
from metaclaw.types import AdapterState
from running_gateway import TOKEN, client_of, until
from vllm_server import VllmServer, vllm


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(engines, "WAIT_SECONDS", 0.05)


class Live:
    def __init__(self, gateway: Gateway, http: ClientSession, database: Database, settings: Settings) -> None:
        self.gateway, self.http, self.home = gateway, http, Home(settings)
        self.routes = Routes(database, "default")
        self.registry = Registry(database, "default", self.home.adapters)
        self.promotions = Promotions(self.routes, self.registry, 0.5)

    def adapter(self, name: str, parent: str | None = None) -> str:
        return admitted_adapter(self.registry, self.home.store.parent, name, parent).name

    async def serve(self, adapter: str | None) -> None:
        self.routes.want(adapter, "test")
        await until(lambda: self.routes.state().serving == adapter)

    async def ask(self, session: str = "s", text: str = "Hello.") -> tuple[str, str]:
        """The policy that answered, and what: the server says the folder's name of the weights that it used."""
        body = {"model": "m", "messages": [{"role": "user", "content": text}]}
        async with self.http.post("/v1/chat/completions", json=body, headers={"x-session-id": session}) as reply:
            assert reply.status == 200, await reply.text()
            return reply.headers["x-metaclaw-policy"], (await reply.json())["choices"][0]["message"]["content"]

    async def stream(self, session: str) -> tuple[str, set[str], str]:
        """The policy, the names in its events, and the text."""
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello."}]}
        async with self.http.post("/v1/chat/completions", json=body, headers={"x-session-id": session}) as reply:
            lines = [line[6:] for line in (await reply.read()).splitlines() if line.startswith(b"data: ")]
        assert lines[-1] == b"[DONE]"
        events = [json.loads(line) for line in lines[:-1]]
        text = "".join(event["choices"][0]["delta"]["content"] for event in events)
        return reply.headers["x-metaclaw-policy"], {event["model"] for event in events}, text


def settings_of(folder: Path, url: str, **serving: Any) -> Settings:
    return Settings.model_validate({
        "data_dir": str(folder), "gateway": {"port": 0, "token": TOKEN}, "evolve": {"enabled": False},
        "training": {"enabled": False},
        "serving": {"engine": "vllm", "vllm_url": url, "canary_share": 0.5, "spare_minutes": 0, **serving},
    })


@asynccontextmanager
async def before(server: VllmServer, folder: Path, **serving: Any) -> AsyncIterator[Live]:
    settings = settings_of(folder, server.url, **serving)
    async with Gateway(settings, Embedded("tiny", "unused.gguf")) as gateway:
        await asyncio.wait_for(gateway.ready(), 20)
        async with client_of(gateway) as http:
            with Database(Home(settings).store) as database:
                yield Live(gateway, http, database, settings)


async def test_base_trial_and_all_under_names_of_their_own(tmp_path: Path) -> None:
    async with vllm(api_key="a-key-of-vllm") as server, before(server, tmp_path, vllm_api_key="a-key-of-vllm") as live:
        assert await live.ask() == ("tiny@base", "tiny-instruct")
        a = live.adapter("a")
        live.promotions.offer(live.registry.get(a))
        await until(lambda: live.routes.state().canary_since is not None)
        sides = {session: await live.ask(session) for session in map(str, range(16))}
        assert set(sides.values()) == {("tiny@base", "tiny-instruct"), (f"tiny@{a}", a)}
        assert {session: await live.ask(session) for session in sides} == sides
        [name] = server.names
        assert name.startswith(f"tiny@{a}.")
        live.promotions.pass_on(a, "no harm", {})
        await until(lambda: live.routes.state().serving == a)
        assert server.names == [name]  # it was there already
        engines_told = live.gateway.status()["engines"]
        assert (engines_told["kind"], engines_told["running"]) == (
            "vllm", [{"role": "serving", "policy": f"tiny@{a}", "name": name}]
        )
    assert server.unloaded == [name]


async def test_a_stream_ends_on_the_adapter_it_began_with_which_is_unloaded_only_then(tmp_path: Path) -> None:
    async with vllm() as server, before(server, tmp_path) as live:
        a, b = live.adapter("a"), live.adapter("b")
        await live.serve(a)
        under_way = asyncio.create_task(live.stream("s"))
        await asyncio.wait_for(server.held.wait(), 10)
        await live.serve(b)
        assert (await live.ask())[1] == b
        await asyncio.sleep(0.3)  # time in which a host that does not wait would have unloaded it
        assert server.unloaded == []
        server.let_go.set()
        assert await under_way == (f"tiny@{a}", {server.names[0]}, f"{a} to the end")
        await until(lambda: server.unloaded == [server.names[0]])
        assert server.unloaded_in_use == []


async def test_a_name_never_comes_twice_and_no_answer_is_another_adapters(tmp_path: Path) -> None:
    async with vllm() as server, before(server, tmp_path) as live:
        a, b = live.adapter("a"), live.adapter("b")
        for adapter in (a, b, a, None, b, a):
            await live.serve(adapter)
            assert await live.ask() == (f"tiny@{adapter or 'base'}", adapter or "tiny-instruct")
        assert len(set(server.names)) == len(server.names) == 5
        await until(lambda: list(server.loaded) == [server.names[-1]])


async def test_a_server_that_was_started_again_gets_its_adapter_again(tmp_path: Path) -> None:
    async with vllm() as server, before(server, tmp_path) as live:
        a = live.adapter("a")
        await live.serve(a)
        server.restart()
        await until(lambda: live.gateway.status()["engines"]["ended"] == 1)
        assert await live.ask() == (f"tiny@{a}", a)  # it waited
        assert len(set(server.names)) == 2
        assert "does not serve" in live.gateway.status()["engines"]["last_failure"]


@pytest.mark.parametrize("away", [True, 502])
async def test_a_server_that_is_away_for_long_costs_no_adapter_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: bool | int
) -> None:
    monkeypatch.setattr(Restarts, "seconds_left", lambda self, now: 0.0)
    async with vllm() as server, before(server, tmp_path) as live:
        a = live.adapter("a")
        await live.serve(a)
        server.away = away
        server.restart()
        await until(lambda: server.turned_away > 20)
        server.away = False
        assert await live.ask() == (f"tiny@{a}", a)
        assert (live.routes.state().wanted, live.registry.get(a).state) == (a, AdapterState.PROMOTED)


@pytest.mark.parametrize("away", [True, 502])
async def test_what_is_asked_for_while_it_is_away_is_done_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: bool | int
) -> None:
    async with vllm() as server, before(server, tmp_path) as live:
        a = live.adapter("a")
        b = live.adapter("b", parent=a)
        await live.serve(a)
        monkeypatch.setattr(engines, "LOOK_SECONDS", 60.0)  # it is not seen yet that it is away
        server.away = away
        live.promotions.offer(live.registry.get(b))
        await until(lambda: server.turned_away > 2)
        server.away = False
        await until(lambda: live.routes.state().canary_since is not None)
        server.away = away
        assert live.promotions.roll_back() == (b, a)
        assert live.promotions.roll_back() == (a, None)
        before_that = server.turned_away
        await until(lambda: server.turned_away > before_that + 2)
        server.away = False
        await until(lambda: live.routes.state().serving is None)
        assert live.routes.state().wanted is None


async def test_an_adapter_that_ends_the_server_when_it_is_loaded_gives_way_to_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Restarts, "seconds_left", lambda self, now: 0.0)
    async with vllm() as server, before(server, tmp_path) as live:
        a = live.adapter("a")
        await live.serve(a)
        server.deadly = a
        server.restart()
        await until(lambda: live.routes.state().wanted is None)
        assert await live.ask() == ("tiny@base", "tiny-instruct")
        assert live.registry.verdicts(a)[-1].decision.startswith(
            "rolled back: its engine does not come back: vLLM does not load"
        )


async def test_a_trial_goes_on_when_the_server_was_started_again(tmp_path: Path) -> None:
    async with vllm() as server, before(server, tmp_path) as live:
        a = live.adapter("a")
        b = live.adapter("b", parent=a)
        await live.serve(a)
        live.promotions.offer(live.registry.get(b))
        await until(lambda: live.routes.state().canary_since is not None)
        server.restart()
        await until(lambda: len(server.names) == 4)
        assert live.routes.state().canary == b
        assert {await live.ask(str(number)) for number in range(16)} == {(f"tiny@{a}", a), (f"tiny@{b}", b)}


async def test_while_it_is_not_well_nothing_is_sent_there(tmp_path: Path) -> None:
    async with vllm() as server, before(server, tmp_path) as live:
        server.well = False
        await until(lambda: live.gateway.health()["status"] == "loading")
        asked = asyncio.create_task(live.ask())
        server.well = True
        assert await asked == ("tiny@base", "tiny-instruct")


async def test_a_gateway_takes_over_what_an_earlier_one_left_and_unloads_the_rest(tmp_path: Path) -> None:
    async with vllm(max_cpu_loras=8) as server:
        async with before(server, tmp_path) as live:
            a, b = live.adapter("a"), live.adapter("b")
            await live.serve(a)
        folder = live.home.adapters
        server.loaded |= {
            f"tiny@{a}.1": str(folder / a), f"tiny@{b}.2": str(folder / b), "somebody-elses": str(folder / b),
            "tiny@far": "/other/adapters/far",
        }
        async with before(server, tmp_path) as live:
            assert await live.ask() == (f"tiny@{a}", a)
            assert set(server.loaded) == {f"tiny@{a}.1", "somebody-elses", "tiny@far"}


@pytest.mark.parametrize(
    ("server_settings", "serving", "told"),
    [
        pytest.param({"allows_updating": False}, {}, "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True", id="not allowed"),
        pytest.param({"max_lora_rank": 4}, {}, "HTTP 500, LoRA rank 8 is greater than", id="rank"),
        pytest.param({}, {"vllm_adapters_dir": "/elsewhere"}, "No adapter found for /elsewhere/default/", id="path"),
    ],
)
async def test_what_vllm_refuses_is_stored_and_the_base_goes_on(
    tmp_path: Path, server_settings: dict[str, Any], serving: dict[str, Any], told: str
) -> None:
    async with vllm(**server_settings) as server, before(server, tmp_path, **serving) as live:
        a = live.adapter("a")
        live.routes.want(a, "test")
        await until(lambda: live.routes.state().wanted is None)
        assert told in live.routes.state().detail
        assert await live.ask() == ("tiny@base", "tiny-instruct")


async def test_a_wrong_key_is_told_at_the_start(tmp_path: Path) -> None:
    async with (
        vllm(api_key="a-key-of-vllm") as server,
        Gateway(settings_of(tmp_path, server.url), Embedded("tiny", "unused.gguf")) as gateway,
    ):
        with pytest.raises(EngineError, match=r"serving\.vllm_api_key"):
            await asyncio.wait_for(gateway.ready(), 20)


def test_the_settings_name_the_server_and_no_provider(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"serving\.vllm_url"):
        Settings.model_validate({"serving": {"engine": "vllm"}})
    with pytest.raises(ValidationError, match=r"leave upstream\.url"):
        Settings.model_validate({
            "serving": {"engine": "vllm", "vllm_url": "http://a/v1"}, "upstream": {"url": "http://b/v1"},
        })
