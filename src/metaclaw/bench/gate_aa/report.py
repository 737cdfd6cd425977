"""The run file's figures, with the simulation drawn from it, as `gate-aa.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from metaclaw.bench import results
from metaclaw.bench.gate_aa.simulation import MOST_SESSIONS, canaries_end, equals_let_in, forgetful_let_in
from metaclaw.bench.results import Arm, Check
from metaclaw.serving.trial import Step
from metaclaw.training.gate import ALPHA

if TYPE_CHECKING:
    from metaclaw.bench.gate_aa.run import Plan

EQUALS, SPOILED = ("sampled", "chance", "shuffled"), ("hacked", "poisoned")
ASKED_FOR = 200
SIMULATED = 20_000
QUESTIONS = (24, 48, 96)
CANARIES = 200
FAILING = ((0.1, 0.9), (0.1, 0.5), (0.3, 0.6), (0.2, 0.4), (0.2, 0.2))
EQUAL_CANARIES = "simulated: equal canaries"


def publish(records: Sequence[Mapping[str, Any]], plan: Plan, folder: Path) -> None:
    equal = [record for record in records if record["kind"] in EQUALS]
    spoiled = [record for record in records if record["kind"] in SPOILED]
    arms = {
        **{kind: _promoted([record for record in records if record["kind"] == kind]) for kind in (*EQUALS, *SPOILED)
           if any(record["kind"] == kind for record in records)},
        "A/A: all": _promoted(equal),
        **_simulated(records),
        EQUAL_CANARIES: results.share(
            f"ever taken back in {MOST_SESSIONS} sessions",
            [step is Step.BACK for step, _ in canaries_end(0.2, 0.2, CANARIES, 0, passes=False)],
        ),
    }
    rate = sum(record["promoted"] for record in equal) / len(equal)
    worst = max(arm.value for name, arm in arms.items() if name.startswith("simulated") and name != EQUAL_CANARIES)
    let_in = sum(record["promoted"] for record in spoiled)
    checks = {
        "aa_promoted": Check(round(rate, 4), f"at most {ALPHA}", rate <= ALPHA),
        "aa_candidates": Check(len(equal), f"at least {ASKED_FOR}", len(equal) >= ASKED_FOR),
        "simulated_let_in": Check(worst, f"at most {ALPHA}", worst <= ALPHA),
        "equal_canaries_taken_back": Check(
            arms[EQUAL_CANARIES].value, f"at most {ALPHA}", arms[EQUAL_CANARIES].value <= ALPHA
        ),
        "spoiled_promoted": Check(let_in, "0", let_in == 0 and bool(spoiled)),
        "spoiled_candidates": Check(
            len(spoiled), f"at least {plan.hacked + plan.poisoned}", len(spoiled) >= plan.hacked + plan.poisoned
        ),
    }
    extra = {
        "canaries": [_canaries(fails, canary_fails) for fails, canary_fails in FAILING],
        "spoiled": [
            {key: record[key] for key in ("kind", "number", "better", "decision")} for record in spoiled
        ],
        "answers_that_differ": {
            kind: _mean([record["differ"] for record in records if record["kind"] == kind]) for kind in EQUALS
        },
        "seconds": dict(sum((Counter({record["kind"]: record["seconds"]}) for record in records), Counter())),
        "sampled_from": "bench/results/gate-aa/records.jsonl",
    }
    seeds = sorted({record["number"] for record in records})
    path = results.write(folder, "gate-aa", "metaclaw bench gate-aa", "smollm2-135m", seeds, arms, checks, extra)
    print(path.read_text(encoding="utf-8"))


def _canaries(fails: float, canary_fails: float) -> dict[str, Any]:
    """Trials with the settings' own bar: what is taken back before it serves all, and after how many sessions."""
    back = [after for step, after in canaries_end(fails, canary_fails, CANARIES, 1) if step is Step.BACK]
    return {
        "sessions_that_fail": fails, "of_the_canary": canary_fails, "trials": CANARIES, "taken_back": len(back),
        "median_sessions": median(back) if back else None,
    }


def _promoted(records: Sequence[Mapping[str, Any]]) -> Arm:
    return results.share("promoted", [record["promoted"] for record in records])


def _simulated(records: Sequence[Mapping[str, Any]]) -> dict[str, Arm]:
    """From the sampled candidates' answers: each question's, of both sides, are draws of one model."""
    tables = [record["pairs"] for record in records if record["kind"] == "sampled"]
    forgetful = results.share("let in, losing the margin", forgetful_let_in(40, SIMULATED, 0))
    if not tables:
        return {"simulated: forgetful, 40 prompts": forgetful}
    of_question = [[right for pair in pairs for right in pair] for pairs in zip(*tables, strict=True)]
    equal = {
        f"simulated: equal, {questions} questions": results.share(
            "let in", equals_let_in(of_question, questions, SIMULATED, questions)
        )
        for questions in QUESTIONS
    }
    return {**equal, "simulated: forgetful, 40 prompts": forgetful}


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 2) if values else None
