"""Load from `wrk`, on a processor of its own: what is asked, how it is asked, and what came of it.

A run's requests are those of agents at work: each question is asked ten times in a row, as the steps of a tool loop do,
and no two sessions ask the same.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOAD_CPU = "1"
LUA = """
local filler = string.rep("The quick brown fox jumps over the lazy dog. ", math.ceil(%(size)d / 45))
local asked, step = 0, 0
local head = '{"model":"m",%(stream)s"messages":[{"role":"system","content":"You are a careful assistant. '
    .. string.sub(filler, 1, %(size)d) .. '"},{"role":"user","content":"'
local questions = {%(questions)s}
math.randomseed(%(seed)d)
local base, body = math.random(1, 1000000) * 1000, nil
wrk.method = "POST"
%(headers)s
request = function()
    if step == 0 then
        body = head .. questions[asked %% #questions + 1] .. " (ticket " .. (base + asked) .. ')"}]}'
        asked, step = asked + 1, %(steps)d
    end
    step = step - 1
    return wrk.format(nil, nil, nil, body)
end
done = function(summary, latency, requests)
    local e = summary.errors
    io.write(string.format('\\n{"requests":%%d,"microseconds":%%d,"p50_us":%%d,"p99_us":%%d,"failed":%%d}\\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        e.connect + e.read + e.write + e.status + e.timeout))
end
"""
STEPS = 10


@dataclass(frozen=True, slots=True)
class Shape:
    """What is sent: a streamed reply or a whole one, how much text the system message holds, how many connections."""

    stream: bool
    size_bytes: int
    connections: int

    @property
    def name(self) -> str:
        size = {0: "small"}.get(self.size_bytes, f"{self.size_bytes // 1000} KB")
        return f"{'sse' if self.stream else 'json'}, {size}, {self.connections} connections"


@dataclass(frozen=True, slots=True)
class Run:
    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def run(
    url: str, headers: Mapping[str, str], shape: Shape, seconds: int, questions: list[str], seed: int
) -> Run:
    """One run of wrk. Raises `RuntimeError` when it does not report."""
    script = LUA % {
        "size": shape.size_bytes, "stream": '"stream":true,' if shape.stream else "", "steps": STEPS, "seed": seed,
        "questions": ", ".join(json.dumps(text) for text in questions),
        "headers": "\n".join(f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}" for k, v in headers.items()),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "load.lua"
        path.write_text(script, encoding="utf-8")
        command = ["taskset", "-c", LOAD_CPU, "wrk", "-t1", f"-c{shape.connections}", f"-d{seconds}s", "--latency",
                   "--timeout", "20s", "-s", str(path), f"{url}/v1/chat/completions"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"requests"')]
    if not lines:
        raise RuntimeError(f"wrk did not report: {done.stdout[-500:]} {done.stderr[-500:]}")
    found = json.loads(lines[0])
    return Run(
        found["requests"], found["microseconds"] / 1e6, found["p50_us"] / 1e3, found["p99_us"] / 1e3, found["failed"]
    )
