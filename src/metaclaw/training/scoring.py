"""How good is a sample? By the check of its prompt, else by a judge; None where neither can tell, which is no zero."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from metaclaw.errors import TrainingError, UpstreamError
from metaclaw.signals.checks import passes
from metaclaw.signals.judge import Part, judge
from metaclaw.training.examples import Example
from metaclaw.training.recipe import TrainJob
from metaclaw.training.teacher import CONNECT_SECONDS, IDLE_SECONDS, route_to
from metaclaw.types import Check
from metaclaw.upstream.client import UpstreamClient, reply_text

AT_ONCE = 2


class Scorer(Protocol):
    def can(self, example: Example) -> bool:
        """Whether samples of this prompt can be scored at all."""

    def scores(self, asked: Sequence[tuple[Example, str]]) -> list[float | None]:
        """For each prompt and reply a reward."""


class CheckOrJudge:
    """The judge is asked only where there is no check. Raises `TrainingError` where it cannot be reached."""

    def __init__(self, job: TrainJob) -> None:
        self._job = job

    def can(self, example: Example) -> bool:
        return bool(example.check) or self._job.judge is not None

    def scores(self, asked: Sequence[tuple[Example, str]]) -> list[float | None]:
        return asyncio.run(self._scores(asked))

    async def _scores(self, asked: Sequence[tuple[Example, str]]) -> list[float | None]:
        limit = asyncio.Semaphore(AT_ONCE)
        async with UpstreamClient(CONNECT_SECONDS, IDLE_SECONDS) as client:

            async def one(example: Example, reply: str) -> float | None:
                if example.check:
                    right = passes(Check(example.check), reply)
                    return None if right is None else float(right)
                async with limit:
                    return await self._judged(client, example, reply)

            return await asyncio.gather(*(one(example, reply) for example, reply in asked))

    async def _judged(self, client: UpstreamClient, example: Example, reply: str) -> float | None:
        endpoint = self._job.judge
        if endpoint is None or not reply.strip():
            return None
        route = route_to(endpoint)

        async def ask(body: dict[str, Any]) -> str:
            try:
                return reply_text(await client.json(route, "/chat/completions", {"model": endpoint.model, **body}))
            except UpstreamError as error:  # which would count as a vote that cannot be read
                raise TrainingError(f"The judge {route.url} does not answer: {error}") from error

        transcript = [Part("USER ASKED", example.question), Part("ASSISTANT REPLIED (judge this)", reply)]
        signal = await judge(example.id, transcript, rubric="", votes=self._job.judge_votes, ask=ask)
        return signal.value
