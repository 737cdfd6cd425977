"""`metaclaw --install-completion`, then the Tab key in a real, interactive bash."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SECONDS = 60.0
COMMAND = f"#!{sys.executable}\nfrom metaclaw.cli.main import main\nmain()\n"


class Terminal:
    def __init__(self, screen: int) -> None:
        self._screen = screen

    def type(self, text: str) -> None:
        os.write(self._screen, text.encode())

    def until(self, wanted: str) -> str:
        """What has come on the screen up to where that stands; fails where it does not come."""
        seen = ""
        while wanted not in seen:
            assert select.select([self._screen], [], [], SECONDS)[0], f"{wanted!r} did not come: {seen!r}"
            seen += os.read(self._screen, 4096).decode(errors="replace")
        return seen


@contextmanager
def bash(home: Path) -> Iterator[Terminal]:
    child, screen = pty.fork()
    if not child:
        path = f"{home / 'bin'}:{os.environ['PATH']}"
        told = {"HOME": str(home), "PATH": path, "TERM": "dumb", "PS1": "ready> ", "INPUTRC": "/dev/null"}
        known = {name: os.environ[name] for name in ("PYTHONPATH", "LANG") if name in os.environ}
        os.execve(shutil.which("bash") or "bash", ["bash", "--noprofile", "-i"], known | told)  # noqa: S606 - that is what is tested
    try:
        yield Terminal(screen)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(screen)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # the child becomes bash
def test_tab_completes_in_a_real_bash(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "metaclaw").write_text(COMMAND, encoding="utf-8")
    (tmp_path / "bin" / "metaclaw").chmod(0o755)
    (tmp_path / ".bashrc").write_text('PS1="ready> "\n', encoding="utf-8")
    with bash(tmp_path) as terminal:
        terminal.until("ready> ")
        terminal.type("metaclaw --install-completion\n")
        terminal.until("bash completion installed")
    assert ".bash_completions" in (tmp_path / ".bashrc").read_text("utf-8")
    with bash(tmp_path) as terminal:
        terminal.until("ready> ")
        terminal.type("metaclaw data res\t")
        terminal.until("restore ")
