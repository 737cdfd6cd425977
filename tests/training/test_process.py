"""A child that reports: what it says, how it ends, and that it stops, goes on and dies when it is told to."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from metaclaw.errors import ChildInterruptedError, TrainingError
from metaclaw.training.process import INTERRUPTED, Event, ReportingProcess
from support import until

SAY = 'import json, os, signal, sys, time\ndef say(**event): print(json.dumps(event), flush=True)\n'
WAITS_FOR_A_FILE = """
from metaclaw.leash import die_with_parent
die_with_parent()
say(event="step", pid=os.getpid())
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
say(event="done")
"""
PARENT = """
import asyncio
from metaclaw.training.process import ReportingProcess
child = ReportingProcess("child", "never.there")
def stop(event):
    child.pause()
    say(**event)
asyncio.run(child.run(stop))
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def write(folder: Path, code: str, name: str = "child") -> None:
    (folder / f"{name}.py").write_text(SAY + dedent(code), encoding="utf-8")


def state(pid: int) -> str:
    """The kernel's letter for a process, such as S or T; empty for one that is gone or only waits to be reaped."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if letter in "ZX" else letter


async def run(*arguments: str) -> tuple[Event, list[Event]]:
    events: list[Event] = []
    return await ReportingProcess("child", *arguments).run(events.append), events


async def test_events_arrive_in_order_and_the_last_is_the_result(modules: Path) -> None:
    write(modules, """
        say(event="step", step=1)
        print("a library's word")
        print("[1, 2]", flush=True)
        say(event="done", folder=sys.argv[1])
    """)
    done, events = await run("here")
    assert done == {"event": "done", "folder": "here"}
    assert events == [{"event": "step", "step": 1}, done]


async def test_an_error_event_is_raised_in_its_own_words(modules: Path) -> None:
    write(modules, 'say(event="error", message="The weights are missing.")\nsys.exit(1)')
    with pytest.raises(TrainingError, match=r"^The weights are missing\.$") as raised:
        await run()
    assert not isinstance(raised.value, ChildInterruptedError)


@pytest.mark.parametrize(("code", "said"), [
    ('raise ValueError("bad shape")', "ended with code 1.*ValueError: bad shape"),
    ('say(event="step", step=1)', "ended with code 0"),
    ('say(event="done")\nsys.exit(3)', "ended with code 3"),
])
async def test_a_crash_is_told_with_its_last_words(modules: Path, code: str, said: str) -> None:
    write(modules, code)
    with pytest.raises(TrainingError, match=f"child {said}") as raised:
        await run()
    assert not isinstance(raised.value, ChildInterruptedError)


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", f"sys.exit({INTERRUPTED})"])
async def test_a_child_that_was_stopped_from_outside_can_be_started_again(modules: Path, end: str) -> None:
    write(modules, f'say(event="step", step=1)\n{end}')
    with pytest.raises(ChildInterruptedError, match="stopped from outside"):
        await run()


async def started(modules: Path) -> tuple[ReportingProcess, asyncio.Task[Event], int]:
    write(modules, WAITS_FOR_A_FILE)
    events: list[Event] = []
    process = ReportingProcess("child", str(modules / "go"))
    running = asyncio.create_task(process.run(events.append))
    await until(lambda: bool(events))
    return process, running, int(events[0]["pid"])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_pause_stops_it_where_it_stands_and_it_goes_on_after(modules: Path) -> None:
    process, running, pid = await started(modules)
    process.pause()
    await until(lambda: state(pid) == "T")
    (modules / "go").touch()
    assert not running.done()
    process.resume()
    assert (await running)["event"] == "done"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_cancelling_ends_the_child_even_while_it_is_paused(modules: Path) -> None:
    process, running, pid = await started(modules)
    process.pause()
    await until(lambda: state(pid) == "T")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert state(pid) == ""


async def test_a_pause_before_the_start_and_signals_after_the_end_do_no_harm(modules: Path) -> None:
    write(modules, 'say(event="done")')
    process = ReportingProcess("child")
    process.pause()
    running = asyncio.create_task(process.run(lambda _: None))
    await asyncio.sleep(0)
    process.resume()
    await running
    process.pause()
    process.resume()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own leash is Linux's")
async def test_a_child_dies_with_a_killed_parent_even_while_it_is_stopped(modules: Path) -> None:
    write(modules, WAITS_FOR_A_FILE)
    write(modules, PARENT, "parent")
    parent = await asyncio.create_subprocess_exec(sys.executable, "-m", "parent", stdout=asyncio.subprocess.PIPE)
    assert parent.stdout
    pid = int(json.loads(await parent.stdout.readline())["pid"])
    try:
        await until(lambda: state(pid) == "T")
        parent.kill()
        await parent.wait()
        await until(lambda: state(pid) == "")
    finally:
        if state(pid):
            os.kill(pid, signal.SIGKILL)
