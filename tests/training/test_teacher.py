"""The stronger teacher over HTTP: both ways to ask, the same answer from a real engine, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import torch
from aiohttp import web

from metaclaw.errors import TrainingError
from metaclaw.training.examples import Example
from metaclaw.training.recipe import Endpoint
from metaclaw.training.teacher import RemoteTeacher
from tiny import example, tiny_model
from upstream_server import ScriptedUpstream, upstream

KEY = "TEST_TEACHER_KEY"
REPLIES = [example(0, reply=(5, 6, 0)), example(1, teacher_prompt=None, reply=(7,))]


class Names:
    """Token 5 is `<5>`."""

    eos_token_id = 0

    def decode(self, ids: list[int], **_: Any) -> str:
        return f"<{ids[0]}>"


class Completions:
    """Answers `/completions` over a real model, as vLLM does (`echoes`) or as llama.cpp does."""

    def __init__(self, echoes: bool) -> None:
        self.model = tiny_model()
        self.echoes = echoes
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.named = "<{}>"

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        assert request.path == "/v1/completions"
        body = await request.json()
        self.asked.append(body)
        self.keys.add(request.headers.get("authorization"))
        return web.json_response({"choices": [{"index": 0, "text": "", "logprobs": self._told(body)}]})

    def _told(self, body: dict[str, Any]) -> dict[str, Any]:
        with torch.no_grad():
            said = self.model(torch.tensor([body["prompt"]])).logits[0].log_softmax(-1)
        tops = [[(int(i), float(v)) for v, i in zip(*row.topk(body["logprobs"]), strict=True)] for row in said]
        if not (self.echoes and body.get("echo")):
            content = [{"id": i, "token": self.named.format(i), "logprob": v} for i, v in tops[-1]]
            return {"content": [{**content[0], "top_logprobs": content}]}
        name = "token_id:{}" if body.get("return_tokens_as_token_ids") else self.named
        return {
            "tokens": [name.format(token) for token in body["prompt"]] + ["more"],
            "top_logprobs": [None, *({name.format(i): v for i, v in top} for top in tops)],
        }


@pytest.fixture
async def door() -> AsyncIterator[ScriptedUpstream]:
    async with upstream() as scripted:
        yield scripted


def teacher_at(door: ScriptedUpstream, top_k: int = 4, tokenizer: Any = None) -> RemoteTeacher:
    return RemoteTeacher(Endpoint(url=door.url, model="big", key_variable=KEY), tokenizer or Names(), top_k)


@pytest.mark.parametrize("echoes", [True, False])
async def test_the_teacher_tells_what_its_model_thinks_of_each_token(
    door: ScriptedUpstream, echoes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "secret")
    door.answer = server = Completions(echoes)
    teacher = teacher_at(door)
    for _ in range(2):
        told = await asyncio.to_thread(teacher.teach, REPLIES)
        for one, taught in zip(REPLIES, told, strict=True):
            context = one.teacher_prompt or one.prompt
            ids = torch.tensor([[*context, *one.reply]])
            said = server.model(ids).logits[0, len(context) - 1 : -1].log_softmax(-1)
            wanted_NK, wanted_ids_NK = said.topk(4, dim=-1)
            torch.testing.assert_close(taught.top_NK, wanted_NK.detach(), atol=1e-5, rtol=0)
            assert torch.equal(taught.ids_NK, wanted_ids_NK)
    assert server.keys == {"Bearer secret"}
    assert {body["model"] for body in server.asked} == {"big"}
    per_round = 2 if echoes else 4  # of one request each, or of one for each token
    assert len(server.asked) == 1 + 2 * per_round


@pytest.mark.parametrize("echoes", [True, False])
async def test_a_teacher_with_other_tokens_is_refused(door: ScriptedUpstream, echoes: bool) -> None:
    door.answer = server = Completions(echoes)
    server.named = "other {}"
    with pytest.raises(TrainingError, match=r"has other tokens than the student.*family"):
        await asyncio.to_thread(teacher_at(door).teach, REPLIES)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"choices": [{"text": "x", "logprobs": None}]}, "hands out no log-probabilities"),
        ({"choices": [{"text": "x", "logprobs": {"content": []}}]}, "hands out no log-probabilities"),
        ({"choices": []}, "no completion with log-probabilities"),
    ],
)
async def test_an_endpoint_without_probabilities_is_no_teacher(
    door: ScriptedUpstream, body: dict[str, Any], said: str
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(body)

    door.answer = answer
    with pytest.raises(TrainingError, match=said):
        await asyncio.to_thread(teacher_at(door).teach, REPLIES)


async def test_a_teacher_that_is_down_is_named(door: ScriptedUpstream) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "no such model"}}, status=404)

    door.answer = answer
    with pytest.raises(TrainingError, match=r"does not answer.*no such model"):
        await asyncio.to_thread(teacher_at(door).teach, REPLIES)


@pytest.mark.model
async def test_the_embedded_engine_can_teach(smollm2_gguf: Path, smollm2_folder: Path) -> None:
    """SmolLM2 as its own stronger teacher: what the quantised engine says is near to what PyTorch says."""
    pytest.importorskip("xllamacpp")
    from metaclaw.serving.engine import Engine, EngineSpec
    from metaclaw.training import model
    from metaclaw.training.model import encode_chat, encode_reply

    base, tokenizer = model.load(smollm2_folder, torch.float32)
    prompt = tuple(encode_chat(tokenizer, [{"role": "user", "content": "Name the capital of France."}]))
    reply = tuple(encode_reply(tokenizer, "The capital of France is Paris."))
    asked = Example("1", "own", prompt, None, reply, 1.0, "", "")
    engine = await Engine.start(EngineSpec(smollm2_gguf, "smol", context_tokens=512), timeout_seconds=60)
    try:
        endpoint = Endpoint(url=f"{engine.url}/v1", model="smol", key_variable=KEY)
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv(KEY, engine.api_key)
            [taught] = await asyncio.to_thread(RemoteTeacher(endpoint, tokenizer, 8).teach, [asked])
    finally:
        await engine.stop()
    with torch.no_grad():
        said = base(torch.tensor([[*prompt, *reply]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    assert taught.ids_NK.shape == (len(reply), 8)
    agreeing = (taught.ids_NK[:, 0] == said.argmax(-1)).float().mean().item()
    assert agreeing >= 0.9
    difference = (said.gather(-1, taught.ids_NK[:, :1]) - taught.top_NK[:, :1]).abs().max().item()
    assert difference < 0.25
    assert bool((taught.said_N <= 0).all())
