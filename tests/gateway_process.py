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
def gateway_process(home: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """It listens when the block begins."""
    flags = ("--upstream", refusing_url(), "--port", "0", "--data-dir", str(home), *more)
    environment = {**os.environ, "HOME": str(home), "METACLAW_EVOLVE__ENABLED": "false",
                   "METACLAW_TRAINING__ENABLED": "false"}
    command = [sys.executable, "-m", "metaclaw", "start", *flags]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True) as process:
        try:
            assert process.stderr
            assert "listens" in process.stderr.readline()
            yield process
        finally:
            process.kill()
