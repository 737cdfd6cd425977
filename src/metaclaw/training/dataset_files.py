"""A dataset as the files of a job's folder: what is trained on, what the gate asks, and the manifest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from metaclaw.training import dataset
from metaclaw.training.files import write_whole
from metaclaw.training.planted import plant, with_planted
from metaclaw.types import Message


def write_dataset(
    folder: Path, data: dataset.Dataset, replay: Sequence[tuple[list[Message], str]], base_model: str
) -> None:
    """What is learned from comes last: where it is there, all is."""
    watched, judged = dataset.apart(data.query)
    held_out = {
        split: [asdict(example) for example in examples]
        for split, examples in (("query", judged), ("retention", data.retention), ("safety", data.safety))
    }
    write_whole(folder / "manifest.jsonl", "\n".join(dataset.manifest_lines(data)))
    write_whole(folder / "held_out.json", json.dumps(held_out, ensure_ascii=False))
    rows = with_planted([json.loads(line) for line in dataset.lines(data, replay, watched, base_model)], plant())
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    write_whole(folder / "dataset.jsonl", "\n".join(lines) + "\n")
