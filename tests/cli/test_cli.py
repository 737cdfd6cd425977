"""The command line: what it prints, and one clear line with exit code 1 for what it cannot do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway_process import gateway_process
from metaclaw import __version__
from shell import Shell


def test_version(shell: Shell) -> None:
    assert shell("--version") == (0, f"metaclaw {__version__}\n", "")


def test_config_is_json_with_the_secrets_masked(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METACLAW_UPSTREAM__API_KEY", "very-secret")
    (shell.home / "my.toml").write_text("[gateway]\nport = 1234\n")
    code, out, _ = shell("config", "--config", str(shell.home / "my.toml"))
    assert (code, json.loads(out)["gateway"]["port"]) == (0, 1234)
    assert "very-secret" not in out


def test_brackets_in_a_refusal_are_shown(shell: Shell) -> None:
    (shell.home / "my.toml").write_text(
        "[upstream]\nurl = 'http://a/v1'\n[[upstreams]]\nname = 'b'\nurl = 'http://b/v1'\n"
    )
    _, _, err = shell("start", "--config", str(shell.home / "my.toml"))
    assert "[[upstreams]] and the provider in [upstream] exclude each other" in err


def test_an_unknown_key_is_refused_with_the_nearest(shell: Shell) -> None:
    (shell.home / "my.toml").write_text("[gateway]\nprot = 1234\n")
    told = shell.refused("config", "--config", str(shell.home / "my.toml"))
    assert "'gateway.prot'" in told
    assert "'gateway.port'" in told


def test_a_configuration_that_is_not_there_or_no_toml(shell: Shell) -> None:
    (shell.home / "bad.toml").write_text("[gateway\n")
    assert "not valid TOML" in shell.refused("config", "--config", str(shell.home / "bad.toml"))
    assert "no configuration file" in shell.refused("config", "--config", str(shell.home / "none.toml"))


def test_skills_are_listed_shown_and_rolled_back(shell: Shell) -> None:
    assert json.loads(shell("skills", "list", "--json")[1]) == []
    shell.publish("The first.", "The second.")
    [listed] = json.loads(shell("skills", "list", "--json")[1])
    assert (listed["name"], listed["version"], listed["state"]) == ("iso-dates", 2, "active")
    assert "The second." in shell("skills", "show", "iso-dates")[1]
    assert "live as iso-dates@3 (generation" in shell("skills", "rollback", "iso-dates")[1]
    assert "The first." in shell("skills", "show", "iso-dates")[1]


def test_there_may_be_nothing_to_roll_back(shell: Shell) -> None:
    assert "no skill 'none'" in shell.refused("skills", "rollback", "none")
    assert "no adapter to roll back" in shell.refused("adapters", "rollback")
    shell.publish("The first.")
    assert "no version of it is live" in shell("skills", "rollback", "iso-dates")[1]
    assert "nothing to roll back" in shell.refused("skills", "rollback", "iso-dates")


def test_adapters_are_listed(shell: Shell) -> None:
    assert json.loads(shell("adapters", "list", "--json")[1]) == []


def test_status_asks_a_gateway_that_runs(shell: Shell) -> None:
    assert shell.json("status")["gateway"] == "not running"
    with gateway_process(shell.data) as process:
        facts = shell.json("status")
        assert facts["gateway"] == [f"{facts['address'].removesuffix('/v1')} (process {process.pid})"]
        assert (facts["learner"], facts["lost"], facts["in_flight"]) == ("off", {}, 0)
        assert facts["disk_bytes"] > 0
        told = dict(line.split(maxsplit=1) for line in shell("status")[1].splitlines())
        assert f"(process {process.pid})" in told["gateway"]
        assert told["disk"].endswith(" MB")
        assert told["clients"] == "none"


def test_status_without_a_gateway_reads_the_store_alone(shell: Shell) -> None:
    shell.publish("The first.")
    facts = json.loads(shell("status", "--json")[1])
    assert (facts["turns"], facts["generation"], facts["live_skills"]) == (0, 1, ["iso-dates@1"])
    assert (facts["adapter"], facts["training"]) == ("base model", "never ran")
    assert facts["token"] == (shell.home / "data" / "token").read_text()


def test_a_port_in_use_ends_the_start_with_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [sys.executable, "-m", "metaclaw", "start", "--upstream", "http://127.0.0.1:1/v1", "--port", port],
            env={**os.environ, "HOME": str(tmp_path), "COLUMNS": "40"}, capture_output=True, text=True, timeout=30,
        )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"metaclaw: Cannot listen on 127.0.0.1:{port}")
    assert ended.stderr.count("\n") == 1


def test_bench_report_names_what_falls_short(shell: Shell, tmp_path: Path) -> None:
    short, fine = {"value": 0.1, "bar": "at least 0.3", "holds": False}, {"value": 60, "bar": "60", "holds": True}
    checks = {"gain": short, "n": fine}
    told = {"command": "c", "commit": "0", "date": "2026-11-30", "machine": "m", "model": "m", "seeds": [1], "arms": {}}
    (tmp_path / "demo.json").write_text(json.dumps({"bench": "demo", "checks": checks, **told}), encoding="utf-8")
    code, out, _ = shell("bench", "report", "--results", str(tmp_path))
    assert (code, len(out.splitlines())) == (0, 2)
    code, out, _ = shell("bench", "report", "--check", "--results", str(tmp_path))
    assert (code, out) == (1, "demo: gain = 0.1 (bar: at least 0.3): falls short\n")


def test_the_results_of_this_checkout_are_in_the_report(shell: Shell) -> None:
    results = Path(__file__).parents[2] / "bench" / "results"
    code, out, _ = shell("bench", "report", "--results", str(results))
    named = [name for path in results.glob("*.json") for name in json.loads(path.read_text("utf-8"))["checks"]]
    assert code == 0
    assert named
    assert all(f": {name} = " in out for name in named)


def test_schedule_tells_the_rule_and_the_coming_nights(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METACLAW_SCHEDULE__TIME_ZONE", "Asia/Tokyo")
    facts = json.loads(shell("schedule", "show", "--json")[1])
    assert (facts["sleep_hours"], facts["time_zone"], facts["asked_for"]) == ("23:00-07:00", "Asia/Tokyo", None)
    assert facts["learner"] == "does not run, or does not train"
    nights = json.loads(shell("schedule", "next", "--json")[1])
    assert 7 <= len(nights) <= 8
    assert nights[1]["start"].endswith("T23:00:00+09:00")
    assert nights[1]["end"].endswith("T07:00:00+09:00")
    assert "sleep hours, after 60 s of quiet" in shell("schedule", "next")[1]
    monkeypatch.setenv("METACLAW_SCHEDULE__TIME_ZONE", "Asia/Tokio")
    assert "'Asia/Tokio' is not a known time zone" in shell("schedule", "next")[2]


def test_a_calendar_that_cannot_be_read_is_told_without_its_address(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METACLAW_SCHEDULE__CALENDAR", str(shell.home / "secret.ics"))
    code, out, err = shell("schedule", "next")
    assert code == 0
    assert "no calendar: The calendar could not be fetched" in err
    assert "secret" not in out + err
    assert "secret" not in shell("config")[1]


def test_train_now_is_asked_for_and_kept_for_the_learner(shell: Shell) -> None:
    assert "nothing trains until a learner runs" in shell("train", "now", "--wait")[1]
    assert json.loads(shell("schedule", "show", "--json")[1])["asked_for"].endswith("s ago")


def test_train_now_needs_a_model_of_ours(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METACLAW_UPSTREAM__URL", "http://127.0.0.1:1/v1")
    assert "skills only" in shell.refused("train", "now")
