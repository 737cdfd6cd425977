"""Sandboxes for the tests of this room, and whether this machine can jail."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from metaclaw.sandbox.pool import StrongEngine
from metaclaw.sandbox.values import Limits


async def _jail_missing() -> str | None:
    engine = StrongEngine(Limits())
    try:
        return await engine.missing()
    finally:
        await engine.close()


@pytest.fixture(scope="session")
def jail() -> None:
    """Skips the test, with what is missing, where the strong engine cannot run."""
    if reason := asyncio.run(_jail_missing()):
        pytest.skip(reason)


@pytest.fixture
async def strong(jail: None) -> AsyncIterator[StrongEngine]:
    engine = StrongEngine(Limits(seconds=10))
    yield engine
    await engine.close()


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fails the test if a process of ours is still there afterwards."""
    before = children()
    yield
    assert children() == before


def children() -> set[int]:
    """The processes that we started, theirs included, that are more than a record to be collected."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            parents[int(path.parent.name)] = int(parent)
    found, added = set[int](), {os.getpid()}
    while added:
        added = {pid for pid, parent in parents.items() if parent in added}
        found |= added
    return found
