"""`metaclaw dashboard`: a link into the dashboard of a real learner, and what to do where there is none."""

from __future__ import annotations

import json
import time
import urllib.request

import pytest

from gateway_process import gateway_process
from metaclaw.running import dashboards
from shell import Shell


def test_where_nothing_runs_it_says_what_to_do(shell: Shell) -> None:
    assert "metaclaw start" in shell.refused("dashboard")


@pytest.mark.parametrize(("name", "value", "told"), [
    ("METACLAW_DASHBOARD__ENABLED", "false", "dashboard.enabled = true"), ("", "", "evolve.enabled = true"),
])
def test_where_it_is_off_it_says_how_to_switch_it_on(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    for key in ("METACLAW_EVOLVE__ENABLED", "METACLAW_TRAINING__ENABLED"):
        monkeypatch.setenv(key, "false")
    if name:
        monkeypatch.setenv(name, value)
    assert told in shell.refused("dashboard")


def test_the_learner_serves_it_and_takes_it_away_with_it(shell: Shell) -> None:
    """The processes are real, from the command to the page."""
    with gateway_process(shell.data, learns=True) as process:
        link = _link(shell)
        with urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(link["link"]) as reply:
            page = reply.read().decode()
        assert "Is it learning?" in page
        assert link["link"].startswith(link["url"])
        assert (shell.data / "token").read_text() not in page + json.dumps(link)
        process.terminate()
        assert process.wait(30) == 0
    assert dashboards(shell.data) == []


def _link(shell: Shell) -> dict[str, str]:
    """As soon as the learner has it: until then the command asks for patience."""
    if not dashboards(shell.data):
        assert "Try again in some seconds" in shell.refused("dashboard")
    deadline = time.monotonic() + 120
    while not dashboards(shell.data):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    found: dict[str, str] = shell.json("dashboard")
    return found
