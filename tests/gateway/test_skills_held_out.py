"""The hold-out through the door: withheld in its share of sessions, written down with the turn, not in side calls."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from running_gateway import QUESTION, SKILL, serving
from upstream_server import chat_body


async def test_a_skill_is_withheld_from_some_sessions_wholly_and_the_turns_say_so(tmp_path: Path) -> None:
    async with serving(tmp_path, evolve={"enabled": True, "proposer": "extractive", "holdout_share": 0.5}) as door:
        skill, _ = await asyncio.to_thread(door.publish)
        for number in range(12):
            for _ in range(2):
                reply, _ = await door.ask(chat_body(QUESTION), x_session_id=f"s-{number}")
                turn = await door.turn(reply.headers["x-metaclaw-turn"])
                injected = SKILL.body in str(json.loads(door.upstream.seen[-1].body)["messages"])
                assert (turn.drawn, turn.holdout_share) == ((skill.ref,), 0.5)
                assert turn.skills == ((skill.ref,) if injected else ())
                assert turn.withheld == (() if injected else (skill.ref,))
                assert reply.headers["x-metaclaw-skills"] == ",".join(turn.skills)
        by_session = [{turn.withheld for turn in await door.turns() if turn.session == f"s-{n}"} for n in range(12)]
        assert all(len(arms) == 1 for arms in by_session)
        assert len(set.union(*by_session)) == 2
        reply, _ = await door.ask(chat_body(QUESTION), x_session_id="s-1", x_metaclaw_side="bench")
        assert (await door.turn(reply.headers["x-metaclaw-turn"])).drawn == ()
        assert reply.headers["x-metaclaw-skills"] == skill.ref
