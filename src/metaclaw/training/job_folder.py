"""The folder of a job: which turns are in it, and what stays when the job has ended or its turns were erased."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from metaclaw.training.files import read_lines

TEXTLESS = ("manifest.jsonl", "job.json", "result.json")
TOLD = (*TEXTLESS, "dataset.jsonl", "held_out.json", "comparison.json")


def entries(folder: Path) -> list[dict[str, Any]]:
    """The manifest's lines of the turns that entered; none where the dataset is not built."""
    try:
        rows = read_lines(folder / "manifest.jsonl")
    except OSError:
        return []
    return [row for row in rows if row["split"] != "out"]


def entered(folder: Path) -> frozenset[str]:
    """The ids of the turns that a job learns from or is measured on."""
    return frozenset(row["turn_id"] for row in entries(folder))


def any_touched(rows: Iterable[Mapping[str, Any]], turn_ids: Collection[str], skill_refs: Collection[str]) -> bool:
    """Whether one of a manifest's lines is of one of these turns, or had one of these skills in its prompt."""
    turns, skills = set(turn_ids), set(skill_refs)
    return any(row["turn_id"] in turns or skills & set(row.get("skills", ())) for row in rows)


def wipe(folder: Path) -> None:
    """Leave what holds no conversation and was not made of one: how the job was done and how it went."""
    _leave(folder, TEXTLESS)


def tidy(folder: Path, *also: str) -> None:
    """Leave what tells of a job that has ended, and `also` these; what it was to go on from goes."""
    _leave(folder, (*TOLD, *also))


def _leave(folder: Path, names: Collection[str]) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name in names:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
