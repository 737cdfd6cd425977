"""The trainable model against the two that it must agree with: the engine's tokens, transformers' forward pass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from metaclaw.errors import TrainingError
from metaclaw.serving.engine import Engine, EngineSpec
from metaclaw.training.model import chat_template, encode_chat, encode_reply, load, prepare, run_layers

pytestmark = pytest.mark.model
torch = pytest.importorskip("torch")
pytest.importorskip("xllamacpp")

START_SECONDS = 120.0
LOGIT_TOLERANCE = 1e-3
"""Largest difference of a logit in float32, where logits reach about 30."""

SYSTEM = {"role": "system", "content": "You write release notes.\nKeep to the house style: no emoji, no “quotes”."}
CONVERSATIONS = {
    "system and user": [SYSTEM, {"role": "user", "content": "Name the file for ticket AB-1042."}],
    "user only": [{"role": "user", "content": "def f(x):\n\treturn  x ** 2  # naïve — 日本語 🙂"}],
    "several turns": [
        SYSTEM,
        {"role": "user", "content": "First question?"},
        {"role": "assistant", "content": "First answer,\nof two lines."},
        {"role": "user", "content": "  And a second one, with spaces around it  "},
    ],
    "several turns without a system prompt": [
        {"role": "user", "content": "1234567890"},
        {"role": "assistant", "content": "ok"},
        {"role": "user", "content": "\n\nagain"},
    ],
}


@pytest.fixture(scope="module")
def loaded(smollm2_folder: Path) -> tuple[Any, Any]:
    return load(smollm2_folder, torch.float32)


@pytest.fixture
async def client(smollm2_gguf: Path) -> AsyncIterator[aiohttp.ClientSession]:
    engine = await Engine.start(EngineSpec(smollm2_gguf, "smol@v1", context_tokens=512), timeout_seconds=START_SECONDS)
    try:
        async with aiohttp.ClientSession(engine.url, headers={"Authorization": f"Bearer {engine.api_key}"}) as session:
            yield session
    finally:
        await engine.stop()


async def ask(client: aiohttp.ClientSession, path: str, **body: Any) -> dict[str, Any]:
    async with client.post(path, json=body) as reply:
        assert reply.status == 200, await reply.text()
        answer: dict[str, Any] = await reply.json()
        return answer


async def engine_tokens(client: aiohttp.ClientSession, text: str) -> list[int]:
    answer = await ask(client, "/tokenize", content=text, add_special=False, parse_special=True)
    return list(answer["tokens"])


async def test_a_conversation_has_the_tokens_that_the_engine_gives_it(
    client: aiohttp.ClientSession, loaded: tuple[Any, Any]
) -> None:
    _, tokenizer = loaded
    for messages in CONVERSATIONS.values():
        rendered = await ask(client, "/apply-template", messages=messages)
        assert encode_chat(tokenizer, messages) == await engine_tokens(client, rendered["prompt"])
        counted = await ask(client, "/v1/chat/completions", messages=messages, max_tokens=1, cache_prompt=False)
        assert counted["usage"]["prompt_tokens"] == len(encode_chat(tokenizer, messages))


async def test_a_reply_ends_with_the_token_at_which_the_engine_stops(
    client: aiohttp.ClientSession, loaded: tuple[Any, Any]
) -> None:
    _, tokenizer = loaded
    for reply in ("note-AB-1042.md", "Two\nlines — and 🙂", "  spaces  "):
        *text, last = encode_reply(tokenizer, reply)
        assert text == await engine_tokens(client, reply)
        assert [last] == await engine_tokens(client, "<|im_end|>")


@pytest.mark.parametrize(
    ("prefix", "split"), [(1, 0), (9, 0), (9, 20), (9, 30)], ids=["one token", "no split", "split", "all below"]
)
def test_a_shared_prefix_and_a_split_change_no_logit(loaded: tuple[Any, Any], prefix: int, split: int) -> None:
    model, _ = loaded
    ids_2S = torch.randint(1000, 40000, (2, 24), generator=torch.Generator().manual_seed(3))
    ids_2S[1, :prefix] = ids_2S[0, :prefix]
    short = 6  # by as much is the second row shorter: its end is padding
    decoder = model.model
    with torch.no_grad():
        prefix_1PD = decoder.embed_tokens(ids_2S[:1, :prefix])
        rows_BTD = decoder.embed_tokens(torch.cat([ids_2S[:1, prefix:], padded(ids_2S[1:, prefix:], short)]))
        prefix_1PD, rows_BTD = run_layers(decoder, prefix_1PD, rows_BTD, 0, split)
        _, rows_BTD = run_layers(decoder, prefix_1PD, rows_BTD, split, len(decoder.layers))
        ours_BTV = model.lm_head(decoder.norm(rows_BTD))
        whole_SV, shorter_SV = model(ids_2S[:1]).logits[0], model(ids_2S[1:, :-short]).logits[0]
    assert difference(ours_BTV[0], whole_SV[prefix:]) <= LOGIT_TOLERANCE
    assert difference(ours_BTV[1, :-short], shorter_SV[prefix:]) <= LOGIT_TOLERANCE


def padded(ids_1T: Any, by: int) -> Any:
    return torch.cat([ids_1T[:, :-by], torch.zeros(1, by, dtype=torch.long)], dim=1)


def difference(one: Any, other: Any) -> float:
    assert one.shape == other.shape
    return float((one - other).abs().max())


def test_nothing_of_the_model_is_trainable(loaded: tuple[Any, Any]) -> None:
    model, _ = loaded
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_preparing_again_is_finding_the_folder(smollm2_gguf: Path, smollm2_folder: Path) -> None:
    said: list[str] = []
    assert prepare(smollm2_gguf, smollm2_folder.parent, said.append) == smollm2_folder
    assert not said
    assert (smollm2_folder / "chat_template.jinja").read_text() == chat_template(smollm2_gguf)


def test_a_file_that_is_missing_or_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "junk.gguf").write_bytes(b"junk" * 100)
    for name in ("none.gguf", "junk.gguf"):
        with pytest.raises(TrainingError):
            prepare(tmp_path / name, tmp_path / "cache", lambda _: None)
    with pytest.raises(TrainingError, match="prepared"):
        load(tmp_path, torch.float32)
    assert not any((tmp_path / "cache").iterdir())
