"""A judge of its own, from the settings to its verdict in the store: gateway, learner process and judge together."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from metaclaw.store import Database
from running_gateway import CHAT, client_of, opened, settings_for, until
from upstream_server import completion, upstream, whole

JUDGE_KEY = "the-judges-own-key-0123456789"
VERDICT = json.dumps({"reason": "It greets instead of naming a fruit.", "evidence": "Hello.", "verdict": "bad"})


def signals(store: Path) -> list[tuple[str, float, str]]:
    with Database(store) as database:
        return [(row[0], row[1], row[2]) for row in database.read("SELECT source, value, evidence FROM signals")]


async def test_the_judge_is_asked_with_its_key_and_its_verdict_is_kept(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "Name a fruit."}]
    later = [*asked, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "And a tree?"}]
    async with upstream() as scripted, upstream(whole(completion(VERDICT))) as judge:
        settings = settings_for(
            tmp_path, scripted.url, evolve={"enabled": True},
            judge={"enabled": True, "url": judge.url, "model": "the-judge", "api_key": JUDGE_KEY, "rubric": "Fruits."},
        )
        async with opened(settings) as gateway, client_of(gateway) as http:
            for messages in (asked, later):
                async with http.post(CHAT, json={"model": "m", "messages": messages}) as reply:
                    assert reply.status == 200
            await until(lambda: len(judge.seen) == 2, 30)
            async with asyncio.timeout(30):
                while not (found := await asyncio.to_thread(signals, tmp_path / "metaclaw.db")):
                    await asyncio.sleep(0.05)
    assert found == [("judge", -1.0, "Hello.")]
    [first, _] = judge.seen
    body = json.loads(first.body)
    assert (first.path, body["model"]) == ("/v1/chat/completions", "the-judge")
    assert first.headers["authorization"] == f"Bearer {JUDGE_KEY}"
    assert "Fruits." in body["messages"][0]["content"]
    assert "x-metaclaw-side" not in first.headers
    assert all(b"json_schema" not in seen.body for seen in scripted.seen)  # the provider was not asked to judge
