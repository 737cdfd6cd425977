"""The clients that can be connected, one module each."""

from __future__ import annotations

from metaclaw.connect.base import Client
from metaclaw.connect.clients import aider, claude_code, codex, hermes, llm, openclaw, opencode, pi
from metaclaw.errors import ConnectError

CLIENTS: dict[str, Client] = {
    client.NAME: client for client in (claude_code, codex, openclaw, hermes, opencode, pi, aider, llm)
}
GENERIC = "generic"


def client_named(name: str) -> Client:
    """Raises `ConnectError` with the known names for an unknown one."""
    if name not in CLIENTS:
        known = ", ".join([*CLIENTS, GENERIC])
        raise ConnectError(f"There is no client '{name}'. Known are: {known}.")
    return CLIENTS[name]
