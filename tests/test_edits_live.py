"""A file saved in the library's folder is in the next request within a second: gateway and learner, as they run."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from running_gateway import QUESTION, SKILL, Door, serving
from upstream_server import chat_body


async def skills_of(door: Door) -> str:
    reply, _ = await door.ask(chat_body(QUESTION))
    return reply.headers.get("x-metaclaw-skills", "")


async def becomes(door: Door, wanted: str) -> float:
    """How long it takes until the next request carries this."""
    begun = time.monotonic()
    async with asyncio.timeout(60):
        while await skills_of(door) != wanted:
            await asyncio.sleep(0.02)
    return time.monotonic() - begun


async def test_a_saved_file_is_in_the_next_request_within_a_second(tmp_path: Path) -> None:
    async with serving(tmp_path, evolve={"enabled": True}) as door:
        door.publish()
        file = door.home / "skills" / "default" / SKILL.name / "SKILL.md"
        await becomes(door, f"{SKILL.name}@1")
        took = []
        for version, year in ((2, "2027"), (3, "2028"), (4, "2029"), (5, "2030")):
            file.write_text(file.read_text("utf-8").replace(str(int(year) - 1), year), encoding="utf-8")
            took.append(await becomes(door, f"{SKILL.name}@{version}"))
        file.unlink()
        took.append(await becomes(door, ""))
    # The first two waited for the learner and its watch to start. Of the others the best, since the learner runs at the
    # lowest priority: where others take all of the processors, it waits for them.
    assert min(took[2:]) < 1, took
