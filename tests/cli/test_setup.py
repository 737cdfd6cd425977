"""`metaclaw setup`: by flags and by a person, before a real gateway and a scripted provider."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.cli.setup_file import Answers, flags_of, format_of, shown, written
from running_gateway import stored_turns
from shell import Shell, Typed
from upstream_server import completion, refusing_url, upstream, whole

KEY = "provider-key-0123456789"


def free_port() -> str:
    return refusing_url().rpartition(":")[2].removesuffix("/v1")


async def run(shell: Shell, *arguments: str) -> tuple[int, str, str]:
    return await asyncio.to_thread(shell, "setup", *arguments)


async def test_flags_alone_write_the_file_ask_and_connect(shell: Shell) -> None:
    port = free_port()
    async with upstream(whole(completion("Hello there."))) as provider:
        code, out, err = await run(
            shell, "--yes", "--upstream", provider.url, "--model", "m-1", "--api-key", KEY, "--port", port,
            "--connect", "codex", "--sleep-hours", "22:00-06:00",
        )
        assert code == 0, err
        asked = next(one for one in provider.seen if one.method == "POST")
    file = shell.home / ".metaclaw" / "config.toml"
    assert tomllib.loads(file.read_text()) == {
        "upstream": {"url": provider.url, "model": "m-1", "api_key": KEY, "formats": ["chat"]},
        "schedule": {"sleep_hours": "22:00-06:00"}, "gateway": {"port": int(port)},
    }
    assert file.stat().st_mode & 0o077 == 0
    assert "It answered:  Hello there." in out
    assert KEY not in out + err
    assert (asked.headers["authorization"], json.loads(asked.body)["model"]) == (f"Bearer {KEY}", "m-1")
    assert f"127.0.0.1:{port}" in (shell.home / ".codex" / "config.toml").read_text()
    [turn] = stored_turns(shell.data / "metaclaw.db")
    assert turn.kind == "side"  # nothing is learned from a test


async def test_json_says_what_was_done(shell: Shell) -> None:
    async with upstream(whole(completion("Hi."))) as provider:
        code, out, _ = await run(shell, "--yes", "--json", "--upstream", provider.url, "--port", free_port())
    assert (code, json.loads(out)["reply"], json.loads(out)["connected"]) == (0, "Hi.", None)


async def test_a_test_that_fails_says_where_to_look(shell: Shell) -> None:
    code, _, err = await run(shell, "--yes", "--upstream", refusing_url(), "--port", free_port())
    assert code == 1
    assert "The settings are written, and the test request failed" in err
    assert "metaclaw doctor" in err
    assert (shell.home / ".metaclaw" / "config.toml").exists()


def test_without_a_terminal_or_with_answers_that_cannot_be_nothing_is_written(shell: Shell) -> None:
    for arguments, told in (
        ((), "say --yes"),
        (("--yes", "--upstream", "http://a/v1", "--embedded"), "Either --upstream or --embedded"),
        (("--yes", "--connect", "nobody"), "no client 'nobody'"),
        (("--yes", "--sleep-hours", "late"), "not of the form"),
    ):
        assert told in shell.refused("setup", *arguments)
    code, out, err = shell("setup", "--yes", "--upstream", "ftp://a")
    assert (code, out, "upstream.url" in err) == (1, "", True)
    assert list(shell.home.iterdir()) == []


def converse(home: Path, answers: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Run it on a terminal of its own; each answer is typed once its question is there, in order.

    What is typed before the last blank of the question for a key is thrown away with the echo.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "metaclaw", "setup", *arguments], stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True, env={**os.environ, "HOME": str(home), "COLUMNS": "200"},
    )
    os.close(theirs)
    said, told = "", 0
    with contextlib.suppress(OSError):  # how Linux says that nobody writes any more
        for question, answer in answers.items():
            while question not in said[told:]:
                said += os.read(ours, 4096).decode(errors="replace")
            told = said.index(question, told) + len(question)
            os.write(ours, answer.encode() + b"\n")
        while piece := os.read(ours, 4096):
            said += piece.decode(errors="replace")
    os.close(ours)
    return process.wait(20), said


async def test_a_person_is_asked(shell: Shell) -> None:
    async with upstream(whole(completion("Good evening."))) as provider:
        answers = {
            "base URL": provider.url, "Its model": "", "needs none []: ": KEY, "Connect which client": "none",
            "When do you sleep": "21:00-05:00", "Write this?": "y",
        }
        code, said = await asyncio.to_thread(converse, shell.home, answers, "--port", free_port())
    assert code == 0, said
    assert "It answered:  Good evening." in said
    tree = tomllib.loads((shell.home / ".metaclaw" / "config.toml").read_text())
    assert (tree["upstream"]["api_key"], tree["schedule"]) == (KEY, {"sleep_hours": "21:00-05:00"})
    assert "model" not in tree["upstream"]
    assert KEY not in said


async def test_a_person_may_say_no(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Typed("n\n"))
    code, _, err = await run(
        shell, "--upstream", refusing_url(), "--connect", "none", "--sleep-hours", "none", "--no-test"
    )
    assert (code, "Nothing was written" in err) == (1, True)
    assert not (shell.home / ".metaclaw").exists()


def test_what_stood_in_the_file_stays() -> None:
    before = "# mine\n[gateway]\nport = 9 # nine\n[upstream]\nurl = 'http://old/v1'\nmodel = 'm'\napi_key = 'k'\n"
    after = written(before, Answers(embedded=True, model="smollm2-135m"), None)
    assert after.startswith("# mine\n[gateway]\nport = 9 # nine\n")
    assert tomllib.loads(after) == {"gateway": {"port": 9}, "upstream": {}, "model": {"name": "smollm2-135m"}}


@given(st.from_regex(r"https?://[a-z]{1,9}/v1", fullmatch=True), st.text(st.characters(codec="ascii")), st.integers(1))
def test_the_file_says_what_was_answered(url: str, model: str, port: int) -> None:
    answers = Answers(url=url, model=model, api_key=KEY, port=port, sleep_hours="")
    text = written("", answers, Path("/data"))
    assert tomllib.loads(text) == {"data_dir": "/data", **flags_of(answers)}
    assert KEY not in shown(text)


def test_the_format_is_told_by_the_url() -> None:
    assert format_of("https://api.anthropic.com/v1") == "messages"
    assert format_of("https://notanthropic.com/v1") == "chat"
