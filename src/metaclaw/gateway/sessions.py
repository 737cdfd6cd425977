"""Which conversation a request belongs to.

In order: an id that the client sends in a header or in its body, the tag in the path (`/s/<name>/v1/...`), and else a
hash of what stays the same from turn to turn: the leading system text and the first thing that the user said,
without the blocks that agents put around it and change each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from metaclaw.dialects.base import Dialect, Request, storable
from metaclaw.dialects.boilerplate import strip_boilerplate

MAX_ID = 200
HEADERS = (
    "x-session-id",  # our own, and opencode's
    "x-claude-code-session-id",
    "session-id",  # Codex
    "thread-id",
    "x-session-affinity",  # nanobot, and OpenClaw with its flag on
)


def session_of(headers: Mapping[str, str], dialect: Dialect, request: Request, tag: str = "") -> str:
    """A name of at most 200 characters, the same for every turn of a conversation. `tag` is the path's."""
    sent = [headers.get(name, "") for name in HEADERS] + _in_body(request.body) + [tag]
    named = next((value.strip() for value in sent if value.strip()), "")
    return storable(named[:MAX_ID]) or _prefix_hash(*dialect.opening(request.body))


def _in_body(body: Mapping[str, Any]) -> list[str]:
    """OpenClaw's `session_id`, Codex's `prompt_cache_key`, and the user id that Claude Code builds from its session."""
    metadata = body.get("metadata")
    sent = [body.get("session_id"), body.get("prompt_cache_key")]
    sent.append(metadata.get("user_id") if isinstance(metadata, dict) else None)
    return [value for value in sent if isinstance(value, str)]


def _prefix_hash(system: str, said: str) -> str:
    digest = hashlib.sha256(f"{strip_boilerplate(system)}\0{strip_boilerplate(said)}".encode()).hexdigest()
    return f"prefix-{digest[:20]}"
