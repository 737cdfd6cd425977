"""What learns and trains gives way, and our processes stay in one session: out of reach of Ctrl-C, and no further."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from metaclaw.leash import LOWEST_PRIORITY, give_way
from metaclaw.link import LearnerLink
from metaclaw.serving import engine
from metaclaw.training.process import ReportingProcess
from running_gateway import until
from test_link import ended, instead_of_the_learner, pid_of

STEP = "from metaclaw.leash import step_aside; step_aside()"
WHOLLY = "from metaclaw.leash import step_aside; step_aside(entirely=True)"


def _said(*steps: str) -> list[str]:
    return subprocess.run(
        [sys.executable, "-c", "import os\n" + "\n".join(steps)], capture_output=True, text=True, check=True
    ).stdout.split()


def test_a_process_that_steps_aside_has_the_lowest_priority_and_so_have_its_threads() -> None:
    say = "print(os.getpriority(os.PRIO_PROCESS, 0))"
    thread = "import threading; t = threading.Thread(target=lambda: print(os.getpriority(os.PRIO_PROCESS, 0)))"
    before, after, of_thread = map(int, _said(say, STEP, say, thread, "t.start(); t.join()"))
    assert before < LOWEST_PRIORITY
    assert after == of_thread == LOWEST_PRIORITY


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="the system knows no such policy")
def test_one_that_steps_aside_entirely_runs_only_while_nobody_else_does() -> None:
    say = "print(os.sched_getscheduler(0))"
    assert _said(say, STEP, say) == [str(os.SCHED_OTHER)] * 2
    assert _said(WHOLLY, say) == [str(os.SCHED_IDLE)]


def test_giving_way_does_no_harm_where_the_system_knows_no_such_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_yield", raising=False)
    give_way()


def _lives_beside_us(pid: int) -> bool:
    """In our session, and in a process group of its own."""
    return os.getsid(pid) == os.getsid(0) and os.getpgid(pid) == pid != os.getpgid(0)


async def test_the_learner_lives_beside_us(monkeypatch: pytest.MonkeyPatch) -> None:
    instead_of_the_learner(monkeypatch, "import sys; sys.stdin.read()")
    line = LearnerLink({})
    running = asyncio.create_task(line.run())
    await until(lambda: line.alive)
    assert _lives_beside_us(pid_of(line))
    await ended(running)


async def test_an_engine_lives_beside_us(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        process = await engine._spawn(log)
        assert _lives_beside_us(process.pid)
        process.kill()
        await process.wait()


async def test_a_trainer_lives_beside_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    said = 'import json, os; print(json.dumps({"event": "done", "sid": os.getsid(0), "pgid": os.getpgid(0)}))'
    (tmp_path / "child.py").write_text(said, encoding="utf-8")
    last = await ReportingProcess("child", "").run(lambda _: None)
    assert last and last["sid"] == os.getsid(0)
    assert last["pgid"] != os.getpgid(0)
