"""`metaclaw connect` and `disconnect` before a real gateway: asked first, shown first, written, put back."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest

from metaclaw.cli.main import main
from running_gateway import TOKEN, Door, serving
from upstream_server import whole

LISTED = json.dumps({"object": "list", "data": [{"id": "qwen", "object": "model"}]}).encode()


@dataclass
class Person:
    """Somebody at a command line, whose home is their own and whose settings name the gateway's token."""

    home: Path
    data: Path
    url: str

    @property
    def codex(self) -> Path:
        return self.home / ".codex" / "config.toml"

    def environment(self, token: str = TOKEN) -> dict[str, str]:
        known = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        port = self.url.rpartition(":")[2]
        return {
            **known, "HOME": str(self.home), "METACLAW_DATA_DIR": str(self.data), "METACLAW_GATEWAY__TOKEN": token,
            "METACLAW_GATEWAY__PORT": port, "COLUMNS": "200",
        }

    async def says(self, *arguments: str, token: str = TOKEN) -> Answer:
        """Runs `metaclaw ARGUMENTS` in this process, on a thread beside the gateway's loop, with no keyboard."""
        out, err = io.StringIO(), io.StringIO()
        with (
            patch.dict(os.environ, self.environment(token), clear=True), patch("sys.argv", ["metaclaw", *arguments]),
            patch("sys.stdin", io.StringIO()), redirect_stdout(out), redirect_stderr(err),
        ):
            code = await asyncio.to_thread(exit_code_of, main)
        return Answer(code, out.getvalue(), err.getvalue())

    async def types(self, keys: bytes, *arguments: str) -> int | None:
        """Runs it at a terminal of its own, types `keys`, and returns the exit code."""
        keyboard, terminal = os.openpty()
        try:
            os.write(keyboard, keys)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "metaclaw", *arguments, env=self.environment(), stdin=terminal,
                stdout=asyncio.subprocess.DEVNULL,
            )
            return await asyncio.wait_for(process.wait(), 60)
        finally:
            os.close(keyboard)
            os.close(terminal)


def exit_code_of(run: Callable[[], None]) -> int:
    try:
        run()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@dataclass
class Answer:
    code: int | None
    out: str
    err: str

    def refusal(self) -> str:
        """What it says in one line on stderr, of what it will not do."""
        assert (self.code, self.out) == (1, "")
        assert self.err.startswith("metaclaw: ")
        assert self.err.count("\n") == 1
        return self.err


@asynccontextmanager
async def person_before(folder: Path) -> AsyncIterator[tuple[Person, Door]]:
    async with serving(folder / "data") as door:
        door.upstream.answer = whole(LISTED)
        (folder / "home").mkdir()
        yield Person(folder / "home", folder / "data", door.gateway.url), door


async def test_there_and_back(tmp_path: Path) -> None:
    async with person_before(tmp_path) as (person, _):
        person.codex.parent.mkdir()
        person.codex.write_text('model_provider = "openai" # mine\n')
        connected = await person.says("connect", "codex", "--yes")
        assert connected.code == 0, connected.err
        assert '-model_provider = "openai" # mine\n+model_provider = "metaclaw" # mine\n' in connected.out
        assert TOKEN not in connected.out
        assert TOKEN in person.codex.read_text()
        assert f"{person.codex} holds the gateway's token" in connected.out  # readable by all before, it stays so
        [codex] = [row for row in json.loads((await person.says("connect", "--json")).out) if row["connected"]]
        assert (codex["client"], codex["url"], codex["edited"]) == ("codex", person.url, [])
        assert person.url in (await person.says("connect")).out
        back = await person.says("disconnect")
        assert (back.code, back.out) == (0, f"{person.codex}: put back\n")
        assert person.codex.read_text() == 'model_provider = "openai" # mine\n'


async def test_nothing_is_touched_before_the_gateway_answers(tmp_path: Path) -> None:
    async with person_before(tmp_path) as (person, door):
        wrong = await person.says("connect", "codex", "--yes", token="mc-wrong-token-0123456789abcdefghijkl")
        assert "refuses the token" in wrong.refusal()
        other = await person.says("connect", "codex", "--yes", "--url", door.upstream.url)
        assert "is not MetaClaw" in other.refusal()
        door.upstream.answer = whole(b'{"error": {"message": "out of order"}}', status=503)
        assert "nothing behind it does: out of order" in (await person.says("connect", "codex", "--yes")).refusal()
    gone = await person.says("connect", "codex", "--yes")
    assert f"No gateway answers at {person.url} (" in gone.refusal()
    assert "metaclaw start" in gone.err
    assert "no address" in (await person.says("connect", "codex", "--yes", "--url", "ftp://x")).refusal()
    assert list(person.home.iterdir()) == []
    assert not (person.data / "connect").exists()


async def test_a_look_changes_nothing(tmp_path: Path) -> None:
    async with person_before(tmp_path) as (person, _):
        looked = await person.says("connect", "codex", "--dry-run")
        assert (looked.code, looked.out.endswith("Nothing was changed.\n")) == (0, True)
        assert '+model_provider = "metaclaw"\n' in looked.out
        unasked = await person.says("connect", "codex")
        assert (unasked.code, "say --yes" in unasked.err) == (1, True)
        assert list(person.home.iterdir()) == []


@pytest.mark.parametrize(("typed", "written"), [(b"y\n", True), (b"n\n", False)])
async def test_a_person_is_asked(tmp_path: Path, typed: bytes, written: bool) -> None:
    async with person_before(tmp_path) as (person, _):
        assert await person.types(typed, "connect", "claude-code") == 0
        assert (person.home / ".claude" / "settings.json").exists() is written


async def test_the_model_is_the_one_there_is_or_the_one_that_is_named(tmp_path: Path) -> None:
    async with person_before(tmp_path) as (person, door):
        one = await person.says("connect", "aider", "--yes", "--json")
        assert json.loads(one.out)["model"] == "qwen"
        assert json.loads(one.out)["files"] == [{"path": str(person.home / ".aider.conf.yml"), "change": "created"}]
        door.upstream.answer = whole(json.dumps({"data": [{"id": "a"}, {"id": "b"}, "c"]}).encode())
        assert "--model NAME. The gateway lists a, b." in (await person.says("connect", "llm", "--yes")).err
        door.upstream.answer = whole(b"no list", status=404)
        named = await person.says("connect", "llm", "--yes", "--json", "--model", "mine")
        assert (json.loads(named.out)["model"], json.loads(named.out)["written"]) == ("mine", True)


async def test_disconnect_wants_a_name_where_several_are_connected(tmp_path: Path) -> None:
    async with person_before(tmp_path) as (person, _):
        assert "No client is connected" in (await person.says("disconnect")).refusal()
        await person.says("connect", "codex", "--yes")
        await person.says("connect", "claude-code", "--yes")
        assert "codex" in (await person.says("disconnect")).refusal()
        person.codex.write_text(person.codex.read_text() + "# mine\n")
        assert "edited since" in (await person.says("disconnect", "codex")).refusal()
        assert "edited since" in (await person.says("connect", "codex", "--dry-run")).refusal()
        assert "edited since" in (await person.says("connect")).out
        forced = await person.says("disconnect", "codex", "--force", "--json")
        assert json.loads(forced.out)["files"][0]["result"] == "our settings put back, other edits kept"
        assert person.codex.read_text().strip() == "# mine"


async def test_generic_prints_variables_and_writes_nothing(tmp_path: Path) -> None:
    async with person_before(tmp_path) as (person, _):
        printed = await person.says("connect", "generic")
        assert f"export OPENAI_BASE_URL={person.url}/v1\n" in printed.out
        assert f"export ANTHROPIC_AUTH_TOKEN={TOKEN}\n" in printed.out
        assert json.loads((await person.says("connect", "generic", "--json")).out)["ANTHROPIC_BASE_URL"] == person.url
        assert list(person.home.iterdir()) == []
        assert "no client 'emacs'" in (await person.says("connect", "emacs")).refusal()
