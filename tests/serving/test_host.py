"""The engine host: an adapter that is refused never serves, and what serves goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from metaclaw.serving.engine import EngineSpec
from metaclaw.serving.host import EngineHost
from metaclaw.serving.promotion import Promotions
from metaclaw.serving.routes import Routes
from metaclaw.store import Database
from metaclaw.training.package import GGUF_FILE, MANIFEST_FILE
from metaclaw.training.registry import Registry
from metaclaw.types import Adapter
from metaclaw.upstream.client import UpstreamClient, reply_text
from metaclaw.upstream.route import Router
from small_adapter import write_adapter
from support import NAMESPACE

pytestmark = pytest.mark.model
pytest.importorskip("xllamacpp")

ASKED = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4, "temperature": 0}


def tampered(adapter: Adapter) -> None:
    (Path(adapter.folder) / GGUF_FILE).write_bytes(b"GGUF of another")


def pickled(adapter: Adapter) -> None:
    (Path(adapter.folder) / "adapter_model.bin").write_bytes(b"\x80\x04N.")


def foreign(adapter: Adapter) -> None:
    (Path(adapter.folder) / MANIFEST_FILE).write_text('{"manifest": {}, "signature": "00"}', encoding="utf-8")


async def test_a_tampered_pickled_or_foreign_adapter_is_refused_and_the_old_one_keeps_serving(
    database: Database, tmp_path: Path, smollm2_gguf: Path, nothing_left: None
) -> None:
    registry, routes = Registry(database, NAMESPACE, tmp_path / "adapters"), Routes(database, NAMESPACE)
    router = Router()
    spoilers: list[tuple[Callable[[Adapter], None], str]] = [
        (tampered, "its files were changed"), (pickled, "is pickled"), (foreign, "not signed by this MetaClaw"),
    ]
    async with UpstreamClient(5, 30) as client:
        host = EngineHost(
            "tiny", lambda policy, gguf: EngineSpec(smollm2_gguf, policy, context_tokens=256), 60, routes, registry,
            Promotions(routes, registry, 0.0), router, client, 0.0,
        )
        running = asyncio.create_task(host.run())
        try:
            await swapped(lambda: router.policy == "tiny@base")
            for number, (spoil, told) in enumerate(spoilers):
                adapter = registry.register(write_adapter(tmp_path / str(number), b"%d" % number), "tiny", None, {})
                spoil(adapter)
                routes.want(adapter.name, "asked for by a test")
                await swapped(lambda told=told: told in routes.state().detail)  # type: ignore[misc]
                assert (router.policy, routes.state().wanted, routes.state().serving) == ("tiny@base", None, None)
                route = router.routes(None)[0]
                with router.lease(route):
                    assert reply_text(await client.json(route, "/chat/completions", ASKED))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def swapped(condition: Callable[[], bool]) -> None:
    """The host looks ten times a second."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)
