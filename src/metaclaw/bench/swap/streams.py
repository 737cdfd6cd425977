"""Clients that stream one short reply after the other, and note of each when its first word came, and from whom."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

QUESTIONS = (
    "Tell me about the sea.", "What is a river?", "Name a colour.", "Why do birds sing?", "What do cats eat?",
    "Describe a mountain.", "What is bread made of?", "How do boats float?",
)
TOKENS = 12
PAUSE_SECONDS = 0.1
TIMEOUT = aiohttp.ClientTimeout(total=120)


@dataclass(frozen=True, slots=True)
class Streamed:
    """One request. Moments are those of the monotonic clock; `first` is None where no word came. `named` are the
    policies that its header and its events name.
    """

    began: float
    first: float | None
    policy: str
    named: tuple[str, ...]
    failure: str

    @property
    def mixed(self) -> bool:
        return len(set(self.named)) > 1

    @property
    def first_word_ms(self) -> float | None:
        return None if self.first is None else 1000 * (self.first - self.began)


class Streams:
    """Use as an asynchronous context manager: so many clients ask without end until the block does."""

    def __init__(self, url: str, headers: Mapping[str, str], clients: int) -> None:
        self._url = f"{url}/v1/chat/completions"
        self._headers = dict(headers)
        self._clients = clients
        self._tasks: list[asyncio.Task[None]] = []
        self._ending = False
        self._one_more = asyncio.Event()
        self.done: list[Streamed] = []

    async def __aenter__(self) -> Streams:
        self._http = aiohttp.ClientSession(headers=self._headers, timeout=TIMEOUT)
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(self._clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        """What is under way ends first: it counts too."""
        self._ending = True
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.close()

    def taken(self) -> list[Streamed]:
        """Those that ended since the last time."""
        done, self.done = self.done, []
        return done

    async def ended_since(self, moment: float, count: int) -> None:
        """Return when so many have ended that began after `moment`."""
        while sum(one.began > moment for one in self.done) < count:
            self._one_more.clear()
            await self._one_more.wait()

    async def _client(self, number: int) -> None:
        asked = number
        while not self._ending:
            self.done.append(await self._one(QUESTIONS[asked % len(QUESTIONS)]))
            self._one_more.set()
            asked += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def _one(self, question: str) -> Streamed:
        body = {
            "model": "metaclaw", "stream": True, "max_tokens": TOKENS, "temperature": 0,
            "messages": [{"role": "user", "content": question}],
        }
        began, first, policy, named, ended = time.monotonic(), None, "", set(), False
        failure = ""
        try:
            async with self._http.post(self._url, json=body) as reply:
                policy = reply.headers.get("x-metaclaw-policy", "")
                named.add(policy)
                if reply.status != 200:
                    failure = f"HTTP {reply.status}: {(await reply.read())[:200]!r}"
                async for line in reply.content:
                    if not line.startswith(b"data: "):
                        continue
                    if line.startswith(b"data: [DONE]"):
                        ended = True
                        continue
                    event = json.loads(line[6:])
                    if "error" in event:
                        failure = str(event["error"])
                        continue
                    named.add(event["model"])
                    if first is None and any(one["delta"].get("content") for one in event["choices"]):
                        first = time.monotonic()
        except (aiohttp.ClientError, TimeoutError) as error:
            failure = f"{type(error).__name__}: {error}"
        if not failure and not ended:
            failure = "the stream has no end"
        return Streamed(began, first, policy, tuple(sorted(named)), failure)
