"""Addresses to listen on, and where a program on this machine finds who listens on them."""

from __future__ import annotations

# Those that are none to be found at; each with the one that reaches it from this machine.
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - names what it must not be


def url_here(host: str, port: int) -> str:
    """Where a program on this machine finds who listens on that address."""
    host = EVERYWHERE.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
