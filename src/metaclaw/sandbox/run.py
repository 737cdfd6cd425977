"""Run a call where it can be run safely: in Monty, else in a jail, else not at all.

Monty first, because it starts in microseconds and has no authority to lose. What it cannot run, or fails at in a way
that may be its own fault, full Python in a jail decides. Where that is missing too, the call is refused.
"""

from __future__ import annotations

import json
import keyword
from collections import Counter
from collections.abc import Mapping

from metaclaw.config.fast_loop import SandboxSettings
from metaclaw.errors import SandboxError
from metaclaw.sandbox.monty import MontyEngine
from metaclaw.sandbox.pool import StrongEngine
from metaclaw.sandbox.values import Call, Limits, Result, failed

MAX_CODE_BYTES = 256 * 1024
MAX_ARGUMENT_BYTES = 1024 * 1024


class Sandbox:
    """Runs code skills with no authority of their own. Used on one event loop; whoever made it closes it."""

    def __init__(self, settings: SandboxSettings) -> None:
        limits = Limits(settings.seconds, settings.memory_mb, settings.output_bytes)
        self._engine = settings.engine
        self._monty = MontyEngine(limits)
        self._strong = StrongEngine(limits)
        self._counts: Counter[str] = Counter()

    async def run(self, call: Call) -> Result:
        """What came of the call: also a program that fails or is stopped is a `Result`.

        SandboxError where nothing here may run it, with what is missing and how to get it.
        """
        try:
            result = unusable(call) or await self._run(call)
        except SandboxError:
            self._counts["refused"] += 1
            raise
        self._counts[f"{result.engine} {result.outcome}"] += 1
        return result

    async def missing(self) -> Mapping[str, str | None]:
        """By engine that the settings allow, why it cannot be used here; None where it can, and then it is started."""
        found: dict[str, str | None] = {}
        if self._engine != "strong":
            found["monty"] = await self._monty.missing()
        if self._engine != "monty":
            found["strong"] = await self._strong.missing()
        return found

    async def warm_up(self) -> None:
        """Start what the settings allow, and wait until a call finds it ready. Without this, the first call waits."""
        await self.missing()
        if self._engine != "monty":
            await self._strong.warm_up()

    @property
    def counts(self) -> Mapping[str, int]:
        """How many calls ended how, such as `monty ok` or `strong time`; those with no engine as `refused`."""
        return dict(self._counts)

    async def close(self) -> None:
        await self._monty.close()
        await self._strong.close()

    async def _run(self, call: Call) -> Result:
        reasons: list[str] = []
        doubted: Result | None = None
        if self._engine != "strong":
            if (reason := await self._monty.missing()) is None:
                answer = await self._monty.run(call)
                if isinstance(answer, Result):
                    return answer
                doubted = None if answer.certain else answer.result
                reasons.append(f"Monty lacks what it uses ({answer.result.error.splitlines()[-1]}).")
            else:
                reasons.append(reason)
        if self._engine != "monty":
            if (reason := await self._strong.missing()) is None:
                return await self._strong.run(call)
            reasons.append(reason)
        else:
            reasons.append("Full Python is not tried, since sandbox.engine is 'monty'.")
        if doubted is not None:
            return doubted
        raise SandboxError(f"This code skill cannot run here. {' '.join(reasons)}")


def unusable(call: Call) -> Result | None:
    """The failure of a call that no engine could serve; None for every other."""
    if not call.function.isidentifier() or keyword.iskeyword(call.function):
        return failed(f"{call.function!r} is no name of a function.", "", 0.0, "none")
    try:
        if len(call.code.encode()) > MAX_CODE_BYTES:
            return failed(f"The program is longer than {MAX_CODE_BYTES} bytes.", "", 0.0, "none")
        if len(json.dumps(dict(call.arguments), allow_nan=False)) > MAX_ARGUMENT_BYTES:
            return failed(f"The arguments are longer than {MAX_ARGUMENT_BYTES} bytes.", "", 0.0, "none")
    except (TypeError, ValueError, RecursionError) as error:
        return failed(f"The program is no text, or the arguments are not plain JSON: {error}", "", 0.0, "none")
    return None
