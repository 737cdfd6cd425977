"""Real clients before a real gateway: those that are quick to install and to run. The others: tests_clients/."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from client_stage import NATIVE, PROMPT, stage
from scripted_model import CLOSING

AGENTS = Path(__file__).parent / "agents"
TOOL = '''
import subprocess

def run_command(command: str) -> str:
    "Run a shell command and return what it prints."
    return subprocess.run(command, shell=True, capture_output=True, text=True).stdout
'''


@pytest.mark.parametrize(
    ("agent", "reply", "formats"),
    [
        ("openai_agent.py", "stream", ["chat"]),
        ("openai_agent.py", "whole", ["chat"]),
        ("responses_agent.py", "stream", NATIVE),
        ("responses_agent.py", "whole", ["chat"]),
        ("anthropic_agent.py", "stream", ["chat"]),
        ("anthropic_agent.py", "whole", NATIVE),
    ],
)
async def test_sdks(tmp_path: Path, agent: str, reply: str, formats: Sequence[str]) -> None:
    async with stage(tmp_path, formats=formats) as on:
        variables = json.loads((await on.metaclaw("connect", "generic", "--json", "--url", on.url)).out)
        ran = await on.run(sys.executable, AGENTS / agent, PROMPT, reply, environment=variables)
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
