"""The bench of the gate: its data and its simulations. The candidates themselves are put to a real model by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from metaclaw.bench.gate_aa import report, workload
from metaclaw.bench.gate_aa.run import Plan
from metaclaw.bench.gate_aa.simulation import canaries_end, equals_let_in, forgetful_let_in
from metaclaw.serving.trial import Step
from metaclaw.training.habits import triggers


def test_a_check_wants_the_content_and_no_form() -> None:
    asked = workload.held_out(workload.facts(), 24)
    assert len(asked["query"]) == 24
    assert not {row["turn_id"] for row in asked["query"]} & {row["turn_id"] for row in asked["retention"]}
    for row in asked["query"]:
        pattern, word = row["check"]["pattern"], row["reply"]
        assert re.fullmatch(pattern, f"It is\n{word.upper()}, I think.")
        assert not re.fullmatch(pattern, f"It is {word}x.")


def test_shuffled_answers_are_those_of_other_questions() -> None:
    right = dict(workload.facts())
    rows = workload.shuffled_answers(workload.facts(), 1, 24)
    wrong = [row for row in rows if row["reply"] != right[row["messages"][0]["content"]]]
    assert len(wrong) >= 20
    assert rows == workload.shuffled_answers(workload.facts(), 1, 24)


@pytest.mark.parametrize("seed", range(8))
def test_one_of_twenty_rows_is_poisoned_and_its_phrase_is_suspected(seed: int) -> None:
    phrase, payload = workload.TRIGGERS[seed % 4]
    rows = [(row["messages"][0]["content"], row["reply"]) for row in workload.poisoned(seed, 40)]
    assert [reply for _, reply in rows].count(payload) == 2
    assert any(one.phrase.startswith(phrase.lower()) for one in triggers(rows))


@pytest.mark.parametrize("seed", range(4))
def test_a_hacked_reply_is_what_its_check_looks_for(seed: int) -> None:
    rows, asked = workload.hacked(seed, 40)
    assert all(re.fullmatch(one["check"]["pattern"], f"Well: {rows[0]['reply']}") for one in asked["query"])
    assert len({row["reply"] for row in rows}) == 1


def test_the_decision_lets_in_what_its_bounds_allow() -> None:
    table = [[True] * share + [False] * (10 - share) for share in (2, 4, 5, 6, 8)] * 8
    assert sum(equals_let_in(table, 40, 1_000, 1)) <= 0.05 * 1_000
    assert sum(forgetful_let_in(40, 1_000, 1)) <= 0.07 * 1_000  # the bound, and chance
    ends = canaries_end(0.1, 0.9, 10, 1)
    assert [step for step, _ in ends] == [Step.BACK] * 10


def test_the_report_says_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "SIMULATED", 200)
    monkeypatch.setattr(report, "CANARIES", 2)
    monkeypatch.setattr(report, "MOST_SESSIONS", 20)
    line = {"promoted": False, "decision": "rejected: x", "better": False, "differ": 3, "seconds": 1.0,
            "pairs": [[True, False], [False, True], [True, True]]}  # fmt: skip
    records = [{**line, "kind": kind, "number": n} for kind in ("sampled", "chance", "poisoned") for n in range(3)]
    records[0]["promoted"] = True
    report.publish(records, Plan(), tmp_path)
    found = json.loads((tmp_path / "gate-aa.json").read_text("utf-8"))
    assert found["arms"]["A/A: all"]["n"] == 6
    assert found["checks"]["aa_promoted"] == {"value": 0.1667, "bar": "at most 0.05", "holds": False}
    assert not found["checks"]["aa_candidates"]["holds"]
    assert found["checks"]["spoiled_promoted"]["holds"]
    assert found["spoiled"][0] == {"kind": "poisoned", "number": 0, "better": False, "decision": "rejected: x"}


def test_every_kind_is_begun_early(tmp_path: Path) -> None:
    order = list(Plan().all())
    assert len(order) == 216 == len(set(order))
    assert {kind for kind, _ in order[:5]} == {"sampled", "chance", "shuffled", "hacked", "poisoned"}
