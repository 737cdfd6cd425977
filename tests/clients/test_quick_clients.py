"""Real clients before a real gateway: those that are quick to install and to run. The others: tests_clients/."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from client_stage import PROMPT, stage
from scripted_model import CLOSING

AGENTS = Path(__file__).parent / "agents"
TOOL = '''
import subprocess

def run_command(command: str) -> str:
    "Run a shell command and return what it prints."
    return subprocess.run(command, shell=True, capture_output=True, text=True).stdout
'''


@pytest.mark.parametrize("stream", ["stream", "whole"])
async def test_openai_sdk(tmp_path: Path, stream: str) -> None:
    async with stage(tmp_path) as on:
        variables = json.loads((await on.metaclaw("connect", "generic", "--json", "--url", on.url)).out)
        ran = await on.run(sys.executable, AGENTS / "openai_agent.py", PROMPT, stream, environment=variables)
        on.proved(ran, main=2)
        assert ran.out == f"{CLOSING}\n"


async def test_llm(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        await on.connect("llm")
        (on.work / "tools.py").write_text(TOOL)
        ran = await on.run(sys.executable, "-m", "llm", "--functions", "tools.py", PROMPT)
        on.proved(ran, main=2)
        assert ran.out == f"{CLOSING}\n"
        await on.metaclaw("disconnect", "llm")
        kept = [path.name for path in (on.home / ".config" / "io.datasette.llm").iterdir()]
        assert kept == ["logs.db"]  # what llm itself wrote there
