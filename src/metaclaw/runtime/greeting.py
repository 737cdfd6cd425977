"""What the gateway tells its learner first, as JSON: the settings, where it listens, and the embedded model's file."""

from __future__ import annotations

from typing import Any

from metaclaw.config.settings import Settings
from metaclaw.runtime.engines import Embedded


def greeting(settings: Settings, gateway_url: str, token: str, embedded: Embedded | None) -> dict[str, Any]:
    return {
        "settings": shareable(settings),
        "gateway_url": gateway_url,
        "token": token,
        "embedded": embedded.as_dict() if embedded else None,
    }


def shareable(settings: Settings) -> dict[str, Any]:
    """The settings, with no more secrets than the learner needs. They travel over its stdin and are written nowhere."""
    tree = settings.model_dump(mode="json")
    for section in (tree["upstream"], *tree["upstreams"]):
        section["api_key"] = None
    for section, secret in (
        ("gateway", "token"), ("context", "embeddings_api_key"), ("serving", "vllm_api_key"), ("telemetry", "headers"),
    ):
        tree[section][secret] = None
    key = settings.judge.api_key
    tree["judge"]["api_key"] = key.get_secret_value() if key else None
    for name in ("teacher_api_key", "tinker_api_key"):
        key = getattr(settings.training, name)
        tree["training"][name] = key.get_secret_value() if key else None
    calendar = settings.schedule.calendar
    tree["schedule"]["calendar"] = calendar.get_secret_value() if calendar else None
    return tree
