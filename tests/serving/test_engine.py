"""Engines with real SmolLM2: start, answer, be told apart, fail clearly, and never outlive their owner."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from metaclaw.errors import EngineError
from metaclaw.serving.engine import Engine, EngineSpec
from metaclaw.serving.engines import NoRoomError
from metaclaw.upstream import sampled
from metaclaw.upstream.client import UpstreamClient, read

pytestmark = pytest.mark.model
pytest.importorskip("xllamacpp")

START_SECONDS = 60.0
QUESTION = [{"role": "user", "content": "Tell me about the sea."}]


@asynccontextmanager
async def running(spec: EngineSpec) -> AsyncIterator[tuple[Engine, aiohttp.ClientSession]]:
    """An engine, and a client that knows its key; both are closed afterwards."""
    engine = await Engine.start(spec, timeout_seconds=START_SECONDS)
    connector, headers = aiohttp.TCPConnector(limit=0, force_close=True), {"Authorization": f"Bearer {engine.api_key}"}
    try:
        async with aiohttp.ClientSession(engine.url, connector=connector, headers=headers) as client:
            yield engine, client
    finally:
        await engine.stop()


def small(model: Path, **changes: Any) -> EngineSpec:
    return EngineSpec(**{"model_path": model, "policy": "smol@v1", "context_tokens": 512, **changes})


async def answer(client: aiohttp.ClientSession, tokens: int = 12, **fields: Any) -> str:
    """A greedy reply, computed past the prompt cache: the same bytes for the same weights."""
    body = {"messages": QUESTION, "max_tokens": tokens, "temperature": 0, "cache_prompt": False, **fields}
    async with client.post("/v1/chat/completions", json=body) as reply:
        assert reply.status == 200, await reply.text()
        return str((await reply.json())["choices"][0]["message"]["content"])


def ended(pid: int, timeout_seconds: float) -> bool:
    """Wait until a process that need not be our child has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], timeout_seconds)[0])
    finally:
        os.close(descriptor)


def loading_forever(tmp_path: Path) -> Path:
    """A model file whose load never ends: nobody writes into this pipe, so opening it blocks."""
    os.mkfifo(tmp_path / "endless.gguf")
    return tmp_path / "endless.gguf"


def logged(path: Path, text: str) -> bool:
    """Wait until a log that another process writes holds `text`; whether it came in time."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if path.exists() and text in path.read_text(errors="replace"):
            return True
        time.sleep(0.02)
    return False


def test_a_spec_travels_as_one_line_and_its_key_is_not_shown(tmp_path: Path) -> None:
    spec = EngineSpec(tmp_path / "m.gguf", "v1", loras=(tmp_path / "a.gguf",), log_path=tmp_path / "log")
    assert "\n" not in spec.to_json()
    assert EngineSpec.from_json(spec.to_json()) == spec
    assert spec.api_key not in repr(spec)
    assert spec.api_key != EngineSpec(tmp_path / "m.gguf", "v1").api_key


async def test_an_engine_answers_in_the_name_of_its_policy(smollm2_gguf: Path) -> None:
    async with running(small(smollm2_gguf)) as (engine, client):
        assert (engine.policy, engine.alive) == ("smol@v1", True)
        assert await engine.probe()
        async with client.post("/v1/chat/completions", json={"messages": QUESTION, "max_tokens": 2}) as reply:
            assert (await reply.json())["model"] == "smol@v1"
        async with client.post(
            "/v1/chat/completions", json={"messages": QUESTION, "max_tokens": 2, "stream": True}
        ) as r:
            assert b'"model":"smol@v1"' in await r.content.readline()
    assert not engine.alive
    assert await engine.wait() == 0


async def test_only_the_key_opens_it(smollm2_gguf: Path) -> None:
    async with running(small(smollm2_gguf)) as (engine, _), aiohttp.ClientSession(engine.url) as stranger:
        for path in ("/v1/chat/completions", "/completion", "/tokenize", "/apply-template", "/lora-adapters"):
            async with stranger.post(path, json={"messages": QUESTION, "prompt": "x"}) as reply:
                assert reply.status == 401, path
        async with stranger.get("/health") as reply:
            assert reply.status == 200


async def test_two_hundred_streams_all_finish_and_health_answers_meanwhile(smollm2_gguf: Path) -> None:
    async with running(small(smollm2_gguf)) as (_, client):
        body = {"messages": QUESTION, "max_tokens": 3, "temperature": 0, "stream": True}

        async def stream() -> bool:
            async with client.post("/v1/chat/completions", json=body) as reply:
                return reply.status == 200 and (await reply.read()).endswith(b"data: [DONE]\n\n")

        async def health() -> int:
            async with client.get("/health", timeout=aiohttp.ClientTimeout(total=5)) as reply:
                return reply.status

        streams = [asyncio.create_task(stream()) for _ in range(200)]
        await asyncio.wait(streams, return_when=asyncio.FIRST_COMPLETED)
        assert not all(task.done() for task in streams)
        assert await health() == 200
        assert all(await asyncio.gather(*streams))


async def test_requests_close_on_one_another_all_get_through(smollm2_gguf: Path) -> None:
    """llama.cpp hangs up after a stream without saying so; half of these were lost when connections were reused."""
    body = json.dumps({"messages": QUESTION, "max_tokens": 1, "stream": True}).encode()
    async with running(small(smollm2_gguf)) as (engine, _), UpstreamClient(5, 30) as client:
        for _ in range(20):
            async with client.post(engine.route, "/chat/completions", body) as reply:
                assert (await read(reply, engine.route)).endswith(b"data: [DONE]\n\n")


async def test_two_engines_at_once_do_not_starve_each_other(smollm2_gguf: Path) -> None:
    """As in every swap. With OpenMP's own spinning this takes minutes where both engines use all cores."""
    async with running(small(smollm2_gguf)) as (_, old), running(small(smollm2_gguf)) as (_, new), asyncio.timeout(30):
        assert len(set(await asyncio.gather(answer(old, 40), answer(new, 40)))) == 1


async def test_the_same_weights_give_the_same_text(smollm2_gguf: Path) -> None:
    async with running(small(smollm2_gguf)) as (_, client):
        assert await answer(client, 32) == await answer(client, 32)


@pytest.fixture
def random_lora(smollm2_gguf: Path, tmp_path: Path) -> Path:
    """A GGUF adapter of random numbers on every layer's query projection, strong enough to be heard."""
    gguf, np = pytest.importorskip("gguf"), pytest.importorskip("numpy")
    random, size, rank = np.random.default_rng(7), 576, 8
    path = tmp_path / "lora.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))
    for layer in range(30):
        for name, shape in (("lora_a", (rank, size)), ("lora_b", (size, rank))):
            values = random.normal(0, 0.2, shape).astype(np.float32)
            writer.add_tensor(f"blk.{layer}.attn_q.weight.{name}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


async def test_an_adapter_is_applied_and_can_be_compared_in_one_engine(smollm2_gguf: Path, random_lora: Path) -> None:
    off, on = [{"id": 0, "scale": 0.0}], [{"id": 0, "scale": 1.0}]
    async with running(small(smollm2_gguf)) as (_, client):
        base = await answer(client)
    async with running(small(smollm2_gguf, loras=(random_lora,))) as (_, client):
        adapted = await answer(client)
        assert adapted != base
        assert [await answer(client, lora=lora) for lora in (off, on, off)] == [base, adapted, base]
    async with running(small(smollm2_gguf, loras=(random_lora,), apply_loras=False)) as (_, client):
        assert await answer(client) == base
        assert await answer(client, lora=on) == adapted


async def test_a_wrong_path_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"(?s)smol@v1 did not start.*none\.gguf.*No such file"):
        await Engine.start(small(tmp_path / "none.gguf"), timeout_seconds=START_SECONDS)


async def test_a_file_that_is_no_model_is_an_error_and_the_log_is_kept(tmp_path: Path) -> None:
    (tmp_path / "junk.gguf").write_bytes(b"junk" * 100)
    with pytest.raises(EngineError, match="invalid magic"):
        await Engine.start(small(tmp_path / "junk.gguf", log_path=tmp_path / "log"), timeout_seconds=START_SECONDS)
    assert "invalid magic" in (tmp_path / "log").read_text()


async def test_where_the_system_gives_no_process_or_no_log_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NoRoomError, match=r"smol@v1 cannot be started here: .*File exists"):
        await Engine.start(small(tmp_path / "m.gguf", log_path=tmp_path / "file" / "log"), timeout_seconds=1)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(NoRoomError, match=r"smol@v1 cannot be started here: .*No such file"):
        await Engine.start(small(tmp_path / "m.gguf"), timeout_seconds=1)


async def test_a_load_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="not ready after 3 s"):
        await Engine.start(small(loading_forever(tmp_path)), timeout_seconds=3)


async def test_a_killed_engine_is_noticed(smollm2_gguf: Path) -> None:
    async with running(small(smollm2_gguf)) as (engine, _):
        os.kill(engine.pid, signal.SIGKILL)
        assert await engine.wait() == -signal.SIGKILL
        assert not engine.alive
        with pytest.raises(EngineError, match="does not answer"):
            await engine.probe()


OWNER = """
import asyncio, sys
from pathlib import Path
from metaclaw.serving.engine import Engine, EngineSpec
from metaclaw.upstream import sampled
from metaclaw.upstream.client import UpstreamClient, read

async def own():
    model, log = map(Path, sys.argv[1:])
    spec = EngineSpec(model, "v1", context_tokens=512, log_path=log, verbose=True)
    engine = await Engine.start(spec, timeout_seconds=60)
    print(engine.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(own())
"""


async def owner_of(model: Path, log: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER, str(model), str(log)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def test_an_engine_ends_when_its_owner_is_killed(smollm2_gguf: Path, tmp_path: Path) -> None:
    owner = await owner_of(smollm2_gguf, tmp_path / "log")
    assert owner.stdout
    pid = int(await owner.stdout.readline())
    owner.kill()
    await owner.wait()
    assert await asyncio.to_thread(ended, pid, 10)


async def test_an_engine_ends_when_its_owner_is_killed_during_the_load(tmp_path: Path) -> None:
    """The load never ends and holds the interpreter's lock: only the kernel can end this worker."""
    owner = await owner_of(loading_forever(tmp_path), tmp_path / "log")
    assert await asyncio.to_thread(logged, tmp_path / "log", "endless.gguf")
    (worker,) = children_of(owner.pid)
    owner.kill()
    await owner.wait()
    assert await asyncio.to_thread(ended, worker, 10)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("stream", [False, True])
async def test_it_tells_its_tokens_to_who_asks_and_otherwise_answers_the_same(
    smollm2_gguf: Path, smollm2_folder: Path, stream: bool
) -> None:
    from transformers import AutoTokenizer

    question = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    body = json.dumps({"messages": question, "temperature": 0, "max_tokens": 40, "stream": stream}).encode()
    wanted = sampled.asking(body)
    assert wanted
    async with running(small(smollm2_gguf)) as (engine, _), UpstreamClient(10, 60) as client:
        assert engine.route.tells_tokens
        said: list[list[Any]] = []
        tap = sampled.SampleTap()
        for asked in (body, wanted):
            async with client.post(engine.route, "/chat/completions", asked) as reply:
                raw = await read(reply, engine.route)
            if asked is wanted:
                raw = tap.feed(raw) if stream else tap.whole(raw)
            events = [event[6:] for event in raw.split(b"\n\n") if b"choices" in event] if stream else [raw]
            said.append([json.loads(event)["choices"] for event in events])
    assert said[0] == said[1]
    text = "".join(one[0].get("delta", one[0].get("message")).get("content") or "" for one in said[0])
    found = tap.sampled(text)
    assert found is not None
    tokens = AutoTokenizer.from_pretrained(smollm2_folder, local_files_only=True)(text)["input_ids"]
    assert list(found.tokens[: len(tokens)]) == tokens
    assert len(found.tokens) - len(tokens) == (0 if stream else 1)  # the token that ends the reply
    assert all(-30 < logprob <= 0 for logprob in found.logprobs)
