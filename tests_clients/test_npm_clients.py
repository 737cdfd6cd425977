"""Agents from npm, as their users run them, through the gateway to a scripted model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from client_stage import NATIVE, PROMPT, Ran, Stage, stage
from installing import command_of, node_folder


async def run(on: Stage, client: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Ran:
    """A client with Node 24 on its PATH and no other."""
    path = f"{node_folder()}:/usr/bin:/bin"
    return await on.run(command_of(client), *arguments, environment={**(environment or {}), "PATH": path})


async def there_and_back(on: Stage, client: str, *files: str) -> None:
    """Disconnecting leaves nothing of ours behind, and takes nothing of the client's along."""
    await on.metaclaw("disconnect", client)
    assert not [name for name in files if (on.home / name).exists()]
    assert not (on.data / "connect" / client).exists()


async def test_pi(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await on.connect("pi")
        ran = await run(on, "pi", "-p", PROMPT, environment={"PI_OFFLINE": "1", "PI_TELEMETRY": "0"})
        on.proved(ran, main=2)
        await there_and_back(on, "pi", ".pi/agent/models.json", ".pi/agent/settings.json")


async def test_opencode(tmp_path: Path) -> None:
    quiet = {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_SHARE": "1"}
    async with stage(tmp_path) as on:
        await on.connect("opencode")
        ran = await run(on, "opencode", "run", PROMPT, environment=quiet)
        on.proved(ran, main=2, beside=1)  # beside: the title
        await there_and_back(on, "opencode", ".config/opencode/opencode.json")


async def test_openclaw(tmp_path: Path) -> None:
    quiet = {"OPENCLAW_NO_AUTO_UPDATE": "1", "OPENCLAW_DISABLE_BONJOUR": "1"}
    async with stage(tmp_path) as on:
        await on.connect("openclaw")
        ran = await run(
            on, "openclaw", "agent", "--local", "--agent", "main", "--session-id", "proof", "--message", PROMPT,
            environment=quiet,
        )
        on.proved(ran, main=2, proof=on.home / ".openclaw" / "workspace" / "proof.txt")
        await there_and_back(on, "openclaw", ".openclaw/openclaw.json")


@pytest.mark.parametrize("formats", [NATIVE, ["chat"]], ids=["native", "onto-chat"])
async def test_claude_code(tmp_path: Path, formats: Sequence[str]) -> None:
    quiet = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"}
    async with stage(tmp_path, formats=formats) as on:
        await on.connect("claude-code")
        ran = await run(on, "claude-code", "-p", PROMPT, "--allowedTools", "Bash", environment=quiet)
        on.proved(ran, main=2)
        await there_and_back(on, "claude-code", ".claude/settings.json")


@pytest.mark.parametrize(
    ("formats", "model"),
    [(NATIVE, "scripted"), (["chat"], "scripted"), (NATIVE, "gpt-6.1-sol")],
    ids=["native", "onto-chat", "native-own-model"],
)
async def test_codex(tmp_path: Path, formats: Sequence[str], model: str) -> None:
    async with stage(tmp_path, formats=formats) as on:
        await on.connect("codex", "--model", model)
        bare = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "--strict-config"]
        ran = await run(on, "codex", "exec", *bare, PROMPT)
        on.proved(ran, main=2)
        await there_and_back(on, "codex", ".codex/config.toml")
