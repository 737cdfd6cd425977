"""A stronger model behind an OpenAI-compatible endpoint, asked what it thinks of each token of the student's replies.

In: examples as token ids. Out: for each position of the reply its most likely tokens. It must have the student's
tokens; the first answer is held against them, and another vocabulary is refused. Two ways to ask `/completions`, whose
prompt may be token ids: with `echo`, one request a reply (vLLM, SGLang); where `echo` is ignored, one token for each
position, for which an engine with a prompt cache reads one token more each time (llama.cpp).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from metaclaw.errors import TrainingError, UpstreamError
from metaclaw.training.examples import Example, Ids
from metaclaw.training.objectives import Taught
from metaclaw.training.recipe import Endpoint
from metaclaw.upstream.client import UpstreamClient
from metaclaw.upstream.route import Route

MOST_TOLD = 20  # alternatives of a token that servers hand out by default
AT_ONCE = 4
CONNECT_SECONDS, IDLE_SECONDS = 10.0, 300.0
NAMED = "token_id:"
HANG_UP = (("connection", "close"),)  # llama.cpp ends connections that it said it would keep

Told = list[tuple[int, float]]
"""Tokens and log-probabilities at one position."""


def route_to(endpoint: Endpoint) -> Route:
    key = os.environ.get(endpoint.key_variable) if endpoint.key_variable else None
    return Route(endpoint.url, endpoint.model, endpoint.model, key, HANG_UP)


class RemoteTeacher:
    """`tokenizer` is the student's."""

    def __init__(self, endpoint: Endpoint, tokenizer: Any, top_k: int) -> None:
        self._route = route_to(endpoint)
        self._model = endpoint.model
        self._tokenizer = tokenizer
        self._top_k = min(top_k, MOST_TOLD)
        self._echoes: bool | None = None

    def teach(self, examples: Sequence[Example]) -> list[Taught]:
        """Raises `TrainingError` where the endpoint fails, hands out no log-probabilities, or has other tokens."""
        try:
            return asyncio.run(self._teach(examples))
        except UpstreamError as error:
            raise TrainingError(f"The teacher {self._route.url} does not answer: {error}") from error

    async def _teach(self, examples: Sequence[Example]) -> list[Taught]:
        limit = asyncio.Semaphore(AT_ONCE)
        async with UpstreamClient(CONNECT_SECONDS, IDLE_SECONDS) as client:
            if self._echoes is None:
                self._echoes = await self._introduce(client, examples[0])

            async def one(example: Example) -> Taught:
                async with limit:
                    return _taught(await self._positions(client, example), example.reply)

            return await asyncio.gather(*map(one, examples))

    async def _introduce(self, client: UpstreamClient, example: Example) -> bool:
        """Whether it echoes. Raises `TrainingError` where its words for some tokens are not ours."""
        ids = [*_context(example), *example.reply]
        told = _logprobs(await self._ask(client, ids, echo=True))
        echoes = len(told.get("tokens") or ()) >= len(ids)
        if echoes:
            words = [*zip(ids, told["tokens"][: len(ids)], strict=True)]
        else:
            content = told.get("content") or _refuse("hands out no log-probabilities")
            words = [(int(one["id"]), one["token"]) for one in content[0]["top_logprobs"]]
        for number, word in words:
            ours = self._tokenizer.decode([number])
            if word and "\ufffd" not in ours + word and ours.strip() != word.strip():
                raise TrainingError(
                    f"The teacher {self._model} has other tokens than the student: {number} is {word!r} there and"
                    f" {ours!r} here. Name a model of the student's family."
                )
        return echoes

    async def _positions(self, client: UpstreamClient, example: Example) -> list[Told]:
        context = _context(example)
        if self._echoes:
            ids = [*context, *example.reply]
            told = _logprobs(await self._ask(client, ids, echo=True, return_tokens_as_token_ids=True))
            return [_by_id(position) for position in told["top_logprobs"][len(context) : len(ids)]]
        found = []
        for at in range(len(example.reply)):
            told = _logprobs(await self._ask(client, [*context, *example.reply[:at]]))
            found.append([(int(one["id"]), float(one["logprob"])) for one in told["content"][0]["top_logprobs"]])
        return found

    async def _ask(self, client: UpstreamClient, ids: Sequence[int], **more: Any) -> dict[str, Any]:
        body = {"model": self._model, "prompt": list(ids), "max_tokens": 1, "temperature": 0, "logprobs": self._top_k}
        return await client.json(self._route, "/completions", body | more)


def _context(example: Example) -> Ids:
    """What the teacher sees before the reply: the skills too, where there are any."""
    return example.teacher_prompt or example.prompt


def _logprobs(reply: Mapping[str, Any]) -> dict[str, Any]:
    try:
        told: dict[str, Any] = reply["choices"][0]["logprobs"]
        return told if isinstance(told, dict) else _refuse("hands out no log-probabilities")
    except (KeyError, IndexError, TypeError) as error:
        raise TrainingError("The teacher's reply is no completion with log-probabilities.") from error


def _by_id(position: Mapping[str, float]) -> Told:
    if not all(name.startswith(NAMED) for name in position):
        _refuse("names its tokens by their text only: it must know return_tokens_as_token_ids")
    return [(int(name.removeprefix(NAMED)), value) for name, value in position.items()]


def _taught(positions: Sequence[Told], reply: Ids) -> Taught:
    """The same number at every position: the most that all of them have."""
    count = min(map(len, positions))
    if not count:
        _refuse("hands out no log-probabilities")
    ranked = [sorted(told, key=lambda one: -one[1])[:count] for told in positions]
    said = [dict(told).get(token, float("-inf")) for told, token in zip(positions, reply, strict=True)]
    return Taught(
        torch.tensor([[value for _, value in told] for told in ranked]),
        torch.tensor([[token for token, _ in told] for told in ranked]),
        torch.tensor(said),
    )


def _refuse(what: str) -> Any:
    raise TrainingError(f"The teacher {what}.")
