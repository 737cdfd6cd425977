"""Rewards: the check where there is one, else the judge; what neither can tell is None and never zero."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from metaclaw.errors import TrainingError
from metaclaw.training.recipe import Endpoint
from metaclaw.training.scoring import CheckOrJudge
from tiny import example, tiny_job
from upstream_server import completion, upstream

CHECKED = replace(example(0), check=r"\d+ metres")
OPEN = replace(example(1), question="How high is it?")


def test_a_check_decides_and_what_it_cannot_read_is_left_out() -> None:
    scorer = CheckOrJudge(tiny_job(Path(), objective="grpo"))
    broken = replace(CHECKED, check="(")
    asked = [(CHECKED, "`12 metres`"), (CHECKED, "12 feet"), (broken, "12 metres"), (OPEN, "8848 m")]
    assert scorer.scores(asked) == [1.0, 0.0, None, None]
    assert (scorer.can(CHECKED), scorer.can(OPEN)) == (True, False)


async def test_the_judge_is_asked_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        asked.append(body)
        shown = body["messages"][-1]["content"]
        verdict = "good" if "8848" in shown else "bad" if "very" in shown else "abstain"
        evidence = "8848" if "8848" in shown else "very high"
        vote = {"reason": "It says so.", "evidence": evidence, "verdict": verdict}
        return web.Response(body=completion(json.dumps(vote)), content_type="application/json")

    async with upstream(answer) as door:
        endpoint = Endpoint(url=door.url, model="judge-1")
        scorer = CheckOrJudge(tiny_job(Path(), objective="grpo", judge=endpoint, judge_votes=1))
        assert scorer.can(OPEN)
        replies = ["8848 metres", "very high", "who knows", "  "]
        told = await asyncio.to_thread(scorer.scores, [(CHECKED, "1 metres"), *((OPEN, reply) for reply in replies)])
    assert told == [1.0, 1.0, -1.0, None, None]
    assert [body["model"] for body in asked] == ["judge-1"] * 3
    assert all("How high is it?" in body["messages"][-1]["content"] for body in asked)


async def test_a_judge_that_is_down_ends_the_job_in_words() -> None:
    async with upstream() as door:
        endpoint = Endpoint(url=door.url + "/nowhere", model="judge-1")
    scorer = CheckOrJudge(tiny_job(Path(), objective="grpo", judge=endpoint))
    with pytest.raises(TrainingError, match=r"judge .* does not answer"):
        await asyncio.to_thread(scorer.scores, [(OPEN, "x")])
