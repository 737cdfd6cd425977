"""Every command tells what it does with an example; completion, versions and exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from metaclaw import __version__
from metaclaw.cli.later import Later, whole
from metaclaw.cli.main import app
from shell import Shell


def commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(f"{path} {name}".strip(), whole(below))


ALL = list(commands("", get_command(app)))


@pytest.mark.parametrize(("path", "command"), ALL, ids=[path for path, _ in ALL])
def test_every_command_has_help_with_an_example_of_itself(path: str, command: Any) -> None:
    example = re.search(r"Example:.*metaclaw (.+)", command.help or "", re.DOTALL)
    assert example, command.help
    assert example[1].startswith(path)


WITHOUT_JSON = {
    "start": "serves until it is stopped; its log is JSON with --log-format json",
    "mcp": "its output is the protocol's",
    "demo": "writes its figures to demo.json",
    "config": "prints JSON as it is",
    "bench": "each writes its figures to a result file, which `bench report --json` reads",
    "adapters show": "prints JSON as it is",
    "adapters rollback": "changes, and says so in a line",
}


@pytest.mark.parametrize(("path", "command"), ALL, ids=[path for path, _ in ALL])
def test_every_command_tells_scripts_what_it_tells_people(path: str, command: Any) -> None:
    if path != "bench report" and any(path == name or path.startswith(f"{name} ") for name in ("bench", *WITHOUT_JSON)):
        return
    assert "--json" in {name for option in command.params for name in option.opts}


def test_help_is_printed_without_loading_a_model_library(shell: Shell) -> None:
    code, out, _ = shell("--help")
    assert code == 0
    for name in ("start", "stop", "status", "setup", "doctor", "journal", "service", "config", "skills"):
        assert name in out


PRINTS_THE_VERSION = """
import sys
sys.argv[1:] = ["--version"]
from metaclaw.cli.main import main
try:
    main()
finally:
    print(*sys.modules)
"""
SLOW = {"numpy", "torch", "pydantic", "pydantic_settings", "apsw", "rich", "asyncio.base_events", "metaclaw.runtime",
        "metaclaw.config", "metaclaw.store"}


def test_the_version_is_told_without_importing_what_takes_long() -> None:
    """About 0.2 s in place of 1.3 (two busy cores). What is imported does not depend on the machine; seconds would."""
    told = subprocess.run([sys.executable, "-c", PRINTS_THE_VERSION], capture_output=True, text=True, check=True).stdout
    version, _, modules = told.partition("\n")
    assert version == f"metaclaw {__version__}"
    assert not SLOW & set(modules.split())


@pytest.mark.parametrize("one", [c for c in vars(get_command(app))["commands"].values() if isinstance(c, Later)],
                         ids=lambda one: str(one.name))
def test_the_line_of_a_command_that_is_imported_later_is_its_own(one: Later) -> None:
    assert one.help
    assert str(one.real().help).startswith(one.help.rstrip("."))


def test_a_command_line_that_cannot_be_read_is_exit_code_2(shell: Shell) -> None:
    assert shell("journal", "tail", "--nonsense")[0] == 2
    assert shell("nonsense")[0] == 2


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_shells_can_complete(name: str, tmp_path: Path) -> None:
    """The shell is named, not found out: this may run below none."""
    script = subprocess.run(
        [sys.executable, "-m", "metaclaw", "--show-completion", name], capture_output=True, text=True,
        env={**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert script.returncode == 0, script.stderr
    assert "METACLAW" in script.stdout.upper()
