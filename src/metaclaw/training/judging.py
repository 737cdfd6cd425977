"""From a trained adapter to its verdict, and what follows from it: the second half of a training job.

In: a job's folder, with `dataset.jsonl`, `held_out.json`, `manifest.jsonl`, `result.json` and the trainer's output.
Out: the adapter in the registry, with its lineage and verdict; where the gate admits it, it is handed on.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from metaclaw.training import dataset, gate
from metaclaw.training.comparison import Arena, Comparer, OpenArena, Trained
from metaclaw.training.files import read_json, read_lines, write_whole
from metaclaw.training.planted import planted_in
from metaclaw.training.quiet import Quietly
from metaclaw.training.registry import Registry
from metaclaw.types import Adapter, AdapterState, Verdict

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Compared:
    incumbent: str | None
    comparison: gate.Comparison
    parity: dict[str, str]


class Judging:
    """`incumbent` names what the candidate must beat; `promote` is serving's, and leaves alone what is in service.
    `arena` is there while it is asked.

    `busy` tells whether another adapter is on trial: a new one would have to wait, and a third engine would be running.
    """

    def __init__(
        self, registry: Registry, base_model: str, incumbent: Callable[[], str | None], open_arena: OpenArena,
        promote: Callable[[Adapter], object], busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._registry = registry
        self._base_model = base_model
        self._incumbent = incumbent
        self._open_arena = open_arena
        self._promote = promote
        self.busy = busy
        self.arena: Arena | None = None

    async def compare(self, folder: Path, quietly: Quietly) -> Compared:
        """Put the questions, each by `quietly`."""
        incumbent = self._incumbent()
        manifest = read_lines(folder / "manifest.jsonl")
        skills_of = {row["turn_id"]: tuple(row["skills"]) for row in manifest}
        rows = read_lines(folder / "dataset.jsonl")
        try:
            async with self._open_arena(_gathered(folder) / "adapter.gguf", incumbent) as self.arena:
                comparer = Comparer(self.arena, quietly)
                comparison = await comparer.compare(
                    read_json(folder / "held_out.json"), Trained.of(rows, planted_in(rows)), skills_of
                )
                return Compared(incumbent, comparison, await comparer.parity())
        finally:
            self.arena = None

    def decide(self, folder: Path, compared: Compared, generation: int | None) -> dict[str, Any]:
        """Register the adapter with its verdict, and hand it on where it is admitted. Returns the job's progress."""
        write_whole(folder / "comparison.json", json.dumps(asdict(compared.comparison), default=sorted))
        lineage = {**_lineage(folder), "generation": generation, "parity": compared.parity}
        adapter = self._registry.register(_gathered(folder), self._base_model, compared.incumbent, lineage)
        verdict = gate.judge(adapter.name, compared.incumbent or "base", compared.comparison)
        admitted = gate.admits(verdict)
        self._registry.decide(adapter.name, verdict, AdapterState.PROMOTED if admitted else AdapterState.REJECTED)
        log.info("adapter %s: %s", adapter.name, verdict.decision)
        if admitted:
            self._promote(adapter)
        return _progress(verdict)

    def decided(self, folder: Path) -> dict[str, Any] | None:
        """The job's progress, where an earlier run gave its adapter a verdict and ended before it said so; else None.

        An admitted adapter of which nothing was said since is handed on, as that run may not have come to it.
        """
        for adapter in self._registry.all():
            verdicts = self._registry.verdicts(adapter.name) if adapter.lineage.get("job") == folder.name else []
            if verdicts:
                if len(verdicts) == 1 and adapter.state is AdapterState.PROMOTED:
                    self._promote(adapter)
                return _progress(verdicts[0])
        return None


def _progress(verdict: Verdict) -> dict[str, Any]:
    return {"adapter": verdict.candidate, "decision": verdict.decision, "verdict": dict(verdict.evidence)}


def _lineage(folder: Path) -> dict[str, Any]:
    """Where the adapter comes from: every turn that entered, and the trainer's result."""
    manifest = read_lines(folder / "manifest.jsonl")
    taken = [
        {key: value for key, value in row.items() if key != "session"}  # its name may be anything a client says
        for row in manifest if row["split"] != dataset.OUT
    ]
    left_out = Counter(row["reason"] for row in manifest if row["split"] == dataset.OUT)
    return {
        "job": folder.name, "result": read_json(folder / "result.json"), "manifest": taken, "left_out": dict(left_out)
    }


def _gathered(folder: Path) -> Path:
    """The trainer's PEFT folder with the GGUF form beside it, as the registry wants it."""
    gguf = folder / "adapter.gguf"
    if gguf.exists():
        gguf.replace(folder / "adapter" / gguf.name)
    return folder / "adapter"
