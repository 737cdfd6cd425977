"""Agents from PyPI, as their users run them, through the gateway to a scripted model."""

from __future__ import annotations

import json
from pathlib import Path

from client_stage import PROMPT, PROOF, SECRET, stage
from installing import command_of

SUBMIT = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT"  # how mini-swe-agent is told that the task is done
FILE_LISTING = f"I write it. {SECRET}\n\nproof.txt\n```\nit ran\n```\n"  # aider's tool is the format of its replies
LITELLM = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}


async def test_aider(tmp_path: Path) -> None:
    aider = command_of("aider")
    async with stage(tmp_path, texts=[FILE_LISTING]) as on:
        await on.connect("aider")
        for words in (["init", "--quiet"], ["config", "user.name", "A"], ["config", "user.email", "a@example.org"]):
            assert (await on.run("git", *words)).code == 0
        quiet = ["--no-check-update", "--analytics-disable", "--no-show-model-warnings", "--no-show-release-notes"]
        ran = await on.run(aider, "--yes-always", *quiet, "--message", PROMPT, environment=LITELLM)
        on.proved(ran, main=1, beside=1)  # beside: the commit message
        await on.metaclaw("disconnect", "aider")
        assert not (on.home / ".aider.conf.yml").exists()


async def test_mini_swe_agent(tmp_path: Path) -> None:
    mini = command_of("mini-swe-agent")
    async with stage(tmp_path, [PROOF, SUBMIT]) as on:
        variables = json.loads((await on.metaclaw("connect", "generic", "--json", "--url", on.url)).out)
        known = {"MSWEA_CONFIGURED": "true", "MSWEA_COST_TRACKING": "ignore_errors", **LITELLM, **variables}
        ran = await on.run(
            mini, "--yolo", "--exit-immediately", "--model", "openai/scripted", "--task", PROMPT, environment=known
        )
        on.proved(ran, main=2)


async def test_hermes(tmp_path: Path) -> None:
    hermes = command_of("hermes")
    async with stage(tmp_path) as on:
        await on.connect("hermes")
        ran = await on.run(hermes, "--yolo", "-z", PROMPT)
        on.proved(ran, main=2)
        await on.metaclaw("disconnect", "hermes")
        assert not (on.home / ".hermes" / "config.yaml").exists()
