"""A `metaclaw start` of a benchmark's own: a data folder, settings and a free port; models from the shared cache."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import tomlkit

from metaclaw.bench import leashed
from metaclaw.bench.leashed import STAY
from metaclaw.bench.stretch import begin
from metaclaw.errors import MetaClawError

START_SECONDS = 1800.0  # the first start downloads and assembles the model
STOP_SECONDS = 60.0
MARK = "made-by-metaclaw-demo"  # holds the gateway's process id; the demo was the first to have one


class OwnGateway:
    """Use as an asynchronous context manager; ends the gateway unless told to leave it running. It does not outlive
    this process either.

    `settings` is a tree like the configuration file's. A folder that an earlier run left is removed, or, with `fresh`
    off, taken up again with all that was learned in it, less what was learned in the same `stretch`, if one is named.
    """

    def __init__(self, data_dir: Path, settings: Mapping[str, Any], *, fresh: bool = True, stretch: str = "") -> None:
        self.data_dir = data_dir.absolute()
        self._settings = settings
        self._fresh = fresh
        self._stretch = stretch
        self._process: subprocess.Popen[bytes] | None = None
        self._keep = False
        self.url = ""
        self.token_file = self.data_dir / "token"
        self.model_name = ""

    @property
    def token(self) -> str:
        return self.token_file.read_text(encoding="ascii").strip()

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def leave_running(self) -> None:
        self._keep = True
        if self._process and self._process.stdin:
            self._process.stdin.write(STAY)
            self._process.stdin.flush()

    async def __aenter__(self) -> OwnGateway:
        self._prepare_folder()
        port = free_port()
        config = self.data_dir / "config.toml"
        config.write_text(self._config(port), encoding="utf-8")
        self.url = f"http://127.0.0.1:{port}"
        self._process = _spawn(config)
        (self.data_dir / MARK).write_text(str(self.pid), encoding="ascii")
        try:
            await self._until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is not None or not self._keep:
            self._stop()

    def _prepare_folder(self) -> None:
        """A benchmark's earlier folder is removed or taken up; anybody else's is refused."""
        if self.data_dir.exists() and any(self.data_dir.iterdir()):
            if not (self.data_dir / MARK).exists():
                raise MetaClawError(f"{self.data_dir} is not a folder of this benchmark's. Name an empty one.")
            self._end_earlier()
            if self._fresh:
                shutil.rmtree(self.data_dir)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        (self.data_dir / MARK).touch()
        if self._stretch:
            begin(self.data_dir, self._stretch, fresh=self._fresh)

    def _end_earlier(self) -> None:
        """The gateway that an earlier run left running on this folder, if it still runs."""
        pid = (self.data_dir / MARK).read_text(encoding="ascii").strip()
        if pid and str(self.data_dir) in _command_of(pid):
            os.kill(int(pid), signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            while _command_of(pid) and time.monotonic() < deadline:
                time.sleep(0.1)

    def _config(self, port: int) -> str:
        models = Path("~/.metaclaw/models").expanduser()
        own = {"data_dir": str(self.data_dir), "models_dir": str(models), "gateway": {"port": port}}
        return tomlkit.dumps({**own, **self._settings})

    async def _until_ready(self) -> None:
        async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as http:
            while True:
                if self._process and self._process.poll() is not None:
                    raise MetaClawError("The gateway of the benchmark ended before it was ready; its message is above.")
                health = await _health(http, self.url)
                if health.get("status") == "ok":
                    self.model_name = str(health["policy"]).partition("@")[0]
                    return
                await asyncio.sleep(0.2)

    def _stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=STOP_SECONDS)
        if self._process and self._process.stdin:
            self._process.stdin.close()


async def _health(http: aiohttp.ClientSession, url: str) -> dict[str, object]:
    try:
        async with http.get(f"{url}/healthz") as reply:
            found: dict[str, object] = await reply.json()
            return found
    except aiohttp.ClientError:
        return {}


def _spawn(config: Path) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C in the benchmark leaves it to us to end it."""
    command = [sys.executable, "-m", leashed.__name__, "--config", str(config)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def _command_of(pid: str) -> str:
    """The command line of a running process; empty where there is none."""
    ps = shutil.which("ps")
    if ps is None:
        return ""
    return subprocess.run([ps, "-o", "command=", "-p", pid], capture_output=True, text=True, check=False).stdout.strip()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
