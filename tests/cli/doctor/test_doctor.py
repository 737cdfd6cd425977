"""`metaclaw doctor` whole: on nothing, on what is broken, and beside a real gateway."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from running_gateway import TOKEN, UPSTREAM_KEY, serving
from shell import Shell
from upstream_server import refusing_url, whole

MODELS = json.dumps({"object": "list", "data": [{"id": "m-1"}, {"id": "m-2"}]}).encode()


def findings(said: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(said)["findings"]}


def written(shell: Shell, url: str, **upstream: str) -> Path:
    """A configuration file with a provider."""
    lines = [f"{name} = {json.dumps(value)}" for name, value in {"url": url, **upstream}.items()]
    file = shell.home / "my.toml"
    file.write_text("[upstream]\n" + "\n".join(lines) + f"\n[gateway]\nport = 0\ntoken = '{TOKEN}'\n")
    return file


def test_a_provider_that_is_not_there_is_broken(shell: Shell) -> None:
    url = refusing_url()
    code, out, _ = shell("doctor", "--config", str(written(shell, url)), "--json")
    found = findings(out)
    assert (code, json.loads(out)["broken"]) == (1, True)
    [upstream] = [one for name, one in found.items() if name.startswith("upstream")]
    assert upstream["level"] == "broken"
    assert upstream["mend"] == "Start it, or mend its url in upstream."
    assert found["data folder"]["level"] == "ok"
    assert list(shell.home.iterdir()) == [shell.home / "my.toml"]  # nothing was made
    code, out, _ = shell("doctor", "--config", str(shell.home / "my.toml"))
    assert (code, "broken  upstream" in out, "mend: Start it" in out) == (1, True, True)


def test_settings_that_cannot_be_used_are_a_finding(shell: Shell) -> None:
    (shell.home / "my.toml").write_text("[gateway]\nprot = 1\n")
    code, out, _ = shell("doctor", "--config", str(shell.home / "my.toml"), "--json")
    assert (code, list(findings(out))) == (1, ["settings"])
    assert "gateway.port" in out


async def test_beside_a_gateway_that_is_well(shell: Shell) -> None:
    async with serving(shell.data, evolve={"enabled": True}) as door:
        door.upstream.answer = whole(MODELS)
        file = str(written(shell, door.upstream.url, api_key=UPSTREAM_KEY, model="m-2"))
        code, out, err = await asyncio.to_thread(shell, "doctor", "--config", file, "--json")
        asked = door.upstream.seen[-1]
    found = findings(out)
    assert code == 0, (out, err)
    assert (asked.path, asked.headers["authorization"]) == ("/v1/models", f"Bearer {UPSTREAM_KEY}")
    assert {name: one for name, one in found.items() if one["level"] == "broken"} == {}
    assert door.gateway.url in found["gateway"]["text"]
    assert found["learner"]["text"] == "is alive"
    [upstream] = [one for name, one in found.items() if name.startswith("upstream")]
    assert upstream["text"].endswith("lists 2 models, m-2 among them")
    assert UPSTREAM_KEY not in out
    assert TOKEN not in out


@pytest.mark.parametrize(("status", "upstream", "level", "word"), [
    (401, {"api_key": "wrong"}, "broken", "refuses its key (401)"),
    (401, {}, "broken", "wants a key, and has none (401)"),
    (401, {"auth": "passthrough"}, "ok", "clients bring their own key"),
    (404, {"api_key": "right"}, "ok", "its key could not be tried"),
    (503, {}, "note", "answers 503"),
    (200, {"model": "m-3"}, "note", "does not list the model m-3"),
])
async def test_what_a_provider_says(
    shell: Shell, status: int, upstream: dict[str, str], level: str, word: str
) -> None:
    async with serving(shell.data) as door:
        door.upstream.answer = whole(MODELS, status)
        file = str(written(shell, door.upstream.url, **upstream))
        code, out, _ = await asyncio.to_thread(shell, "doctor", "--config", file, "--json")
    [told] = [one for name, one in findings(out).items() if name.startswith("upstream")]
    assert (told["level"], word in told["text"], code) == (level, True, int(level == "broken")), told


async def test_another_token_is_told(shell: Shell) -> None:
    async with serving(shell.data) as door:
        file = written(shell, door.upstream.url)
        file.write_text(file.read_text().replace(TOKEN, "mc-another-token"))
        code, out, _ = await asyncio.to_thread(shell, "doctor", "--config", str(file), "--json")
    assert code == 1
    assert "refuses the token" in out
