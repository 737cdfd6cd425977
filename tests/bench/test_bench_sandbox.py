"""The sandbox's benchmark, run small: the result file holds each figure that was asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metaclaw.bench import sandbox
from metaclaw.bench.sandbox_attacks import Attack
from metaclaw.config.fast_loop import SandboxSettings
from metaclaw.errors import SandboxError
from metaclaw.sandbox import Sandbox

HARMLESS = Attack("harmless", "def attack(path, port, pid):\n    return None")
LEAKING = Attack("leaking", "def attack(path, port, pid):\n    return [path]", plain=True)


@pytest.mark.usefixtures("nothing_left")
async def test_every_figure_that_was_asked_for_is_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := await sandbox._missing():
        pytest.skip(reason)
    monkeypatch.setattr(sandbox, "ATTACKS", (HARMLESS, LEAKING))
    written = json.loads((await sandbox.run(tmp_path, calls=3)).read_text(encoding="utf-8"))
    checks = written["checks"]
    assert set(checks) == {"warm_call_monty_ms", "warm_call_strong_ms", "attacks", "attacks_leaked"}
    assert checks["attacks"] == {"value": 2, "bar": "at least 30", "holds": False}
    assert checks["attacks_leaked"] == {"value": 2, "bar": "at most 0", "holds": False}
    assert written["arms"]["monty"]["value"] == written["arms"]["strong"]["value"] == 0.5
    assert set(written["leaks"]["strong"]) == {"leaking"}
    assert 0 < checks["warm_call_monty_ms"]["value"] < 1000


async def test_a_machine_without_both_engines_gets_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxError, match="needs both engines"):
        await sandbox.run(tmp_path)
    assert not list(tmp_path.iterdir())


async def test_the_call_that_is_timed_is_right_on_monty() -> None:
    engine = Sandbox(SandboxSettings(engine="monty"))
    result = await engine.run(sandbox.CALL)
    await engine.close()
    assert result.value == sandbox.EXPECTED
