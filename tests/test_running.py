"""Which gateways run: told by locks, which end with their holders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from metaclaw.running import Presence, Running, gateways
from running_gateway import serving

HOLDER = """
import sys, pathlib
from metaclaw.running import Presence, Running
presence = Presence(pathlib.Path(sys.argv[1]), Running(1, "http://127.0.0.1:7", "other", "0", 1.0))
print("held", flush=True)
sys.stdin.read()
"""


def test_who_is_killed_is_gone(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        assert [one.url for one in gateways(tmp_path)] == ["http://127.0.0.1:7"]
        assert gateways(tmp_path, "default") == []
        assert len(gateways(tmp_path, "other")) == 1
        holder.kill()
        holder.wait()
        assert gateways(tmp_path) == []
    assert list((tmp_path / "run").iterdir()) == []


def test_several_are_told_oldest_first_and_leave_one_by_one(tmp_path: Path) -> None:
    younger = Presence(tmp_path, Running(2, "http://127.0.0.1:8", "default", "0", 20.0))
    older = Presence(tmp_path, Running(2, "http://127.0.0.1:9", "default", "0", 10.0))
    assert [one.started_at for one in gateways(tmp_path)] == [10.0, 20.0]
    older.leave()
    assert [one.url for one in gateways(tmp_path)] == ["http://127.0.0.1:8"]
    younger.leave()
    assert gateways(tmp_path) == []


def test_what_is_no_gateways_file_is_passed_over(tmp_path: Path) -> None:
    assert gateways(tmp_path) == []
    strange = Presence(tmp_path, Running(3, "http://127.0.0.1:8", "default", "0", 1.0))
    next((tmp_path / "run").glob("*.json")).write_text('{"pid": 3, "colour": "red"}')
    assert gateways(tmp_path) == []
    strange.leave()


async def test_a_gateway_is_there_while_it_serves(tmp_path: Path) -> None:
    async with serving(tmp_path) as door:
        [here] = gateways(tmp_path, "default")
        assert here.url == door.gateway.url
    assert gateways(tmp_path) == []


async def test_a_gateway_that_cannot_be_found_serves_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    async with serving(tmp_path) as door:
        assert (await door.health())["status"] == "ok"
