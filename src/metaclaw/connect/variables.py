"""The environment that leads any OpenAI or Anthropic client to the gateway: `metaclaw connect generic`."""

from __future__ import annotations

import shlex

from metaclaw.connect.base import Endpoint


def variables(endpoint: Endpoint) -> dict[str, str]:
    names = {
        "OPENAI_BASE_URL": endpoint.openai,
        "OPENAI_API_BASE": endpoint.openai,  # what clients of the first OpenAI package, and LiteLLM, read
        "OPENAI_API_KEY": endpoint.token,
        "ANTHROPIC_BASE_URL": endpoint.url,
        "ANTHROPIC_AUTH_TOKEN": endpoint.token,
    }
    return names | ({"OPENAI_MODEL": endpoint.model} if endpoint.model else {})


def as_shell(endpoint: Endpoint) -> str:
    """Lines for `eval "$(metaclaw connect generic)"`."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables(endpoint).items())
