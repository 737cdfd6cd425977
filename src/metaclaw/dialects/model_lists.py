"""The models that a provider serves, listed in OpenAI's shape or in Anthropic's. Pure.

What is in the wanted shape already, or in none that is known, stays byte for byte.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from metaclaw.dialects.base import object_or_empty
from metaclaw.dialects.loose import count_of, dicts_of

UNKNOWN_TIME = "1970-01-01T00:00:00Z"  # as Anthropic writes a date that is not known


def listed(raw: bytes, *, for_anthropic: bool) -> bytes:
    """A provider's `GET /models`, for a client of the other kind."""
    body = object_or_empty(raw)
    models = dicts_of(body.get("data"))
    if not models or _is_anthropic(models[0]) is for_anthropic:
        return raw
    shaped = [_shaped(model, for_anthropic) for model in models]
    if not for_anthropic:
        return json.dumps({"object": "list", "data": shaped}).encode()
    ends = {"first_id": shaped[0]["id"], "last_id": shaped[-1]["id"]}
    return json.dumps({"data": shaped, "has_more": False, **ends}).encode()


def single(raw: bytes, *, for_anthropic: bool) -> bytes:
    """A provider's `GET /models/{id}`."""
    model = object_or_empty(raw)
    if "id" not in model or _is_anthropic(model) is for_anthropic:
        return raw
    return json.dumps(_shaped(model, for_anthropic)).encode()


def _is_anthropic(model: dict[str, Any]) -> bool:
    return model.get("type") == "model"


def _shaped(model: dict[str, Any], for_anthropic: bool) -> dict[str, Any]:
    name = model.get("id")
    if not for_anthropic:
        created = _seconds(str(model.get("created_at")))
        return {"id": name, "object": "model", "created": created, "owned_by": "anthropic"}
    shown = model.get("display_name") or model.get("name") or name
    return {"type": "model", "id": name, "display_name": shown, "created_at": _date(count_of(model, "created"))}


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds > 0 else UNKNOWN_TIME


def _seconds(date: str) -> int:
    try:
        return int(datetime.fromisoformat(date).timestamp())
    except (ValueError, OverflowError):
        return 0
