"""The agent's tools: what they do, and that nothing outside the workspace is within their reach."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator

import pytest

from metaclaw.bench.workdays.questions import letters_in, safe_path
from metaclaw.bench.workdays.tools import TOOLS, Workspace
from metaclaw.config.fast_loop import SandboxSettings
from metaclaw.sandbox import Sandbox

needs_jail = pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap (apt-get install bubblewrap)")


@pytest.fixture
async def workspace() -> AsyncIterator[Workspace]:
    sandbox = Sandbox(SandboxSettings(engine="strong"))
    yield Workspace({"inbox/note01.txt": "twice twice once\n"}, sandbox)
    await sandbox.close()


async def test_files_are_listed_read_written_and_edited(workspace: Workspace) -> None:
    assert await call(workspace, "list") == "inbox/note01.txt"
    assert await call(workspace, "read", path="./inbox/note01.txt") == "twice twice once\n"
    assert "Written" in await call(workspace, "write", path="out/a.md", content="# A")
    assert "Written" in await call(workspace, "edit", path="inbox/note01.txt", old="once", new="ONCE")
    assert workspace.files == {"inbox/note01.txt": "twice twice ONCE\n", "out/a.md": "# A"}


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("read", {"path": "missing.txt"}, "no file"),
        ("read", {"path": "/etc/passwd"}, "no file"),
        ("write", {"path": "../out.txt", "content": ""}, "workspace"),
        ("write", {"path": "big", "content": "x" * 300_000}, "full"),
        ("edit", {"path": "inbox/note01.txt", "old": "twice", "new": ""}, "2 times"),
        ("edit", {"path": "inbox/note01.txt", "old": "", "new": ""}, "0 times"),
        ("edit", {"path": "missing.txt", "old": "a", "new": ""}, "no file"),
        ("delete", {"path": "a"}, "no tool"),
        ("read", {}, "no tool"),
    ],
)
async def test_what_cannot_be_done_is_told(workspace: Workspace, name: str, given: dict[str, str], told: str) -> None:
    assert told in await call(workspace, name, **given)


async def test_arguments_that_are_no_object_of_texts_are_told(workspace: Workspace) -> None:
    assert "JSON" in await workspace.call("read", "{")
    assert "texts" in await workspace.call("read", "[1]")
    assert "texts" in await workspace.call("read", '{"path": 1}')


@needs_jail
async def test_a_program_sees_and_changes_the_workspace(workspace: Workspace) -> None:
    program = "import pathlib\np = pathlib.Path('inbox/note01.txt')\nprint(len(p.read_text()))\np.rename('moved.txt')"
    assert await call(workspace, "run", program=program) == "17"
    assert set(workspace.files) == {"moved.txt"}


@needs_jail
async def test_a_program_that_fails_keeps_what_it_did_and_tells_why(workspace: Workspace) -> None:
    told = await call(workspace, "run", program="open('a.txt', 'w').write('a')\nraise ValueError('odd')")
    assert "ValueError: odd" in told
    assert workspace.files["a.txt"] == "a"


@needs_jail
async def test_a_program_reaches_neither_rules_nor_checkers(workspace: Workspace) -> None:
    program = (
        "import pathlib\n"
        "try:\n    import metaclaw.bench.workdays.rules\n    print('imported')\n"
        "except ImportError:\n    print('no rules')\n"
        "print([str(path) for path in pathlib.Path('/').rglob('*') if 'workdays' in str(path)])"
    )
    assert await call(workspace, "run", program=program) == "no rules\n[]"


def test_every_tool_takes_texts_only() -> None:
    for tool in TOOLS:
        properties = tool["function"]["parameters"]["properties"]
        assert all(told["type"] == "string" for told in properties.values())


@pytest.mark.parametrize(
    ("path", "safe"),
    [
        ("a/b.md", "a/b.md"), ("./a", "a"), ("a/./b", "a/b"), ("../a", None), ("a/../../b", None), ("/a", None),
        ("", None), ("a\0b", None),
    ],
)  # fmt: skip
def test_paths_stay_in_the_workspace(path: str, safe: str | None) -> None:
    assert safe_path(path) == safe


@pytest.mark.parametrize(
    ("reply", "letters"),
    [
        ("I think \\bbox{A,C}", {"A", "C"}), ("\\bbox{A} or rather \\bbox{ b }", {"B"}), ("\\boxed{D}", {"D"}),
        ("So:\nA, B and D", {"A", "B", "D"}), ("Answer: C.", {"C"}), ("A dog is no answer.", set()), ("", set()),
    ],
)  # fmt: skip
def test_letters_are_read_from_the_box_or_the_last_line(reply: str, letters: set[str]) -> None:
    assert letters_in(reply) == letters


async def call(workspace: Workspace, name: str, **given: str) -> str:
    return await workspace.call(name, json.dumps(given))
