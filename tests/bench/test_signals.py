"""The detectors, measured on both halves of the labelled cases; and the measuring itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from metaclaw.bench import signals
from metaclaw.bench.signals import DETECTORS, FLOORS, Detector, Score, cases, checks, held_out, judge_all, main, measure
from metaclaw.signals.judge import BAD, GOOD

LEAST = {"corrections": 400, "praise": 100, "tool_errors": 120, "repeats": 60, "regenerated": 12, "abandoned": 30,
         "feedback": 60, "judge": 28, "unmarked": 70}
LANGUAGES = {"en", "de", "fr", "es", "pt", "it", "nl", "pl", "ru", "zh", "ja", "ko"}


@pytest.mark.parametrize("detector", [d for d in DETECTORS if d.floors], ids=lambda detector: detector.name)
@pytest.mark.parametrize("half", ["tune", "held out"])
def test_each_detector_keeps_its_floor(detector: Detector, half: str) -> None:
    score = measure(detector)[half == "held out"]
    assert score.n >= 5
    assert score.precision >= FLOORS["precision"]
    assert score.recall >= FLOORS["recall"]


def test_what_rules_do_not_hear_they_do_not_make_up_either() -> None:
    for score in measure(next(detector for detector in DETECTORS if not detector.floors)):
        assert score.precision >= FLOORS["precision"]


@pytest.mark.parametrize("name", LEAST)
def test_the_cases_are_many_distinct_and_of_both_kinds(name: str) -> None:
    found = cases(name)
    assert len(found) >= LEAST[name]
    assert len({case["id"] for case in found}) == len(found)
    assert len({str(case["label"]) for case in found}) >= 2
    assert 0.3 < sum(held_out(case["id"]) for case in found) / len(found) < 0.7


@pytest.mark.parametrize("name", ["corrections", "praise"])
def test_each_language_has_both_kinds(name: str) -> None:
    found = {(case["language"], case["label"]) for case in cases(name) if case["language"] != "mixed"}
    assert found == {(language, label) for language in LANGUAGES for label in (True, False)}


@pytest.mark.parametrize("answer", [True, False])
def test_a_detector_that_broke_falls_below_the_floor(answer: bool) -> None:
    broken = Detector("correction", "corrections", lambda _: answer)
    assert not all(check.holds for check in checks({"correction": measure(broken)}).values())


def test_a_score_of_nothing_is_zero() -> None:
    assert (Score().precision, Score().recall) == (0.0, 0.0)


def test_the_result_is_printed_and_written_and_keeps_what_a_judge_said_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "signals.json").write_text('{"judge": {"n": 1}}', encoding="utf-8")
    assert main(["--results", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert all(detector.name in shown for detector in DETECTORS)
    written = json.loads((tmp_path / "signals.json").read_text(encoding="utf-8"))
    assert written["bench"] == "signals"
    assert written["judge"] == {"n": 1}
    assert written["checks"]["correction_precision"]["holds"] is True
    assert written["arms"]["correction held-out recall"]["n"] > 50


async def test_the_judge_is_asked_about_every_case_and_counted_by_label() -> None:
    async def always_bad(body: dict[str, Any]) -> str:
        asked = body["messages"][-1]["content"].split("\n")[1]
        return json.dumps({"reason": "so it is", "evidence": asked, "verdict": BAD})

    judged = await judge_all(always_bad, votes=3)
    record = signals.judge_record(judged, "scripted", 3)
    labels = [case["label"] for case in cases("judge")]
    assert record["n"] == len(labels)
    assert {label: row[BAD] for label, row in record["verdicts_by_label"].items()} == {
        label: labels.count(label) for label in ("good", "bad", "unclear")
    }
    assert judged.share(GOOD, ["good", "bad", "unclear"]) == (0, len(labels))
