"""`metaclaw stop`: a gateway in a process of its own ends in order, or by force."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from gateway_process import gateway_process
from metaclaw.running import gateways
from shell import Shell


def test_a_gateway_ends_in_order(shell: Shell) -> None:
    with gateway_process(shell.data) as process:
        [running] = gateways(shell.data)
        assert running.pid == process.pid
        code, out, _ = shell("stop")
        assert (code, out) == (0, f"stopped {running.url} (process {process.pid})\n")
        assert process.wait(10) == 0
    assert shell.json("stop") == {"stopped": []}
    assert "No gateway of" in shell("stop")[1]


def test_one_that_does_not_end_is_told_and_ended_by_force(shell: Shell) -> None:
    with gateway_process(shell.data) as process:
        process.send_signal(signal.SIGSTOP)
        code, out, err = shell("stop", "--timeout", "0.1")
        assert (code, out) == (1, "")
        assert f"process {process.pid}" in err
        assert "--kill" in err
        assert shell.json("stop", "--timeout", "0.1", "--kill")["stopped"][0]["pid"] == process.pid
        assert process.wait(10) == -signal.SIGKILL


def test_the_gateway_of_another_namespace_stays(shell: Shell) -> None:
    with gateway_process(shell.data) as process:
        environment = {**os.environ, "METACLAW_NAMESPACE": "other"}
        told = subprocess.run(
            [sys.executable, "-m", "metaclaw", "stop"], env=environment, capture_output=True, text=True, check=True
        )
        assert "No gateway" in told.stdout
        assert process.poll() is None
