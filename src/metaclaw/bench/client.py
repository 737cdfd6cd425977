"""A plain client of the gateway, as benchmarks use it: OpenAI's chat completions, feedback, status."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

SWAP_SECONDS = 300.0
MEASURED = {"x-metaclaw-side": "bench"}  # answered and kept, but nothing is learned from it
WITHOUT_SKILLS = {"x-metaclaw-skills": "off"}
WHOEVER_IS_THERE = {"watch_input": False, "on_battery": True, "max_load": 1.0}  # [schedule] of a run that is watched


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply: its text, the turn's id, the policy of its header, and every policy that its body names."""

    text: str
    turn_id: str
    policy: str
    named_policies: frozenset[str]


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole reply as it came, less its wrapping. `message` is the assistant's; `refused` says why there is none."""

    message: Mapping[str, Any]
    finish: str
    turn_id: str
    policy: str
    skills: tuple[str, ...]
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    refused: str = ""

    @property
    def text(self) -> str:
        return str(self.message.get("content") or "")


class GatewayClient:
    """Use as an asynchronous context manager."""

    def __init__(self, url: str, token: str, model: str = "metaclaw") -> None:
        self.url = url
        self.model = model
        timeout = aiohttp.ClientTimeout(total=600)
        self._http = aiohttp.ClientSession(
            headers={"authorization": f"Bearer {token}"}, timeout=timeout, connector=aiohttp.TCPConnector(limit=0)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def ask(
        self, system: str, prompt: str, max_tokens: int, headers: Mapping[str, str], *, stream: bool = False
    ) -> Answer:
        """One conversation of one question, at temperature 0. Raises `aiohttp.ClientError` unless it succeeds."""
        messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
        body = {"model": "metaclaw", "messages": messages, "max_tokens": max_tokens, "temperature": 0, "stream": stream}
        async with self._http.post(f"{self.url}/v1/chat/completions", json=body, headers=dict(headers)) as reply:
            raw = await reply.read()
            reply.raise_for_status()
            text, named = _streamed(raw) if stream else _whole(raw)
            return Answer(text, reply.headers["x-metaclaw-turn"], reply.headers["x-metaclaw-policy"], named)

    async def complete(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Completion:
        """Any chat request, also of a provider itself, whose reply tells no turn. A 400 (too long for the model, say)
        is a `refused` one; other errors are raised."""
        started = time.perf_counter()
        request = {"model": self.model, **body}
        async with self._http.post(f"{self.url}/v1/chat/completions", json=request, headers=dict(headers)) as reply:
            raw = await reply.read()
            seconds = time.perf_counter() - started
            if reply.status == 400:
                return Completion({}, "", "", "", (), 0, 0, seconds, raw.decode(errors="replace")[:500])
            reply.raise_for_status()
            told = reply.headers
        parsed = json.loads(raw)
        choice, usage = parsed["choices"][0], parsed.get("usage") or {}
        return Completion(
            choice["message"], choice.get("finish_reason") or "", told.get("x-metaclaw-turn", ""),
            told.get("x-metaclaw-policy", ""),
            tuple(ref for ref in told.get("x-metaclaw-skills", "").split(",") if ref),
            int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0), seconds,
        )  # fmt: skip

    async def matching_skills(self, system: str, prompt: str) -> list[str]:
        """The skills that a request like this gets, found by asking for one token."""
        messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
        body = {"model": "metaclaw", "messages": messages, "max_tokens": 1}
        async with self._http.post(f"{self.url}/v1/chat/completions", json=body, headers=MEASURED) as reply:
            reply.raise_for_status()
            return [ref for ref in reply.headers["x-metaclaw-skills"].split(",") if ref]

    async def feedback(self, turn_id: str, score: float, text: str = "", pattern: str = "") -> None:
        body = {"turn_id": turn_id, "score": score, "text": text, "check": {"pattern": pattern} if pattern else None}
        async with self._http.post(f"{self.url}/v1/feedback", json=body) as reply:
            reply.raise_for_status()

    async def status(self) -> dict[str, Any]:
        async with self._http.get(f"{self.url}/v1/metaclaw/status") as reply:
            reply.raise_for_status()
            found: dict[str, Any] = await reply.json()
            return found

    async def until_swapped(self) -> None:
        """Until the adapter that should serve does."""
        deadline = time.monotonic() + SWAP_SECONDS
        while time.monotonic() < deadline:
            adapter = (await self.status())["adapter"]
            if adapter["wanted"] == adapter["serving"]:
                return
            await asyncio.sleep(0.2)


def _whole(raw: bytes) -> tuple[str, frozenset[str]]:
    body = json.loads(raw)
    return body["choices"][0]["message"]["content"] or "", frozenset({body["model"]})


def _streamed(raw: bytes) -> tuple[str, frozenset[str]]:
    """Raises `aiohttp.ClientPayloadError` for a stream without its end."""
    lines = [line[6:] for line in raw.split(b"\n") if line.startswith(b"data: ")]
    if not lines or lines[-1].strip() != b"[DONE]":
        raise aiohttp.ClientPayloadError("the stream has no end")
    events = [json.loads(line) for line in lines[:-1]]
    pieces = [choice["delta"].get("content") or "" for event in events for choice in event["choices"]]
    return "".join(pieces), frozenset(event["model"] for event in events)
