"""The gateways that benchmarks start: their settings are valid, and a folder of somebody else's is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from metaclaw.bench.demo.run import DemoPlan, settings_of
from metaclaw.bench.server import MARK, OwnGateway
from metaclaw.bench.workdays.arms import ARMS
from metaclaw.bench.workdays.playing import Plan
from metaclaw.config.settings import Settings
from metaclaw.errors import MetaClawError
from metaclaw.running import gateways
from running_gateway import until


async def test_a_folder_of_somebody_elses_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(MetaClawError, match="empty one"):
        async with OwnGateway(tmp_path, {}):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("fresh", [True, False])
async def test_an_earlier_folder_is_made_anew_or_taken_up(tmp_path: Path, fresh: bool) -> None:
    (tmp_path / MARK).touch()
    (tmp_path / "store.db").write_text("learned")
    with pytest.raises(MetaClawError, match="ended before it was ready"):
        async with OwnGateway(tmp_path, {"gateway": {"no_such_setting": 1}}, fresh=fresh):
            pass
    assert (tmp_path / "store.db").exists() != fresh


def test_the_settings_of_the_benchmarks_are_known_ones(tmp_path: Path) -> None:
    demo = Settings.model_validate(settings_of(DemoPlan.quick(1), "some-model"))
    assert (demo.model.name, demo.schedule.sleep_hours) == ("some-model", "")
    for arm in ARMS.values():
        plan = Plan("c", "single", (arm.name,), 1, "http://127.0.0.1:9/v1", "m", 5, tmp_path, (0, 0))
        settings = Settings.model_validate(plan.settings(arm))
        assert (settings.evolve.enabled, settings.training.enabled) == (arm.learns, arm.trains)


BENCHMARK = """
import asyncio, sys
from pathlib import Path
from metaclaw.bench.server import OwnGateway

OFF = {"enabled": False}

async def main():
    settings = {"upstream": {"url": "http://127.0.0.1:9/v1"}, "evolve": OFF, "training": OFF}
    async with OwnGateway(Path(sys.argv[1]), settings) as server:
        if sys.argv[2] == "stay":
            server.leave_running()
            return
        print("ready", flush=True)
        sys.stdin.read()

asyncio.run(main())
"""


def benchmark(folder: Path, what: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", BENCHMARK, str(folder), what], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


async def test_a_benchmark_that_is_killed_leaves_no_gateway(tmp_path: Path) -> None:
    with benchmark(tmp_path, "be killed") as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        [left] = gateways(tmp_path)
        process.kill()
        process.wait()
        await until(lambda: not gateways(tmp_path), 60)
    assert left.pid not in (0, process.pid)


async def test_a_gateway_that_shall_stay_outlives_its_benchmark(tmp_path: Path) -> None:
    with benchmark(tmp_path, "stay") as process:
        assert process.wait() == 0
    [left] = gateways(tmp_path)
    os.kill(left.pid, signal.SIGTERM)
    await until(lambda: not gateways(tmp_path), 60)
