"""Adapters in a registry, admitted by a verdict or not: what tests of promotion begin with."""

from __future__ import annotations

from pathlib import Path

from metaclaw.training.registry import Registry
from metaclaw.types import Adapter, AdapterState, Verdict
from small_adapter import write_adapter


def admitted_adapter(registry: Registry, folder: Path, name: str, parent: str | None = None) -> Adapter:
    made = judged_adapter(registry, folder, name, "promoted: better on held-out prompts", parent)
    registry.set_state(made.name, AdapterState.PROMOTED)
    return registry.get(made.name)


def judged_adapter(
    registry: Registry, folder: Path, name: str, decision: str, parent: str | None = None
) -> Adapter:
    turns = {f"turn-{name}": "train", "turn-shared": "train", f"query-{name}": "query"}
    lineage = {
        "job": f"train-{name}", "generation": 3, "result": {"steps": len(name), "objective": "distill"},
        "left_out": {"no signal": 2},
        "manifest": [
            {"turn_id": turn_id, "split": split, "generation": 3, "policy": "tiny@base", "skills": ["dates@1"],
             "reason": "proven by its signals (check)"}
            for turn_id, split in turns.items()
        ],
    }
    made = registry.register(write_adapter(folder / name, name.encode()), "tiny", parent, lineage)
    evidence = {"query": {"wins": 6}}
    verdict = Verdict(f"adapter:{made.name}", parent or "base", made.name, 8, 0.75, 0.98, decision, evidence)
    state = AdapterState.CANDIDATE if decision.startswith("promoted") else AdapterState.REJECTED
    registry.decide(made.name, verdict, state)
    return registry.get(made.name)
