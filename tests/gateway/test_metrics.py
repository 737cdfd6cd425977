"""`GET /metrics`: for those with the token, in a form that Prometheus reads, and true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from metaclaw.gateway.metrics import exposition
from running_gateway import Door, serving
from upstream_server import chat_body, garbage

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (-?[0-9.e+-]+|inf|nan)')
MEASURES: dict[str, Any] = {
    "version": "1", "policy": None, "namespace": "default", "status": "loading", "under_way": 0, "refused": 0,
    "late": 0, "lost": {}, "learner_up": None, "learner_starts": 0, "learner_dropped": 0, "code_calls": {},
    "upstreams": [], "spans": None, "store_up": False, "cpu_seconds": 0.0, "started_at": 1.0,
}


def parsed(text: str) -> dict[str, float]:
    """By name and labels. Fails where a line is none of the format, or a family has no type."""
    found, typed = {}, set()
    assert text.endswith("\n")
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# "):
            _, what, name, _ = line.split(" ", 3)
            assert what in ("HELP", "TYPE")
            typed.add(name)
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            assert sample[1] in typed
            found[f"{sample[1]}{{{sample[2]}}}" if sample[2] else sample[1]] = float(sample[3])
    return found


async def measured(door: Door) -> dict[str, float]:
    async with door.http.get("/metrics") as reply:
        assert (reply.status, reply.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        return parsed(await reply.text())


async def test_what_happened_is_counted(tmp_path: Path) -> None:
    async with serving(tmp_path) as door:
        before = await measured(door)
        assert (before["metaclaw_ready"], before["metaclaw_turns_stored_total"]) == (1, 0)
        await door.ask(chat_body())
        door.upstream.answer = garbage
        await door.ask(chat_body())
        door.publish()
        after = await measured(door)
    [cooldown] = [value for name, value in after.items() if name.startswith("metaclaw_upstream_cooldown_seconds")]
    assert after["metaclaw_turns_stored_total"] == len(await door.turns()) > 0
    assert (after["metaclaw_library_generation"], after["metaclaw_skills_live"]) == (1, 1)
    assert cooldown >= 0
    assert not any(name.startswith("metaclaw_learner_up") for name in after)  # it is off


async def test_a_store_that_cannot_be_read_is_told_not_hidden(tmp_path: Path) -> None:
    async with serving(tmp_path) as door:
        door.gateway._database.close()
        door.store.write_bytes(b"no database")
        door.gateway._database._local.__dict__.clear()
        found = await measured(door)
    assert found["metaclaw_store_up"] == 0
    assert "metaclaw_turns_stored_total" not in found


async def test_nobody_reads_them_without_the_token(tmp_path: Path) -> None:
    async with serving(tmp_path) as door, door.http.get("/metrics", headers={"authorization": ""}) as reply:
        assert reply.status == 401


async def test_they_are_told_where_there_is_no_room(tmp_path: Path) -> None:
    async with serving(tmp_path, gateway={"max_in_flight": 1}) as door:
        door.gateway._intake.under_way = 1
        await door.ask(chat_body())
        assert (await measured(door))["metaclaw_requests_refused_total"] == 1


@given(st.dictionaries(st.text(), st.integers(0)), st.text())
def test_any_label_is_written_so_that_it_can_be_read(lost: dict[str, int], policy: str) -> None:
    found = parsed(exposition(MEASURES | {"lost": lost, "policy": policy}))
    assert sum(name.startswith("metaclaw_lost") for name in found) == len(lost)
    assert found["metaclaw_store_up"] == 0
