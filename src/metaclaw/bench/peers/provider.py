"""The provider that every arm asks: somebody's URL, or the embedded model's engine itself, without a gateway."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from metaclaw.serving.engine import Engine, EngineSpec
from metaclaw.serving.fetch import Silent
from metaclaw.serving.weights import resolve

MODEL = "qwen2.5-coder-1.5b"
MODELS_DIR = Path("~/.metaclaw/models").expanduser()
# Memories and playbooks send prompts of several thousand tokens, more than our own default of 4,096 has room for.
CONTEXT_TOKENS = 16_384
SLOTS = 2
START_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Provider:
    """An OpenAI-compatible endpoint: its base URL with `/v1`, its key, and its model's name."""

    url: str
    key: str
    model: str


@asynccontextmanager
async def provider(upstream: str | None, model: str | None) -> AsyncIterator[Provider]:
    """The named provider; without one, an engine of ours until the block ends."""
    if upstream:
        yield Provider(upstream, os.environ.get("METACLAW_UPSTREAM__API_KEY", ""), model or "model")
        return
    weights = resolve(model or MODEL, MODELS_DIR, Silent())
    spec = EngineSpec(weights.path, weights.name, slots=SLOTS, context_tokens=CONTEXT_TOKENS)
    engine = await Engine.start(spec, timeout_seconds=START_SECONDS)
    try:
        yield Provider(f"{engine.url}/v1", engine.api_key, weights.name)
    finally:
        await engine.stop()
