"""A gateway in a process of its own, as a user starts one, before an upstream that is not there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from upstream_server import refusing_url


@contextmanager
def gateway_process(home: Path, *more: str, learns: bool = False) -> Iterator[subprocess.Popen[str]]:
    """It listens when the block begins. Where it `learns`, it has a learner: one that has little to load."""
    flags = ("--upstream", refusing_url(), "--port", "0", "--data-dir", str(home), *more)
    environment = {**os.environ, "HOME": str(home), "METACLAW_EVOLVE__ENABLED": "false",
                   "METACLAW_TRAINING__ENABLED": str(learns).lower(), "METACLAW_DASHBOARD__PORT": "0"}
    command = [sys.executable, "-m", "metaclaw", "start", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as process:
        try:
            assert process.stderr
            assert "listens" in process.stderr.readline()
            yield process
        finally:
            process.kill()
