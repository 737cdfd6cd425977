"""The whole circle with a scripted model: plumbing, not learning.

An OpenAI client talks to the gateway; the scripted provider gets the convention right only when the skill is in its
prompt or the adapter is asked. What must happen in between is ours: failure, skill, proof, dataset, gate, promotion.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from metaclaw.config.loading import load
from metaclaw.context.embed import StaticEmbedder
from metaclaw.evolve.lessons import Lessons
from metaclaw.evolve.loop import FastLoop
from metaclaw.evolve.progress import settled
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.runtime.asking import AskAgain
from metaclaw.runtime.gateway import Gateway
from metaclaw.scheduler.scheduler import Scheduler
from metaclaw.scheduler.windows import Rule
from metaclaw.serving.promotion import Promotions
from metaclaw.serving.routes import Routes
from metaclaw.store import Database
from metaclaw.training.job import TrainingJob
from metaclaw.training.job_folder import TOLD
from metaclaw.training.jobs import Jobs
from metaclaw.training.judging import Judging
from metaclaw.training.registry import Registry
from metaclaw.training.selection import Evidence
from metaclaw.types import AdapterState, SkillState
from metaclaw.upstream.client import UpstreamClient
from support import make_skill, support_turns

RIGHT, WRONG = "20260304_budget.md", "budget.md"
QUESTION = "Suggest a file name for the notes of the {} on 4 March 2026."
CORRECTION = (
    "No, that is not how we name files. A file name starts with the date as YYYYMMDD, then an underscore. It should"
    f" have been `{RIGHT}`."
)


def scripted_reply(body: dict[str, Any]) -> str:
    """Right exactly where the learned rule is in the system prompt."""
    first = body["messages"][0]
    return RIGHT if first["role"] == "system" and "YYYYMMDD" in first["content"] else WRONG


@pytest.fixture
async def provider() -> AsyncIterator[str]:
    async def complete(request: web.Request) -> web.Response:
        reply = {"role": "assistant", "content": scripted_reply(await request.json())}
        return web.json_response({"model": "m", "choices": [{"index": 0, "message": reply, "finish_reason": "stop"}]})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()


class ScriptedArena:
    """The candidate has learned the rule; the incumbent has not. Neither lets it leak into other answers."""

    async def ask(self, body: dict[str, Any], *, candidate: bool) -> str:
        asked = body["messages"][-1]["content"]
        return (RIGHT if candidate else WRONG) if "file name for the notes" in asked else "Paris."

    def pause(self) -> None: ...

    def resume(self) -> None: ...


@asynccontextmanager
async def open_arena(candidate: Path, incumbent: str | None) -> AsyncIterator[ScriptedArena]:
    assert candidate.exists()
    yield ScriptedArena()


class Client:
    def __init__(self, http: aiohttp.ClientSession, gateway: Gateway) -> None:
        self._http = http
        self._url = gateway.url
        self._headers = {"authorization": f"Bearer {gateway.token}"}

    async def ask(self, subject: str, session: str) -> tuple[str, str, str]:
        """Reply, turn id, and the skills that were injected."""
        body = {"model": "m", "messages": [{"role": "user", "content": QUESTION.format(subject)}]}
        headers = {**self._headers, "x-session-id": session}
        async with self._http.post(f"{self._url}/v1/chat/completions", json=body, headers=headers) as reply:
            assert reply.status == 200
            text = (await reply.json())["choices"][0]["message"]["content"]
            return text, reply.headers["x-metaclaw-turn"], reply.headers["x-metaclaw-skills"]

    async def feedback(self, **body: Any) -> None:
        async with self._http.post(f"{self._url}/v1/feedback", json=body, headers=self._headers) as reply:
            assert reply.status == 200

    async def complete(self, body: dict[str, Any]) -> str:
        """How the learner asks: a side call without skills."""
        headers = {**self._headers, "x-metaclaw-side": "learner", "x-metaclaw-skills": "off"}
        async with self._http.post(f"{self._url}/v1/chat/completions", json=body, headers=headers) as reply:
            return str((await reply.json())["choices"][0]["message"]["content"])


@asynccontextmanager
async def one_skill_learned(provider: str, folder: Path) -> AsyncIterator[tuple[Gateway, Client, Database, Catalog]]:
    """A gateway whose learner's parts run here, in the test's own process."""
    settings = load(flags={
        "data_dir": str(folder), "gateway": {"port": 0}, "upstream": {"url": provider},
        "evolve": {"enabled": False}, "training": {"enabled": False},
    })
    async with Gateway(settings, None) as gateway, aiohttp.ClientSession() as http:
        client = Client(http, gateway)
        with Database(folder / "metaclaw.db") as database:
            catalog = Catalog(database, "default", folder / "skills")
            await learn_the_skill(client, database, catalog)
            yield gateway, client, database, catalog


async def work_a_day(client: Client, database: Database, catalog: Catalog) -> None:
    await use_the_skill(client)
    loop = fast_loop(database, catalog, client)
    while loop.intake():
        pass


async def test_a_failure_becomes_a_skill_and_the_skill_becomes_weights(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # for the child `fake_trainer`
    async with one_skill_learned(provider, tmp_path) as (_, client, database, catalog):
        job, registry, routes = training(tmp_path, database, catalog, client)
        assert not job.ready()
        await work_a_day(client, database, catalog)
        assert job.ready()
        await train_while_idle(job)
        assert [row[0] for row in database.read("SELECT state FROM jobs")] == ["done"]
        check_promotion(tmp_path, registry, routes, catalog, database)


async def test_a_change_of_the_library_late_in_the_day_does_not_cost_the_day(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    async with (
        one_skill_learned(provider, tmp_path) as (gateway, client, database, catalog),
        UpstreamClient(5.0, 5.0) as upstream,
    ):
        await work_a_day(client, database, catalog)
        before = {turn_id for turn_id, in database.read("SELECT id FROM turns")}
        catalog.publish(make_skill("tabs", "Indent with tabs."), SkillState.ACTIVE, "late", [])
        forgetful, _, _ = training(tmp_path, database, catalog, client)
        assert not forgetful.ready()
        again = AskAgain(upstream, gateway.url, gateway.token)
        job, registry, routes = training(tmp_path, database, catalog, client, again)
        assert job.ready()
        await train_while_idle(job)
        check_promotion(tmp_path, registry, routes, catalog, database)
        [adapter] = registry.all()
        entered = [row for row in adapter.lineage["manifest"] if row["split"] in ("train", "query")]
        assert {row["reason"] for row in entered} == {"asked again, and proven by its signals (check)"}
        asked = "SELECT kind, session, skills FROM turns WHERE id = ?"
        for row in entered:
            assert row["turn_id"] not in before
            [(kind, session, skills)] = database.read(asked, (row["turn_id"],))
            assert (kind, session[:5]) == ("side", "work-")
            assert skills != "[]"
        assert not job.ready()


async def learn_the_skill(client: Client, database: Database, catalog: Catalog) -> None:
    text, turn_id, skills = await client.ask("budget", "lesson")
    assert (text, skills) == (WRONG, "")
    await client.feedback(turn_id=turn_id, score=-1, text=CORRECTION, check={"pattern": r"\d{8}_\w+\.md"})
    loop = fast_loop(database, catalog, client)
    loop.intake()
    [skill] = catalog.live()
    assert skill.state is SkillState.TRIAL
    text, _, skills = await client.ask("budget", "the very next request")
    assert (text, skills) == (RIGHT, skill.ref)
    await settle(loop, database)
    [skill] = catalog.live()
    assert skill.state is SkillState.ACTIVE
    [verdict] = catalog.verdicts(skill.ref)
    assert verdict.effect == 1.0
    assert catalog.support_of(skill) == [turn_id]


async def use_the_skill(client: Client) -> None:
    for number in range(24):
        text, turn_id, _ = await client.ask(f"budget {number}", f"work-{number}")
        assert text == RIGHT
        await client.feedback(turn_id=turn_id, score=1, check={"pattern": r"\d{8}_\w+\.md"})


def fast_loop(database: Database, catalog: Catalog, client: Client) -> FastLoop:
    embed = StaticEmbedder().embed
    lessons = Lessons(database, catalog, client.complete, embed, Redactor(), "auto", 800)
    return FastLoop(database, catalog, lessons, embed)


async def settle(loop: FastLoop, database: Database) -> None:
    worker = asyncio.create_task(loop.verify_pending())
    async with asyncio.timeout(10):
        while not settled(database, "default"):
            await asyncio.sleep(0.01)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)


def training(
    folder: Path, database: Database, catalog: Catalog, client: Client, ask_again: AskAgain | None = None
) -> tuple[TrainingJob, Registry, Routes]:
    base = folder / "base.gguf"
    base.write_bytes(b"weights")
    registry = Registry(database, "default", folder / "adapters")
    routes = Routes(database, "default")
    job = TrainingJob(
        database=database,
        namespace="default",
        settings=load(flags={"training": {"min_new_turns": 20}}).training,
        base_model="scripted",
        base_gguf=base,
        prepared_dir=folder / "prepared",
        jobs=Jobs(database, "default", folder / "jobs"),
        ask=client.complete,
        evidence=lambda: Evidence(catalog.generation()),
        judging=Judging(
            registry, "scripted", lambda: routes.state().wanted, open_arena, Promotions(routes, registry, 0.0).offer
        ),
        ask_again=ask_again,
        prepare_module="fake_trainer",
        trainer_module="fake_trainer",
    )
    return job, registry, routes


class WatchedJob:
    """The job, and whether it calls itself ready again in the moment that it ends."""

    def __init__(self, job: TrainingJob) -> None:
        self._job = job
        self.ready, self.pause, self.resume = job.ready, job.pause, job.resume
        self.ready_at_its_end: list[bool] = []
        self.ended = asyncio.Event()

    async def run(self) -> None:
        try:
            await self._job.run()
            self.ready_at_its_end.append(self._job.ready())
        finally:
            self.ended.set()


async def train_while_idle(job: TrainingJob) -> None:
    clock = [datetime(2026, 3, 4, 12, tzinfo=UTC)]
    watched = WatchedJob(job)
    scheduler = Scheduler(watched, lambda: clock[0], Rule(900, None, 60))
    scheduler.step()
    assert not scheduler.window.open
    clock[0] += timedelta(seconds=901)
    running = asyncio.create_task(scheduler.run())
    async with asyncio.timeout(60):
        await watched.ended.wait()
    assert watched.ready_at_its_end == [False]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def check_promotion(
    folder: Path, registry: Registry, routes: Routes, catalog: Catalog, database: Database
) -> None:
    [adapter] = registry.all()
    assert adapter.state is AdapterState.PROMOTED
    assert routes.state().wanted == adapter.name
    [verdict] = registry.verdicts(adapter.name)
    assert verdict.evidence["query"]["losses"] == 0
    assert verdict.evidence["unrelated"]["leaks"] == 0
    manifest = adapter.lineage["manifest"]
    assert {row["generation"] for row in manifest} == {catalog.generation()}
    trained = {row["turn_id"] for row in manifest if row["split"] == "train"}
    assert trained
    assert not trained & support_turns(database)
    [rows] = folder.glob("jobs/*/dataset.jsonl")
    assert {path.name for path in rows.parent.iterdir()} == set(TOLD)  # its weights are the registry's
    [[progress]] = database.read("SELECT progress FROM jobs")
    assert verdict.evidence["changed"][0]["candidate"] == RIGHT
    assert RIGHT not in json.dumps(json.loads(progress)["verdict"])
    taught = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    practice = [row for row in taught if row["split"] == "train"]
    assert all("YYYYMMDD" not in json.dumps(row["messages"]) for row in practice)
    assert all("YYYYMMDD" in json.dumps(row["teacher_messages"]) for row in practice)
