"""The learner's process: `python -m metaclaw.learner`, started by the gateway.

Its first line of input is a greeting (settings, the gateway's address and token, the embedded model's file); the lines
after it tell of activity; the end of input is its end. It runs the fast loop and the scheduler of the slow one. It asks
the model through the gateway's own door, as side calls: those are kept, never learned from, and survive swaps.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from typing import Any

from metaclaw import logs
from metaclaw.config.secret import known_secrets
from metaclaw.config.settings import Settings
from metaclaw.errors import MetaClawError
from metaclaw.journal.redact import Redactor
from metaclaw.leash import die_with_parent, step_aside
from metaclaw.runtime.learner import Learner, build_learner

log = logging.getLogger("metaclaw.learner")


async def main() -> int:
    die_with_parent()
    step_aside()
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # under `stty tostop`, it stops groups that write in the background
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells of each change; we tell what came of it
    lines = await _stdin()
    greeting = json.loads(await lines.readline() or b"{}")
    if not greeting:
        return 1
    settings = Settings.model_validate(greeting["settings"])
    level = "debug" if settings.log.level == "debug" else "info"
    logs.install(settings.log.format, level, "learner", Redactor([greeting["token"], *known_secrets(settings)]).text)
    learner = build_learner(settings, greeting["gateway_url"], greeting["token"], greeting["embedded"])
    async with learner:
        await _listen(lines, learner)
    return 0


async def _listen(lines: asyncio.StreamReader, learner: Learner) -> None:
    while line := await lines.readline():
        message: dict[str, Any] = json.loads(line)
        if "under_way" in message:
            learner.heard(int(message["under_way"]))
        if "recorded" in message:
            learner.wake()


async def _stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except MetaClawError as error:
        sys.exit(f"learner: {error}")
