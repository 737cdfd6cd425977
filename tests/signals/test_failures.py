"""Which tool results say that their call failed; by number in tests/bench/test_signals.py."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.signals.failures import failure_in
from metaclaw.signals.tools import ToolResult


def result(text: str, marked: bool | None = None, command: str = "") -> ToolResult:
    return ToolResult("run", json.dumps({"command": command}) if command else "{}", text, marked)


FAILED = [
    result("Exit code 1\nls: cannot access 'x'", True), result("exit_code: 2"), result('{"exit_code": 1}'),
    result('{"success": false}'), result('{"isError": true, "content": []}'), result("anything", True),
    result('{"output": "x", "metadata": {"exit_code": 127}}'), result("Traceback (most recent call last):\n  x"),
    result("starting\nTraceback (most recent call last):\n  File \"a\"\nKeyError: 'x'"), result("", True),
    result("bash: line 1: foo: command not found"), result("Error: no such table"), result("error[E0382]: moved"),
    result("Process exited with code 3\nOutput:\n"), result("<tool_use_error>not found</tool_use_error>"),
    result("Exit code 2\ngrep: bad option", True, "grep -Q x"), result('{"items": []}', True),
    result("Wall time: 1 s\nOutput:\nfatal: not a git repository"),
]
WORKED = [
    result(""), result("ok"), result("0 errors"), result("src/a.py:1: raise ValueError('error')"),
    result('{"exit_code": 0, "stderr": "Error: ignored"}'), result('{"error": null}'), result('{"error": ""}'),
    result('{"success": true, "error": "none"}'), result("[1, 2]"), result("Error: disk full, says the log", False),
    result("2026-01-01 ERROR db: timeout"), result("Exit code: 0\nOutput:\nError: quoted"), result('{"code": 200}'),
    result("Exit code 1\n", True, "grep -rn foo src"), result("Exit code 1\n", True, "cd src && rg foo"),
    result("Exit code 1\n3c3", True, "git diff --exit-code"), result("Exit code 1\n", None, "cat a | grep b"),
    result("Error: Exit code 1\n", None, "grep -rn foo src"), result("Error: Exit code 1\n1 failed, 2 passed in 1s"),
    result("Exit code 1\n2 failed, 11 passed in 3.10s", True, "pytest -q"), result("{not JSON"),
    result("Exit code: 101\ntest result: FAILED. 1 passed; 1 failed", None, "cargo test"),
]


@pytest.mark.parametrize("failed", FAILED)
def test_a_failed_call_is_told_by_its_own_words(failed: ToolResult) -> None:
    assert failure_in(failed)


@pytest.mark.parametrize("worked", WORKED)
def test_a_call_that_worked_may_speak_of_errors(worked: ToolResult) -> None:
    assert failure_in(worked) == ""


@pytest.mark.parametrize("command", [["bash", "-lc", "grep foo src"], ["grep", "foo", "src"]])
def test_a_command_in_pieces_is_read_too(command: list[str]) -> None:
    assert failure_in(ToolResult("shell", json.dumps({"command": command}), "Exit code: 1\nOutput:\n")) == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["error", "exit_code", "metadata", "success", "status", "code", "ok"]), inner),
    max_leaves=8,
)


@given(JSON, st.none() | st.booleans())
def test_any_json_is_read(value: object, marked: bool | None) -> None:
    assert isinstance(failure_in(result(json.dumps(value), marked)), str)


@pytest.mark.parametrize("piece", ["\n", "output: x\n", "a: ", "1 failed ", "error", "Exit code ", "{", '{"a":', "Tr"])
def test_a_megabyte_takes_no_time(piece: str) -> None:
    began = time.process_time()
    failure_in(result(piece * ((1 << 20) // len(piece))))
    assert time.process_time() - began < 1
