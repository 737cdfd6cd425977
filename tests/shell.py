"""`metaclaw ARGUMENTS` in the test's own process, away from the user's own configuration."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from metaclaw.cli.main import main
from metaclaw.library.catalog import Catalog
from metaclaw.store import Database
from metaclaw.types import Skill, SkillState

SKILL = Skill("iso-dates", "Write dates the ISO way", "Dates are written like 2026-01-31.")


class Typed(io.StringIO):
    """What a person types, where one sits there."""

    def isatty(self) -> bool:
        return True


class Shell:
    """Called with the arguments; returns exit code, stdout and stderr. `home` is the user's, `data` the data folder."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self.data = home, home / "data"
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("METACLAW_DATA_DIR", str(home / "data"))

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["metaclaw", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        told = self._capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    def json(self, *arguments: str) -> Any:
        """What a command that succeeds says with --json."""
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    def refused(self, *arguments: str) -> str:
        """What it says on stderr, in one line, of what it cannot do."""
        code, out, err = self(*arguments)
        assert (code, out) == (1, "")
        assert err.startswith("metaclaw: ")
        assert err.count("\n") == 1
        return err

    def publish(self, *bodies: str) -> None:
        with Database(self.home / "data" / "metaclaw.db") as database:
            catalog = Catalog(database, "default", self.home / "data" / "skills" / "default")
            for body in bodies:
                catalog.publish(Skill(SKILL.name, SKILL.description, body), SkillState.ACTIVE, "test", [])
