"""Stands in for `metaclaw.training.prepare` and `.trainer` in the scripted circle: same protocol, no model.

Called with two arguments it "prepares"; with one it "trains": it reads the dataset, reports a step, and leaves an
adapter folder whose bytes depend on what it was given.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from small_adapter import write_adapter


def main(arguments: list[str]) -> None:
    if len(arguments) == 2:
        say({"event": "done", "folder": arguments[1]})
        return
    folder = Path(arguments[0])
    rows = [json.loads(line) for line in (folder / "dataset.jsonl").read_text(encoding="utf-8").splitlines()]
    learned = json.dumps([row["reply"] for row in rows if row["split"] == "train"])
    write_adapter(folder / "adapter", learned.encode())
    (folder / "adapter" / "adapter.gguf").rename(folder / "adapter.gguf")
    (folder / "result.json").write_text(json.dumps({"steps": 1}), encoding="utf-8")
    say({"event": "step", "step": 1, "total_steps": 1, "loss": 0.1, "kl_to_base": 0.01, "eta_seconds": 0})
    say({"event": "done"})


def say(event: dict[str, object]) -> None:
    print(json.dumps(event), flush=True)


main(sys.argv[1:])
