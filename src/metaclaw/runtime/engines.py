"""The embedded model, and the engines that serve its policy versions, as the settings have it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from metaclaw.config.settings import Settings
from metaclaw.runtime.home import Home
from metaclaw.serving.engine import EngineSpec
from metaclaw.serving.engines import Engines
from metaclaw.serving.host import EngineHost
from metaclaw.serving.local import LocalEngines
from metaclaw.serving.memory import MIB, Memory
from metaclaw.serving.promotion import Promotions
from metaclaw.serving.routes import Routes
from metaclaw.serving.vllm import VllmEngines
from metaclaw.training.registry import Registry
from metaclaw.upstream.client import UpstreamClient
from metaclaw.upstream.route import Router


class Embedded:
    """The embedded model's name and file, as one process tells the other."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = Path(path)

    def as_dict(self) -> dict[str, str]:
        return {"name": self.name, "path": str(self.path)}


def host_of(
    settings: Settings, embedded: Embedded, registry: Registry, routes: Routes, router: Router, client: UpstreamClient
) -> EngineHost:
    """What keeps the engine of the wanted policy version running, and tells the router of it."""
    serving = settings.serving
    return EngineHost(
        engines_of(settings, embedded, registry, client), embedded.name, routes,
        Promotions(routes, registry, serving.canary_share), router, 60 * serving.spare_minutes,
    )


def engines_of(settings: Settings, embedded: Embedded, registry: Registry, client: UpstreamClient) -> Engines:
    """What serves policy versions, as the settings have it."""
    serving = settings.serving
    if serving.engine == "vllm":
        key = serving.vllm_api_key
        folder = Path(serving.vllm_adapters_dir) if serving.vllm_adapters_dir else Home(settings).adapters.parent
        return VllmEngines(
            serving.vllm_url or "", key.get_secret_value() if key else None, embedded.name, registry, client,
            folder / settings.namespace,
        )
    return LocalEngines(
        embedded.name,
        lambda policy, gguf: engine_spec(settings, embedded, policy, [gguf] if gguf else []),
        settings.model.start_timeout_seconds, registry, client, serving.reserve_memory_mb * MIB, Memory(),
    )


def engine_spec(
    settings: Settings, embedded: Embedded, policy: str, loras: Sequence[Path], *, apply: bool = True
) -> EngineSpec:
    """How an engine of ours is started."""
    model = settings.model
    return EngineSpec(
        model_path=embedded.path,
        policy=policy,
        loras=tuple(loras),
        apply_loras=apply,
        slots=model.slots,
        context_tokens=model.context_tokens,
        log_path=Home(settings).logs / "engine.log",
        threads=model.threads or os.cpu_count() or 1,
    )
