"""Who is compared: the direct way, a bare pass-through, MetaClaw with everything on, and two public gateways.

Each is started on one processor, before the same mock upstream on the other. The public ones are installed into a cache
folder of the benchmark's own; one that cannot be had is left out, and the report says so.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from metaclaw.bench.gateway.library import QUESTIONS, fill

GATEWAY_CPU, LOAD_CPU = "0", "1"
TOKEN = "mc-bench-token-0123456789abcdefghijklmn"  # noqa: S105 - of a gateway that lives for minutes on loopback
CACHE = Path("~/.cache/metaclaw-bench").expanduser()
LITELLM, PORTKEY = "litellm[proxy]==1.108.7", "@portkey-ai/gateway@1.15.2"
START_SECONDS = 120.0
REST_SECONDS, RESTING_SHARE = 1.0, 0.05
JSON = {"content-type": "application/json"}
# Portkey listens on every address of the machine unless told otherwise, and has no option for it.
LOOPBACK_ONLY = """
const net = require('net'), listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (first, ...rest) {
  if (typeof first === 'object' && first && 'port' in first)
    return listen.call(this, {...first, host: '127.0.0.1'}, ...rest);
  return listen.call(this, first, '127.0.0.1', ...rest.filter((one) => typeof one === 'function'));
};
"""


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=lambda: dict(JSON))
    pid: int | None = None


@contextlib.contextmanager
def mock_upstream(folder: Path) -> Iterator[str]:
    """The URL of the mock, compiled here."""
    source, binary = Path(__file__).with_name("mock_upstream.c"), folder / "mock_upstream"
    subprocess.run(["cc", "-D_GNU_SOURCE", "-O2", "-o", str(binary), str(source)], check=True)  # noqa: S607
    with _running([str(binary), str(port := _free_port())], port, LOAD_CPU, folder):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def bare(upstream: str, folder: Path) -> Iterator[Contender]:
    command = [sys.executable, "-m", "metaclaw.bench.gateway.passthrough", str(port := _free_port()), upstream]
    with _running(command, port, GATEWAY_CPU, folder) as process:
        yield Contender("bare aiohttp", f"http://127.0.0.1:{port}", pid=process.pid)


@contextlib.contextmanager
def metaclaw(upstream: str, folder: Path, skills: int) -> Iterator[Contender]:
    """`metaclaw start` as anybody starts it: journal, learner, and `skills` skills, of which some fit each question."""
    fill(folder / "home", skills)
    config = folder / "config.toml"
    config.write_text(
        f'data_dir = "{folder / "home"}"\n[gateway]\nport = {(port := _free_port())}\ntoken = "{TOKEN}"\n'
        f'[upstream]\nurl = "{upstream}/v1"\n[evolve]\nproposer = "extractive"\n',
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "metaclaw", "start", "--config", str(config)]
    headers = {**JSON, "authorization": f"Bearer {TOKEN}"}
    with _running(command, port, GATEWAY_CPU, folder) as process:
        ours = Contender("metaclaw", f"http://127.0.0.1:{port}", headers, process.pid)
        _await_skills(ours)
        _await_rest(process.pid)
        yield ours


@contextlib.contextmanager
def litellm(upstream: str, folder: Path) -> Iterator[Contender]:
    venv = CACHE / "litellm"
    if not (venv / "bin" / "litellm").exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(venv / "bin" / "pip"), "install", "--quiet", LITELLM], check=True)
    config = folder / "litellm.yaml"
    config.write_text(
        "model_list:\n  - model_name: m\n    litellm_params:"
        f" {{model: openai/m, api_base: '{upstream}/v1', api_key: none}}\n"
        f"general_settings: {{master_key: {TOKEN}}}\n",
        encoding="utf-8",
    )
    command = [str(venv / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1",
               "--port", str(port := _free_port()), "--num_workers", "1", "--telemetry", "False"]
    with _running(command, port, GATEWAY_CPU, folder, {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}) as process:
        headers = {**JSON, "authorization": f"Bearer {TOKEN}"}
        yield Contender("LiteLLM", f"http://127.0.0.1:{port}", headers, process.pid)


@contextlib.contextmanager
def portkey(upstream: str, folder: Path) -> Iterator[Contender]:
    home = CACHE / "portkey"
    script = home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    if not script.exists():
        home.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--prefix", str(home), PORTKEY], check=True)  # noqa: S607
    (guard := folder / "loopback.cjs").write_text(LOOPBACK_ONLY, encoding="utf-8")
    command = ["node", "--require", str(guard), str(script), f"--port={(port := _free_port())}", "--headless"]
    headers = {**JSON, "authorization": "Bearer none", "x-portkey-provider": "openai",
               "x-portkey-custom-host": f"{upstream}/v1"}
    with _running(command, port, GATEWAY_CPU, folder) as process:
        yield Contender("Portkey", f"http://127.0.0.1:{port}", headers, process.pid)


@contextlib.contextmanager
def _running(
    command: Sequence[str], port: int, cpu: str, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process on one processor, from when it listens until the block ends."""
    with (folder / f"{Path(command[0]).name}-{port}.log").open("wb") as log:
        pinned = [shutil.which("taskset") or "taskset", "-c", cpu, *command]
        process = subprocess.Popen(pinned, stdout=log, stderr=log, env={**os.environ, **(environment or {})})
        try:
            _await_port(port, process)
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} does not listen on {port}")


def _await_skills(ours: Contender) -> None:
    """Until the library is indexed: each question must find a skill, or the comparison would be a lie."""
    deadline = time.monotonic() + START_SECONDS
    missing = list(QUESTIONS)
    tries = itertools.count()
    while missing and time.monotonic() < deadline:  # a session of its own each: the hold-out keeps to its sessions
        missing = [text for text in missing if not _skills_for(ours, text, f"await-{next(tries)}")]
    if missing:
        raise RuntimeError(f"no skill is injected for {missing[0]!r}")


def _await_rest(pid: int) -> None:
    """Until the library's files are on disk and the first look at them is over: nobody has 10,000 new ones each day."""
    os.sync()
    deadline = time.monotonic() + START_SECONDS
    used = _processor_seconds(pid)
    while time.monotonic() < deadline:
        time.sleep(REST_SECONDS)
        before, used = used, _processor_seconds(pid)
        if used - before < RESTING_SHARE * REST_SECONDS:
            return
    raise RuntimeError("the gateway or its learner finds no rest")


def _processor_seconds(pid: int) -> float:
    """Of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    ticks = 0
    for one in (pid, *children):
        fields = Path(f"/proc/{one}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _skills_for(ours: Contender, question: str, session: str) -> str:
    body = f'{{"messages": [{{"role": "user", "content": "{question}"}}]}}'.encode()
    request = urllib.request.Request(f"{ours.url}/v1/chat/completions", body, {**ours.headers, "x-session-id": session})  # noqa: S310
    with contextlib.suppress(urllib.error.URLError), urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
        return str(reply.headers.get("x-metaclaw-skills", ""))
    return ""


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
