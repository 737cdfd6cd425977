"""Commands that are small, and what holds for the output of all: JSON for scripts, colour for terminals alone."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from metaclaw.cli.status import engines_text
from metaclaw.config.settings import Settings
from metaclaw.runtime.home import Home
from metaclaw.runtime.trainable import weights_words
from metaclaw.scheduler.board import Board
from metaclaw.store import Database
from running_gateway import until
from shell import SKILL, Shell


def test_a_skill_is_pinned_and_unpinned(shell: Shell) -> None:
    shell.publish("Dates are written like 2026-01-31.")
    assert shell.json("skills", "list")[0]["pinned"] is False
    pinned = shell.json("skills", "pin", SKILL.name, "--reason", "agreed")
    assert (pinned["name"], pinned["pinned"]) == (SKILL.name, True)
    assert shell.json("skills", "list")[0]["pinned"] is True
    listed = shell("skills", "list")[1]
    assert "active," in listed  # a narrow table breaks the line
    assert "pinned" in listed
    assert "pinned: agreed" in shell("skills", "history", SKILL.name)[1]
    assert shell.json("skills", "list")[0]["always"] is False
    generation = pinned["generation"]
    code, told, _ = shell("skills", "pin", SKILL.name, "--always")
    assert (code, told) == (0, f"{SKILL.name} stays as it is, and is in every request (generation {generation + 1})\n")
    assert shell.json("skills", "list")[0]["always"] is True
    code, told, _ = shell("skills", "unpin", SKILL.name)
    assert (code, told) == (0, f"{SKILL.name} is measured like any other (generation {generation + 2})\n")
    [row] = shell.json("skills", "list")
    assert (row["pinned"], row["always"]) == (False, False)
    assert "no-such" in shell.refused("skills", "pin", "no-such")


def test_training_is_asked_for_where_no_learner_runs(shell: Shell) -> None:
    assert shell.json("train", "now", "--wait") == {"asked": True, "learner": False, "answer": None}
    assert "metaclaw start" in shell("train", "now")[1]


def test_training_is_paused_and_resumed(shell: Shell) -> None:
    assert shell.json("train", "resume") == {"paused": False, "was_paused": False}
    assert shell.json("train", "pause", "--hours", "2") == {"paused": True, "seconds": 7200}
    assert shell.json("schedule", "show")["paused_by_hand"] == "for 2.0 h"
    assert shell("train", "pause")[1].startswith("paused until you resume it;")
    assert shell("train", "resume")[1] == "resumed: it trains in the next window\n"
    assert shell.json("schedule", "show")["paused_by_hand"] is None
    shell.json("train", "pause")
    shell.json("train", "now")
    assert shell.json("schedule", "show")["paused_by_hand"] is None


async def test_training_is_waited_for(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": str(tmp_path)})
    with Database(Home(settings).store) as database:
        board = Board(database, settings.namespace)
        board.tell({"phase": "waiting", "reason": "quiet"})
        command = [sys.executable, "-m", "metaclaw", "train", "now", "--wait", "--json", "--data-dir", str(tmp_path)]
        pipe = asyncio.subprocess.PIPE
        waiting = await asyncio.create_subprocess_exec(*command, stdout=pipe, env=nobodys(tmp_path))
        await until(lambda: board.asked_seconds() is not None)
        board.answer("nothing new to train on")
        told, _ = await waiting.communicate()
        assert json.loads(told) == {"asked": True, "learner": True, "answer": "nothing new to train on"}


FAILS = """
from metaclaw.cli import main
from metaclaw.errors import ConfigError

def app():
    raise ConfigError("not like this")

main.app = app
main.main()
"""


@pytest.mark.parametrize(("no_color", "red"), [("", True), ("1", False)])
def test_colour_is_for_terminals_that_want_it(tmp_path: Path, no_color: str, red: bool) -> None:
    command = [sys.executable, "-c", FAILS]
    environment = {**nobodys(tmp_path), "TERM": "xterm-256color", "NO_COLOR": no_color}
    assert subprocess.run(command, capture_output=True, env=environment).stderr == b"metaclaw: not like this\n"
    assert (b"\x1b[31mmetaclaw:" in on_a_terminal(command, environment)) is red


def nobodys(home: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(home)}


def on_a_terminal(command: list[str], environment: dict[str, str]) -> bytes:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    written = bytearray()

    def read() -> None:
        try:
            while part := os.read(ours, 4096):
                written.extend(part)
        except OSError:  # Linux says so when the last program has closed it
            pass

    reader = threading.Thread(target=read)
    reader.start()
    subprocess.run(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    reader.join()
    os.close(ours)
    return bytes(written)


def test_with_a_provider_it_is_said_that_only_skills_are_learned() -> None:
    assert weights_words(Settings.model_validate({"upstream": {"url": "http://a/v1"}})).endswith("Skills only")
    assert weights_words(Settings()) == "trained while you are away; served by local"


def test_the_engines_are_told_as_lines_for_people() -> None:
    state = {
        "running": [
            {"role": "serving", "policy": "m@base", "resident_bytes": 300 << 20}, {"role": "canary", "policy": "m@a"},
        ],
        "ended": 2, "swaps_refused": 1, "last_failure": "the engine of m@base was ended by signal 9",
    }
    assert engines_text(state) == [
        "m@base (serving, 300 MB)", "m@a (canary)", "2 ended by themselves", "1 swaps refused",
        "last failure: the engine of m@base was ended by signal 9",
    ]
    assert engines_text({"running": [], "ended": 0, "swaps_refused": 0, "last_failure": None}) == []
