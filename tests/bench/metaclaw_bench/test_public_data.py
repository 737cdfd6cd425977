"""The public layout as a course: a small one of our own, and the real one where PUBLIC_BENCH_DATA names its folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from rich.console import Console

from metaclaw.bench.metaclaw_bench.checkers import Variant
from metaclaw.bench.metaclaw_bench.data import load
from metaclaw.bench.metaclaw_bench.run import constants, run
from metaclaw.bench.workdays.playing import Plan
from metaclaw.errors import MetaClawError
from metaclaw.signals.checks import passes
from metaclaw.types import Check
from upstream_server import upstream

TIME = "2026-03-16T09:30:00+08:00"
FILE_ROUND: dict[str, Any] = {
    "id": "r1", "type": "file_check", "question": "Put day01/raw.txt into day01/notes.json with the field at.",
    "eval": {"command": "python scripts/check_iso8601.py day01/notes.json at tags[]", "expect_exit": 0},
    "feedback": {"correct": "Good.", "incorrect": "Times are full ones."},
}  # fmt: skip
CHOICE_ROUND: dict[str, Any] = {
    "id": "r2", "type": "multi_choice", "question": "Which? A, B, C",
    "eval": {"options": {"A": "a", "B": "b", "C": "c", "D": "d"}, "answer": ["A", "C"]},
    "feedback": {"correct": "Yes.", "options": {"A": "A is right.", "B": "B is wrong."}},
}  # fmt: skip
ODD_ROUND: dict[str, Any] = {**FILE_ROUND, "id": "r3", "eval": {"command": "make check", "expect_exit": 0}}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    test = {"id": "day01", "session": "day01_s", "eval": "day01", "preference_tags": ["output_format"]}
    write(folder / "all_tests.json", {"name": "tiny", "eval_dir": "./eval", "workspace_src": "./workspaces/shared",
                                      "sessions_dir": "./sessions", "test": [test]})  # fmt: skip
    write(folder / "eval/day01/questions.json", {"rounds": [FILE_ROUND, CHOICE_ROUND, ODD_ROUND]})
    said = {"type": "message", "message": {"role": "user", "content": [{"type": "text", "text": "Today is a Monday."}]}}
    (folder / "sessions").mkdir()
    (folder / "sessions/day01_s.jsonl").write_text(f'{{"type": "session"}}\n{json.dumps(said)}\n')
    (folder / "workspaces/shared/day01").mkdir(parents=True)
    (folder / "workspaces/shared/IDENTITY.md").write_text("You are the office's agent.")
    (folder / "workspaces/shared/day01/raw.txt").write_text("half past nine")
    return folder


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_the_layout_is_read_as_a_course(data: Path) -> None:
    public = load(data, "as-shipped")
    (day,) = public.days
    assert day.seeded == (("user", "Today is a Monday."),)
    assert set(day.files) == {"IDENTITY.md", "day01/raw.txt"}
    assert [question.kind for question in day.questions] == ["file", "choice"]
    assert day.questions[0].inputs == ("day01/raw.txt", "done.log")
    assert public.persona == "You are the office's agent."
    assert "ISO 8601" in public.handwritten(day.questions[0])
    assert public.left_out == ("day01 r3: 'make check' is no command that is known here",)


def test_files_are_judged_from_outside(data: Path) -> None:
    for variant, vacuous in (("as-shipped", True), ("repaired", False)):
        question = load(data, "as-shipped" if vacuous else "repaired").days[0].questions[0]
        bare = question.judge({}, {"day01/notes.json": f'{{"at": "{TIME}"}}'}, frozenset())
        full = question.judge({}, {"day01/notes.json": f'{{"at": "{TIME}", "tags": ["{TIME}"]}}'}, frozenset())
        assert (bare.right, full.right) == (vacuous, True), variant
        assert full.rules == {"check_iso8601": True}
        assert not question.unanswered().right
        assert question.feedback(question.unanswered()) == "Times are full ones."
        assert question.feedback(full) == "Good."


def test_choices_have_the_partial_credit_of_their_variant(data: Path) -> None:
    shipped, ours = load(data, "as-shipped").days[0].questions[1], load(data, "repaired").days[0].questions[1]
    some, everything = frozenset("A"), frozenset("ABCD")
    assert (shipped.judge({}, {}, some).credit, ours.judge({}, {}, some).credit) == (0.75, 0.5)
    assert (shipped.judge({}, {}, everything).credit, ours.judge({}, {}, everything).credit) == (0.5, 0.0)
    assert shipped.judge({}, {}, frozenset("AC")).right
    assert shipped.unanswered().credit == 0
    assert shipped.feedback(shipped.unanswered()) == "Not right. A is right. B is wrong."


def test_the_posted_check_of_a_choice_takes_its_letters_in_any_order(data: Path) -> None:
    question = load(data, "repaired").days[0].questions[1]
    check = Check(question.check(question.unanswered()))
    assert passes(check, '{"letters": ["C", "A"]}')
    assert passes(check, '{"letters": ["A", "C", "A"]}')
    assert not passes(check, '{"letters": ["A", "C", "D"]}')
    assert not passes(check, '{"letters": ["A"]}')


def test_constant_answers_are_told(data: Path) -> None:
    found = constants(load(data, "as-shipped"))
    assert found["every option ticked"] == {"accuracy": 0.25, "right": 0.0}
    assert found["nothing"] == {"accuracy": 0.0, "right": 0.0}
    assert found["always AC"] == {"accuracy": 0.5, "right": 0.5}


def test_a_folder_without_the_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MetaClawError, match=r"all_tests\.json, eval/"):
        load(tmp_path, "repaired")


async def played(data: Path, folder: Path, variant: Variant, *days: int) -> list[dict[str, Any]]:
    """The results, for so many days each, of a model that writes the file right and ticks A and B."""

    async def answers(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        asked = body["messages"][-1]["content"]
        assert body["messages"][-2] == {"role": "user", "content": "Today is a Monday."}
        held = {"at": TIME, "tags": [TIME]}
        file = {"filename": "day01/notes.json", "content": held if variant == "repaired" else json.dumps(held)}
        reply = json.dumps({"letters": ["A", "B"]} if "Which?" in asked else file)
        message = {"role": "assistant", "content": reply}
        return web.json_response({"model": "m", "choices": [{"message": message, "finish_reason": "stop"}]})

    results: list[dict[str, Any]] = []
    async with upstream(answers) as scripted:
        for number in days:
            plan = Plan(f"metaclaw-bench-{variant}", "single", ("frozen",), number, scripted.url, "m", 3,
                        folder / "runs", (0, 0))  # fmt: skip
            await run(plan, data, variant, folder, Console(quiet=True))
            results.append(json.loads((folder / f"metaclaw-bench-{variant}.json").read_text()))
    return results


@pytest.mark.parametrize("variant", ["as-shipped", "repaired"])
async def test_the_days_are_played_and_reported_by_variant(data: Path, tmp_path: Path, variant: Variant) -> None:
    [result] = await played(data, tmp_path, variant, 9)
    assert result["arms"]["frozen"]["value"] == 0.5
    assert result["variant"] == variant
    assert result["left_out"]
    assert "every option ticked" in result["baselines"]["tiny"]
    assert "--days" not in result["command"]


async def test_the_first_days_are_reported_from_a_run_of_more(data: Path, tmp_path: Path) -> None:
    index = json.loads((data / "all_tests.json").read_text())
    index["test"].append({**index["test"][0], "id": "day02"})
    write(data / "all_tests.json", index)
    whole, first = await played(data, tmp_path, "repaired", 9, 1)
    assert (whole["arms"]["frozen"]["n"], first["arms"]["frozen"]["n"]) == (4, 2)
    assert first["command"].endswith("--days 1")


REAL = os.environ.get("PUBLIC_BENCH_DATA", "")
needs_data = pytest.mark.skipif(not REAL, reason="needs the public data: set PUBLIC_BENCH_DATA to its folder")


@needs_data
def test_every_round_of_the_real_data_is_readable() -> None:
    shipped, mended = load(Path(REAL), "as-shipped"), load(Path(REAL), "repaired")
    assert shipped.left_out == ()
    assert all(left_out.startswith("day12 r5") for left_out in mended.left_out)
    assert len(shipped.questions) == len(mended.questions) + len(mended.left_out)


@needs_data
def test_ticking_everything_is_worth_as_much_of_the_real_data_as_its_readme_says() -> None:
    assert constants(load(Path(REAL), "as-shipped"))["every option ticked"]["accuracy"] == pytest.approx(0.24, abs=0.01)


@needs_data
def test_untouched_workspaces_of_the_real_data_pass_no_file_check() -> None:
    for day in load(Path(REAL), "repaired").days:
        for question in day.questions:
            assert question.kind == "choice" or not question.judge(day.files, day.files, frozenset()).right
