"""`metaclaw journal` on a real store, and following a real gateway."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from metaclaw.cli.journal_text import as_json, short, whole
from metaclaw.signals import ledger
from metaclaw.store import Database
from metaclaw.types import Signal, ToolCall, ToolUse, Turn, TurnKind
from running_gateway import QUESTION, serving
from shell import Shell
from support import keep, make_feedback, make_turn
from upstream_server import chat_body

CALL = ToolCall("date-of@1", '{"day": 1}', "2026-01-01", True, 3.2)


def fill(shell: Shell, *turns: Turn) -> None:
    with Database(shell.data / "metaclaw.db") as database:
        asyncio.run(keep(database, *turns, make_feedback(turns[-1], "No: the date comes first.", -1.0)))
        signal = Signal(turns[-1].id, "feedback", -1.0, "scored -1", "No: the date comes first.")
        ledger.record(database, "default", [signal, Signal(turns[-1].id, "judge", None, "abstains")])


def test_tail_tells_skills_tools_and_signals(shell: Shell) -> None:
    last = make_turn("And now?", "Now.", skills=("iso-dates@2", "date-of@1"), tools=ToolUse(("date-of@1",), (CALL,)))
    fill(shell, make_turn("First?", "One."), make_turn("Title?", "T", kind=TurnKind.SIDE, side="title"), last)
    code, out, _ = shell("journal", "tail")
    assert code == 0
    assert out.index("First?") < out.index("And now?")
    assert "Title?" not in out
    assert "failed\n" in out
    for told in ("iso-dates@2", "date-of@1 (3 ms): ok", "feedback -1.00, scored -1", "-1 No: the date comes first."):
        assert told in out
    assert "abstains" not in out
    assert "side call (title)" in shell("journal", "tail", "--side")[1]


def test_tail_in_json_is_a_line_a_turn(shell: Shell) -> None:
    turns = [make_turn(f"Question {n}", session="s" if n % 2 else "t") for n in range(12)]
    fill(shell, *turns)
    lines = shell("journal", "tail", "--json")[1].splitlines()
    assert [json.loads(line)["id"] for line in lines] == [turn.id for turn in turns[-10:]]
    last = json.loads(lines[-1])
    assert (last["outcome"], last["signals"][0]["source"], last["feedback"][0]["score"]) == ("failed", "feedback", -1.0)
    assert "request" not in last
    chosen = shell("journal", "tail", "-n", "2", "--session", "t", "--json")[1].splitlines()
    assert [json.loads(line)["query"] for line in chosen] == ["Question 8", "Question 10"]
    assert shell("journal", "tail", "-n", "0")[1] == ""


def test_show_takes_the_beginning_of_an_id_or_the_last(shell: Shell) -> None:
    fill(shell, make_turn(id="turn-aa1"), make_turn(id="turn-ab2", injected="Dates come first.", reply="x\x1b[2Jy"))
    assert shell.json("journal", "show", "turn-aa")["id"] == "turn-aa1"
    assert shell.json("journal", "show", "last")["injected"] == "Dates come first."
    assert "More than one turn" in shell.refused("journal", "show", "turn-a")
    assert "no turn 'turn-c'" in shell.refused("journal", "show", "turn-c")
    assert "no turn '%'" in shell.refused("journal", "show", "%")
    _, out, _ = shell("journal", "show", "turn-ab2", "--raw")
    assert "--- injected\nDates come first." in out
    assert '--- request\n{"model": "m"' in out
    assert "\x1b" not in out  # what would steer a terminal is spelled out
    assert "\\u001b" in out


def test_search_wants_every_word_in_either_case(shell: Shell) -> None:
    fill(shell, make_turn("The Budget review", "Done: 100%"), make_turn("budget", "100 done"), make_turn("x", "y"))
    assert [json.loads(line)["query"] for line in shell("journal", "search", "budget", "--json")[1].splitlines()] == [
        "The Budget review", "budget"
    ]
    assert "review" in shell("journal", "search", "budget", "100%")[1]
    assert len(shell("journal", "search", "budget", "-n", "1", "--json")[1].splitlines()) == 1
    code, out, err = shell("journal", "search", "budget", "nowhere")
    assert (code, out, err) == (1, "", "No turn holds that.\n")


def _heed_interrupts() -> None:
    """A shell that runs us in the background has its children ignore them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def test_following_a_running_gateway(tmp_path: Path) -> None:
    """The turn is told as it comes, with the skill that was injected; the signal when the learner has written it."""
    async with serving(tmp_path, evolve={"enabled": True, "proposer": "extractive"}) as door:
        door.publish()
        await door.ask(chat_body("Before we looked"))
        follower = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "metaclaw", "journal", "tail", "-n", "1", "-f", "--json"),
            *("--data-dir", str(tmp_path)), stdout=asyncio.subprocess.PIPE, env={**os.environ, "HOME": str(tmp_path)},
            preexec_fn=_heed_interrupts,
        )
        assert follower.stdout
        try:
            async with asyncio.timeout(60):
                assert json.loads(await follower.stdout.readline())["query"] == "Before we looked"
                reply, _ = await door.ask(chat_body(QUESTION))
                turn = json.loads(await follower.stdout.readline())
                assert (turn["id"], turn["skills"]) == (reply.headers["x-metaclaw-turn"], ["iso-dates@1"])
                said = {"turn_id": turn["id"], "score": -1, "text": "Say the time too."}
                async with door.http.post("/v1/feedback", json=said) as taken:
                    assert taken.status < 300
                heard = json.loads(await follower.stdout.readline())
                assert (heard["event"], heard["turn"], heard["value"]) == ("signal", turn["id"], -1.0)
                follower.send_signal(signal.SIGINT)
                assert await follower.wait() == 0
        finally:
            if follower.returncode is None:
                follower.kill()
                await follower.wait()


@given(st.text(), st.text(), st.floats(-1, 1) | st.none(), st.booleans())
def test_any_turn_can_be_told(query: str, reply: str, value: float | None, ok: bool) -> None:
    tools = ToolUse(("a@1",), (ToolCall("a@1", query, reply, ok, 1.0),))
    turn = make_turn(query, reply, tools=tools, injected=reply, usage={"total_tokens": 3}, timings={"total_seconds": 1})
    told = as_json(turn, [Signal(turn.id, "judge", value, query, reply)], [make_feedback(turn, reply, value, query)])
    read = json.loads(json.dumps(told))
    assert (read["query"], read["reply"], read["tools"]["calls"][0]["result"]) == (query, reply, reply)
    assert turn.id in short(told)
    assert reply in whole(told)
