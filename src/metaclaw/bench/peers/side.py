"""Runs a peer inside its own virtual environment: `python side.py NAME`, which knows nothing of MetaClaw.

A JSON line on stdin configures it, and it answers `{"ready": VERSION}`, or `{"error": ...}` and ends. Then each line
asks: `{"before": REQUEST}` for what it would tell the model, `{"after": [REQUEST, ANSWER, FEEDBACK, RIGHT]}` to learn
from it. What the peer prints goes to stderr. It ends with its stdin.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from typing import Any, TextIO


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # peers print
    config = json.loads(sys.stdin.readline())
    try:
        peer = importlib.import_module(f"{sys.argv[1]}_side").Side(config)
    except Exception as error:  # noqa: BLE001 - whatever a peer raises is told, and it cannot be run
        traceback.print_exc()
        _say(replies, {"error": f"{type(error).__name__}: {error}"})
        return
    _say(replies, {"ready": peer.version})
    for line in sys.stdin:
        _say(replies, _answer(peer, json.loads(line)))


def _answer(peer: Any, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        if "before" in asked:
            return {"context": peer.before(asked["before"])}
        peer.after(*asked["after"])
        return {"holds": peer.holds()}
    except Exception as error:  # noqa: BLE001 - the same
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"[:500]}


def _say(replies: TextIO, what: dict[str, Any]) -> None:
    replies.write(json.dumps(what) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
