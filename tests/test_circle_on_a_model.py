"""The whole circle on SmolLM2-135M: mechanics only, since so small a model does not follow the conventions."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from metaclaw.bench.client import MEASURED, WHOEVER_IS_THERE, WITHOUT_SKILLS, Answer, GatewayClient
from metaclaw.config.loading import load
from metaclaw.journal import trajectories
from metaclaw.runtime.engines import Embedded
from metaclaw.runtime.gateway import Gateway
from metaclaw.runtime.home import Home
from metaclaw.serving.promotion import Promotions
from metaclaw.serving.routes import Routes
from metaclaw.store import Database
from metaclaw.training.registry import Registry
from metaclaw.types import Adapter

pytestmark = pytest.mark.model

STREAMS = 200
SYSTEM = "Answer briefly."
QUESTION = "Suggest a file name for the notes of the {} meeting."
CORRECTION = (
    "No, that is not how we name files. A file name here starts with the word note, then an underscore, then the"
    " subject in lower case, and ends in .md, without any explanation."
)
SUBJECTS = ["budget", "sales", "garden", "music", "travel", "safety", "history", "water", "energy", "design"]


@pytest.fixture
async def gateway(tmp_path: Path, smollm2_gguf: Path) -> AsyncIterator[Gateway]:
    settings = load(flags={
        "data_dir": str(tmp_path),
        "models_dir": str(smollm2_gguf.parent),
        "gateway": {"port": 0},
        "model": {"name": str(smollm2_gguf), "context_tokens": 1024},
        "evolve": {"proposer": "extractive", "holdout_share": 0, "posted_feedback": "all"},  # it can show no answer
        "training": {"min_new_turns": len(SUBJECTS), "epochs": 1, "replay_examples": 4},
        "schedule": {"idle_seconds": 1.0, "sleep_hours": "", **WHOEVER_IS_THERE},
    })
    async with Gateway(settings, Embedded("smollm2-135m", str(smollm2_gguf))) as running:
        await running.ready()
        yield running


async def test_failure_to_skill_to_weights_to_swap_and_back(gateway: Gateway, tmp_path: Path) -> None:
    async with GatewayClient(gateway.url, gateway.token) as client:
        await teach(client)
        await work(client)
        await come_back_during_training(client)
        job = await until_job_ends(client)
        assert job["state"] == "done", job
        with Database(tmp_path / "metaclaw.db") as database:
            registry = Registry(database, "default", Home(gateway_settings(tmp_path)).adapters)
            [adapter] = registry.all()
            [verdict] = registry.verdicts(adapter.name)
            assert adapter.lineage["generation"] == 1
            assert verdict.n > 0
            assert verdict.decision == job["decision"]
            routes = Routes(database, "default")
            await try_in_a_share(client, routes, Promotions(routes, registry, 0.5), adapter)
            answers = await stream_through_swap(client, routes, adapter.name)
            check_answers(answers, {"smollm2-135m@base", f"smollm2-135m@{adapter.name}"})
            check_journal(database, answers)
            assert Promotions(routes, registry, 0.0).roll_back() == (adapter.name, None)
            await until_policy(client, "smollm2-135m@base")


async def teach(client: GatewayClient) -> None:
    answer = await client.ask(SYSTEM, QUESTION.format("weekly"), 12, {"x-session-id": "lesson"})
    await client.feedback(answer.turn_id, -1, CORRECTION)
    while (await client.status())["generation"] == 0:
        await asyncio.sleep(0.05)
    matching = await client.matching_skills(SYSTEM, QUESTION.format("team"))
    assert len(matching) == 1


async def work(client: GatewayClient) -> None:
    for number, subject in enumerate(SUBJECTS):
        answer = await client.ask(SYSTEM, QUESTION.format(subject), 12, {"x-session-id": f"work-{number}"})
        await client.feedback(answer.turn_id, 1)


async def come_back_during_training(client: GatewayClient) -> None:
    """The trainer stands still within a second of a request, and goes on when it is quiet again."""
    await until_job(client, lambda job: job.get("phase") == "training" and "trainer" in job)
    asked = time.monotonic()
    request = asyncio.create_task(client.ask(SYSTEM, "Count to ten.", 24, {}))
    await until_job(client, lambda job: job["state"] == "paused")
    assert time.monotonic() - asked < 1.0
    assert await asyncio.to_thread(trainer_states) == {"T"}
    await request
    await until_job(client, lambda job: job["state"] != "paused")
    assert "T" not in await asyncio.to_thread(trainer_states)


def trainer_states() -> set[str]:
    """The scheduler states of this run's trainers, as /proc tells them: T is stopped."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
            if b"metaclaw.training.trainer" in command and str(os.getpid()) in ancestors(folder):
                found.add((folder / "stat").read_text().rsplit(")", 1)[1].split()[0])
        except OSError:
            continue  # ended meanwhile
    return found


def ancestors(folder: Path) -> list[str]:
    chain = []
    while folder.name != "0":
        chain.append(folder.name)
        folder = folder.parent / (folder / "stat").read_text().rsplit(")", 1)[1].split()[1]
    return chain


async def until_job(client: GatewayClient, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(240):
        while not holds(job := (await client.status())["job"] or {}):
            await asyncio.sleep(0.02)
    return job


async def until_job_ends(client: GatewayClient) -> dict[str, Any]:
    return await until_job(client, lambda job: job.get("state") in ("done", "failed"))


async def stream_through_swap(client: GatewayClient, routes: Routes, adapter: str) -> list[Answer]:
    """Two hundred streams: half before the swap is asked for, half once the new engine has begun to serve."""
    headers = MEASURED | WITHOUT_SKILLS

    async def stream(number: int) -> Answer:
        return await client.ask(SYSTEM, f"Count from {number}.", 8, headers, stream=True)

    before = [asyncio.create_task(stream(number)) for number in range(STREAMS // 2)]
    routes.want(adapter, "asked for by a test")
    late: list[asyncio.Task[Answer]] = []
    while len(late) < STREAMS // 2:
        late.append(asyncio.create_task(stream(len(late))))
        await asyncio.sleep(0.02)
    answers = [await task for task in (*before, *late)]
    await until_policy(client, f"smollm2-135m@{adapter}")
    return [*answers, await stream(0)]


async def try_in_a_share(client: GatewayClient, routes: Routes, promotions: Promotions, adapter: Adapter) -> None:
    """Two engines at once, each with sessions of its own; the one on trial is gone a second after it is taken back."""
    base, tried = "smollm2-135m@base", f"smollm2-135m@{adapter.name}"

    async def policy_of(session: str) -> str:
        return (await client.ask(SYSTEM, "Say hello.", 2, {"x-session-id": session, **WITHOUT_SKILLS})).policy

    promotions.offer(adapter)
    async with asyncio.timeout(60):
        while routes.state().canary_since is None:
            await asyncio.sleep(0.05)
    sides = {f"shared-{number}": await policy_of(f"shared-{number}") for number in range(12)}
    assert set(sides.values()) == {base, tried}
    assert {session: await policy_of(session) for session in sides} == sides
    ours = next(session for session, policy in sides.items() if policy == tried)
    asked_at = began = time.monotonic()
    assert promotions.roll_back() == (adapter.name, None)
    while await policy_of(ours) != base:
        began = time.monotonic()
    assert began - asked_at < 1.0


def check_answers(answers: list[Answer], policies: set[str]) -> None:
    """None failed (it would have raised), none mixed, and both policies served."""
    assert all(answer.named_policies == {answer.policy} for answer in answers)
    assert {answer.policy for answer in answers} == policies


def check_journal(database: Database, answers: list[Answer]) -> None:
    for answer in answers:
        turn = trajectories.turn(database, "default", answer.turn_id)
        assert turn is not None
        assert turn.complete
        assert turn.policy == answer.policy


async def until_policy(client: GatewayClient, policy: str) -> None:
    async with asyncio.timeout(60):
        while (await client.status())["policy"] != policy:
            await asyncio.sleep(0.1)


def gateway_settings(folder: Path) -> Any:
    return load(flags={"data_dir": str(folder)})
