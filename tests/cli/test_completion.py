"""`metaclaw --install-completion`, then the Tab key in a real, interactive bash, zsh and fish."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SECONDS = 30.0
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


@dataclass(frozen=True)
class Shell:
    """`begin` starts it without the machine's own settings; `rc` is where the user's stand, with the prompt `ready> `.

    `tabs`: zsh loads Typer's script at the first Tab, and completes from the second on.
    """

    name: str
    begin: tuple[str, ...]
    rc: str
    prompt: str
    tabs: str = "\t"


SHELLS = (
    Shell("bash", ("--noprofile", "-i"), ".bashrc", 'PS1="ready> "\n'),
    Shell("zsh", ("--no-globalrcs", "-i"), ".zshrc", 'PS1="ready> "\n', "\t\t"),
    Shell("fish", ("-i",), ".config/fish/config.fish", 'function fish_prompt; printf "ready> "; end\n'),
)


@contextmanager
def running(shell: Shell, home: Path) -> Iterator[Terminal]:
    child, screen = pty.fork()
    if not child:
        path = f"{home / 'bin'}:{os.environ['PATH']}"
        told = {"HOME": str(home), "PATH": path, "TERM": "dumb", "INPUTRC": "/dev/null"}
        known = {name: os.environ[name] for name in ("PYTHONPATH", "LANG") if name in os.environ}
        program = shutil.which(shell.name) or shell.name
        os.execve(program, [shell.name, *shell.begin], known | told)  # noqa: S606 - that is what is tested
    try:
        yield Terminal(screen)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(screen)


@pytest.mark.parametrize("shell", [
    pytest.param(shell, id=shell.name, marks=pytest.mark.skipif(
        shutil.which(shell.name) is None, reason=f"{shell.name} is not installed"))
    for shell in SHELLS
])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # the child becomes a shell
def test_tab_completes_in_a_real_shell(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "metaclaw").write_text(COMMAND, encoding="utf-8")
    (tmp_path / "bin" / "metaclaw").chmod(0o755)
    rc = tmp_path / shell.rc
    rc.parent.mkdir(parents=True, exist_ok=True)
    rc.write_text(shell.prompt, encoding="utf-8")
    with running(shell, tmp_path) as terminal:
        terminal.until("ready> ")
        terminal.type("metaclaw --install-completion\r")
        terminal.until(f"{shell.name} completion installed")
    with running(shell, tmp_path) as terminal:
        terminal.until("ready> ")
        terminal.type(f"metaclaw data res{shell.tabs}")
        terminal.until("tore")  # what it adds; not every shell writes the word anew
