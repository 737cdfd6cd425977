"""`metaclaw service`: the texts that it writes, checked by their own readers, and the commands that it runs."""

from __future__ import annotations

import os
import plistlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.cli.service_files import agent, quoted, unit
from shell import Shell

RECORDER = '#!/bin/sh\necho "$@" >> {log}\necho active\nexit {code}\n'


class Systemctl:
    """Stands in for the real one, which wants a session: writes down what it is told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._log, self._program = folder / "told", folder / "bin" / "systemctl"
        self._program.parent.mkdir()
        monkeypatch.setenv("PATH", f"{self._program.parent}:{os.environ['PATH']}")
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        self.answers(0)

    def answers(self, code: int) -> None:
        self._program.write_text(RECORDER.format(log=self._log, code=code))
        self._program.chmod(0o755)

    def told(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []


@pytest.fixture
def systemctl(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Systemctl:
    return Systemctl(shell.home, monkeypatch)


def test_installed_started_told_and_removed(
    shell: Shell, systemctl: Systemctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shell.home)
    file = shell.home / ".config/systemd/user/metaclaw.service"
    code, out, _ = shell("service", "install", "--system", "systemd", "--port", "9000", "--data-dir", "x y")
    assert code == 0
    assert file.read_text() in out
    assert f"--data-dir \"{Path.cwd() / 'x y'}\" --port 9000" in file.read_text()
    assert systemctl.told() == ["--user daemon-reload", "--user enable --now metaclaw.service"]
    assert shell.json("service", "status", "--system", "systemd") == {
        "file": str(file), "installed": True, "runs": True
    }
    systemctl.answers(3)
    assert shell("service", "status", "--system", "systemd")[0] == 1
    assert shell("service", "uninstall", "--system", "systemd")[0] == 0  # also where it is stopped already
    assert systemctl.told()[-1] == "--user disable --now metaclaw.service"
    assert not file.exists()
    assert "nothing is installed" in shell.refused("service", "uninstall", "--system", "systemd")
    code, out, _ = shell("service", "status", "--system", "systemd")
    assert (code, out.startswith("not installed")) == (1, True)


def test_a_look_writes_nothing(shell: Shell, systemctl: Systemctl) -> None:
    told = shell.json("service", "install", "--system", "systemd", "--dry-run")
    assert told["written"] is False
    assert "ExecStart=" in told["text"]
    assert not Path(told["file"]).exists()
    assert systemctl.told() == []


def test_where_it_cannot_be_started_the_person_is_told_how(shell: Shell, systemctl: Systemctl) -> None:
    systemctl.answers(1)
    code, out, err = shell("service", "install", "--system", "systemd")
    assert code == 1
    assert "[Service]" in out
    assert "systemctl --user daemon-reload && systemctl --user enable --now metaclaw.service" in err


def test_what_somebody_else_wrote_stays(shell: Shell, systemctl: Systemctl) -> None:
    file = shell.home / ".config/systemd/user/metaclaw.service"
    file.parent.mkdir(parents=True)
    file.write_text("[Service]\nExecStart=/bin/true\n")
    for act in ("install", "uninstall"):
        assert "not written by us" in shell.refused("service", act, "--system", "systemd")
    assert "/bin/true" in file.read_text()
    assert "no name of a service" in shell.refused("service", "install", "--name", "../x")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    odd = tmp_path / 'a "b" 50% $HOME ü'
    odd.mkdir()
    file = tmp_path / "metaclaw.service"
    file.write_text(unit("metaclaw", [sys.executable, "-m", "metaclaw", "start", "--data-dir", str(odd)], tmp_path))
    verified = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(file)], capture_output=True, text=True,  # noqa: S607
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    assert (verified.returncode, verified.stderr) == (0, "")


def test_launchd_gets_a_property_list(tmp_path: Path) -> None:
    command = ["/usr/bin/python3", "-m", "metaclaw", "start", "--config", "/a & b <c>.toml"]
    read = plistlib.loads(agent("metaclaw", command, tmp_path).encode())
    assert read["ProgramArguments"] == command
    assert read["KeepAlive"] == {"SuccessfulExit": False}
    assert read["StandardErrorPath"] == str(tmp_path / "metaclaw.log")


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1))
def test_words_are_quoted_as_a_shell_would_read_them(word: str) -> None:
    """systemd unquotes as a shell does, once its own doubled % and $ are single again."""
    single = re.sub(r"([%$])\1", r"\1", quoted(word))
    assert shlex.split(single.replace("$", "\x00")) == [word.replace("$", "\x00")]


def test_a_line_end_is_refused() -> None:
    with pytest.raises(ValueError, match="control character"):
        quoted("a\nExecStartPre=/bin/rm")
