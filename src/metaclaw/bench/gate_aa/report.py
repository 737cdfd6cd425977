"""The run file's figures, with the simulation drawn from it, as `gate-aa.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaclaw.bench import results
from metaclaw.bench.gate_aa.simulation import equals_let_in, forgetful_let_in
from metaclaw.bench.results import Arm, Check
from metaclaw.training.gate import ALPHA

if TYPE_CHECKING:
    from metaclaw.bench.gate_aa.run import Plan

EQUALS, SPOILED = ("sampled", "chance", "shuffled"), ("hacked", "poisoned")
ASKED_FOR = 200
SIMULATED = 20_000
QUESTIONS = (24, 48, 96)


def publish(records: Sequence[Mapping[str, Any]], plan: Plan, folder: Path) -> None:
    equal = [record for record in records if record["kind"] in EQUALS]
    spoiled = [record for record in records if record["kind"] in SPOILED]
    arms = {
        **{kind: _promoted([record for record in records if record["kind"] == kind]) for kind in (*EQUALS, *SPOILED)
           if any(record["kind"] == kind for record in records)},
        "A/A: all": _promoted(equal),
        **_simulated(records),
    }
    rate = sum(record["promoted"] for record in equal) / len(equal)
    worst = max(arm.value for name, arm in arms.items() if name.startswith("simulated"))
    let_in = sum(record["promoted"] for record in spoiled)
    checks = {
        "aa_promoted": Check(round(rate, 4), f"at most {ALPHA}", rate <= ALPHA),
        "aa_candidates": Check(len(equal), f"at least {ASKED_FOR}", len(equal) >= ASKED_FOR),
        "simulated_let_in": Check(worst, f"at most {ALPHA}", worst <= ALPHA),
        "spoiled_promoted": Check(let_in, "0", let_in == 0 and bool(spoiled)),
        "spoiled_candidates": Check(
            len(spoiled), f"at least {plan.hacked + plan.poisoned}", len(spoiled) >= plan.hacked + plan.poisoned
        ),
    }
    extra = {
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
