"""A peer in a process and an environment of its own: installed once, asked in lines of JSON (`side.py`)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from metaclaw.errors import MetaClawError

SIDE = Path(__file__).with_name("side.py")
LINE_BYTES = 1 << 24
ANSWER_SECONDS = 900.0
# Where each looks for keys, and what would make it speak to others than the meter.
ENVIRONMENT = {
    "OPENAI_API_KEY": "none", "MEM0_TELEMETRY": "False", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True", "DO_NOT_TRACK": "1", "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip
KEPT = ("PATH", "LANG", "TMPDIR", "SSL_CERT_FILE")


class PeerError(MetaClawError):
    """A peer that cannot be run here, with what it said."""


def environment(name: str, packages: tuple[str, ...], folder: Path) -> Path:
    """The Python of an environment that holds these packages, made where it is not there; PeerError if it cannot be."""
    venv = folder / name
    stamp, python = venv / "installed", venv / "bin" / "python"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == "\n".join(packages):
        return python
    try:
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PeerError(f"{name}: no environment for it: {error}") from error
    if done.returncode:
        raise PeerError(f"{name}: {' '.join(packages)} could not be installed: {done.stderr.strip()[-400:]}")
    stamp.write_text("\n".join(packages), encoding="utf-8")
    return python


class Peer:
    """A `Memory`. Use as an asynchronous context manager; `errors` counts what it raised at its work, by its words.

    A peer that fails to learn from an answer goes on: that is what its user would have.
    """

    def __init__(self, name: str, python: Path, config: Mapping[str, Any], log: Path) -> None:
        self.name = name
        self.version = ""
        self.holds = 0  # memories, or a playbook's entries
        self.errors: Counter[str] = Counter()
        self._python = python
        self._config = config
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        own = {key: os.environ[key] for key in KEPT if key in os.environ} | ENVIRONMENT
        home = {"HOME": str(self._log.parent), "MEM0_DIR": str(self._log.parent)}
        extra = {key: str(value) for key, value in self._config.get("environment", {}).items()}
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(self._python), str(SIDE), self.name,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, limit=LINE_BYTES,
                env=own | home | extra, start_new_session=True,
            )  # fmt: skip
        try:
            said = await self._ask(self._config)
            if "ready" not in said:
                raise PeerError(f"{self.name} does not start: {said.get('error')}")
            self.version = str(said["ready"])
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        process = self._process
        if process and process.returncode is None:
            assert process.stdin  # noqa: S101 - it was asked for
            process.stdin.close()
            try:
                async with asyncio.timeout(20):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    async def before(self, asked: str) -> str:
        said = await self._ask({"before": asked})
        self._note(said)
        return str(said.get("context", ""))

    async def after(self, asked: str, answered: str, said: str, right: bool) -> None:
        self._note(await self._ask({"after": [asked, answered, said, right]}))

    def _note(self, said: Mapping[str, Any]) -> None:
        self.holds = int(said.get("holds", self.holds))
        if error := said.get("error"):
            self.errors[str(error)[:200]] += 1

    async def _ask(self, what: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process  # noqa: S101 - only while it runs
        assert self._process.stdin  # noqa: S101
        assert self._process.stdout  # noqa: S101
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                self._process.stdin.write(json.dumps(what).encode() + b"\n")
                await self._process.stdin.drain()
                line = await self._process.stdout.readline()
        except (ConnectionError, TimeoutError) as error:
            raise PeerError(f"{self.name} does not answer: {error!r}; its log is {self._log}") from error
        if not line:
            raise PeerError(f"{self.name} ended; its log is {self._log}")
        found: dict[str, Any] = json.loads(line)
        return found
