"""The questions that training puts to a model: their form, the built-in ones, and how many at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Iterable, Sequence
from importlib import resources
from typing import Any, TypeVar

from metaclaw.types import Message

MAX_REPLY_TOKENS = 256
MAX_UNRELATED_TOKENS = 24
AT_ONCE = 4  # under way at a time: batching changes the arithmetic a little, for candidate and incumbent alike
BESIDE_THE_USER = 2  # of an engine that serves: the user's own requests need a place in it, too

T = TypeVar("T")


def anchors(which: str) -> list[str]:
    """General prompts that ship with MetaClaw: `replay` is rehearsed in training, `probes` the gate asks."""
    text = resources.files("metaclaw.training").joinpath("anchors.json").read_text(encoding="utf-8")
    return list(json.loads(text)[which])


def as_user(prompt: str) -> list[Message]:
    return [{"role": "user", "content": prompt}]


def body(messages: Sequence[Message], max_tokens: int) -> dict[str, Any]:
    return {"messages": list(messages), "temperature": 0, "max_tokens": max_tokens}


async def in_order(work: Iterable[Coroutine[Any, Any, T]], at_once: int = AT_ONCE) -> list[T]:
    """The results in the order of the work, a few of it under way at a time."""
    limit = asyncio.Semaphore(at_once)

    async def one(item: Coroutine[Any, Any, T]) -> T:
        try:
            async with limit:
                return await item
        finally:
            item.close()  # where it never began

    tasks = [asyncio.create_task(one(item)) for item in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
