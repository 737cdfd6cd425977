"""`metaclaw config`: values with their sources, the file, and whether it can be used."""

from __future__ import annotations

from typing import Any

import pytest

from metaclaw.config.settings import Settings, known_keys, section_of
from shell import Shell


def by_key(rows: list[dict[str, Any]]) -> dict[str, tuple[Any, str]]:
    return {row["key"]: (row["value"], row["source"]) for row in rows}


def test_each_value_says_where_it_comes_from(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shell.home / "my.toml"
    file.write_text("[gateway]\nport = 1234\nhead_seconds = 3\n[upstream]\nurl = 'http://a/v1'\n")
    monkeypatch.setenv("METACLAW_GATEWAY__PORT", "4321")
    monkeypatch.setenv("METACLAW_SCHEDULE", '{"idle_seconds": 5}')
    monkeypatch.setenv("METACLAW_UPSTREAM__API_KEY", "very-secret")
    rows = shell.json("config", "show", "--config", str(file), "--data-dir", str(shell.home / "other"))
    told = by_key(rows)
    assert told["gateway.port"] == (4321, "environment: METACLAW_GATEWAY__PORT")
    assert told["gateway.head_seconds"] == (3.0, str(file))
    assert told["schedule.idle_seconds"] == (5.0, "environment: METACLAW_SCHEDULE")
    assert told["upstream.api_key"] == ("**********", "environment: METACLAW_UPSTREAM__API_KEY")
    assert told["data_dir"] == (str(shell.home / "other"), "flag: --data-dir")
    assert told["gateway.body_seconds"][1] == "default"
    sections = {name for name, field in Settings.model_fields.items() if section_of(field.annotation)} - {"upstreams"}
    assert set(told) == {key for key in known_keys() if key not in sections and not key.startswith("upstreams.")}


def test_changed_leaves_the_defaults_out(shell: Shell) -> None:
    (shell.home / ".metaclaw").mkdir()
    (shell.home / ".metaclaw" / "config.toml").write_text("[gateway]\nport = 1\n")
    assert set(by_key(shell.json("config", "show", "--changed"))) == {"gateway.port", "data_dir"}
    _, out, _ = shell("config", "show", "--changed")
    assert "gateway.port" in out
    assert "body_seconds" not in out


def test_the_path(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = shell.home / ".metaclaw" / "config.toml"
    assert shell("config", "path")[1] == f"{usual}\n"
    assert shell.json("config", "path") == {"path": str(usual), "there": False, "named": False}
    monkeypatch.setenv("METACLAW_CONFIG", str(shell.home / "mine.toml"))
    assert shell("config", "path")[1] == f"{shell.home / 'mine.toml'}\n"


def test_check_says_what_to_mend(shell: Shell) -> None:
    file = shell.home / "my.toml"
    file.write_text("[gateway]\nport = 99999\n")
    code, out, err = shell("config", "check", str(file))
    assert (code, out) == (1, "")
    assert "gateway.port" in err
    file.write_text("[gateway]\nport = 9999\n")
    assert shell("config", "check", str(file))[:2] == (0, f"{file}: can be used\n")
    assert "is not there" in shell("config", "check")[1]
    assert shell.json("config", "check", str(file))["usable"] is True
