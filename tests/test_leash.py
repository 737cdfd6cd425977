"""What learns and trains gives way: by priority, and by session where the system shares out by session first."""

from __future__ import annotations

import subprocess
import sys

import pytest

from metaclaw.leash import AUTOGROUP, LOWEST_PRIORITY

SAY = "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"
STEP = "from metaclaw.leash import step_aside; step_aside()"
SAY_SESSION = f"print(open('{AUTOGROUP}').read().split()[-1])"


def _said(*steps: str) -> list[str]:
    command = [sys.executable, "-c", "\n".join(steps)]
    return subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=True).stdout.split()


def test_a_process_that_steps_aside_has_the_lowest_priority() -> None:
    before, after = map(int, _said(SAY, STEP, SAY))
    assert before < LOWEST_PRIORITY
    assert after == LOWEST_PRIORITY


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this system does not share its processors out by session")
def test_so_has_its_session() -> None:
    assert _said(SAY_SESSION, STEP, SAY_SESSION) == ["0", str(LOWEST_PRIORITY)]
