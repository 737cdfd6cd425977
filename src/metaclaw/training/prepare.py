"""The process `python -m metaclaw.training.prepare GGUF CACHE`: trainable weights from the engine's file, made once.

Prints JSON lines, the last one `{"event": "done", "folder": ...}` or `{"event": "error", "message": ...}`. A process of
its own, since torch and the dequantised weights must not stay in the learner.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from metaclaw.errors import TrainingError
from metaclaw.leash import die_with_parent, step_aside
from metaclaw.training.model import prepare


def main(arguments: list[str]) -> int:
    gguf, cache = map(Path, arguments)
    die_with_parent()
    step_aside(entirely=True)
    try:
        folder = prepare(gguf, cache, lambda label: _say({"event": "phase", "phase": label}))
    except TrainingError as error:
        _say({"event": "error", "message": str(error)})
        return 1
    _say({"event": "done", "folder": str(folder)})
    return 0


def _say(event: dict[str, str]) -> None:
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
