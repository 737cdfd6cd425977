"""The process inside the jail: waits with its interpreter up, serves one call, and dies.

Three lines of JSON go through its pipes: in comes what to lock, out goes `{"ready": ...}`; in comes a call, out goes
what came of it. Everything that a program could misuse is given up before the second line is read. Runs with the
standard library alone; whoever reads its answers takes them for the program's own word.
"""

from __future__ import annotations

import base64
import io
import json
import linecache
import os
import sys
import traceback
import types
from collections.abc import Callable, Mapping
from typing import Any

from metaclaw.sandbox.jail_locks import lock

# What code skills import most: loaded while waiting, so that the call does not wait for it.
PRELOADED = (
    "collections", "dataclasses", "datetime", "functools", "itertools", "math", "random", "re", "string", "typing",
)
SPARE_BYTES = 1 << 20  # let go when memory is used up, so that this can still be told

Say = Callable[[Mapping[str, Any]], None]


def main() -> None:
    answers = os.dup(1)
    nothing = os.open("/dev/null", os.O_RDWR)
    os.dup2(nothing, 1)

    def say(message: Mapping[str, Any]) -> None:
        left = memoryview(json.dumps(message).encode() + b"\n")
        while left:
            left = left[os.write(answers, left) :]

    lines = os.fdopen(os.dup(0), "rb")
    os.dup2(nothing, 0)
    setup = json.loads(lines.readline())
    for name in PRELOADED:
        __import__(name)
    os.environ.clear()
    version = lock({**setup, "filter": base64.b64decode(setup["filter"])})
    os.dup2(nothing, 2)  # until here, an error is told on the real one
    say({"ready": True, "landlock": version})
    line = lines.readline()
    lines.close()
    if line:
        serve(json.loads(line), setup["output_bytes"], say)
    os._exit(0)


def serve(call: Mapping[str, Any], output_bytes: int, say: Say) -> None:
    """Run the call and say what came of it, whatever happens."""

    def too_much() -> None:
        say({"ended_by": "output", "stdout": output.text()})
        os._exit(0)

    output = Output(output_bytes, too_much)
    reserve = bytearray(SPARE_BYTES)
    sys.stdout = sys.stderr = io.TextIOWrapper(output, "utf-8", "backslashreplace", write_through=True)
    try:
        value = run(call)
        answer = {"value": json.dumps(value, allow_nan=False)}
    except MemoryError:
        del reserve
        answer = {"ended_by": "memory"}
    except BaseException as error:  # noqa: BLE001  also exit() and what a program makes up is its failure, not ours
        answer = {"error": told(error, call["file"])}
    say({**answer, "stdout": output.text()})


def run(call: Mapping[str, Any]) -> Any:
    """The program as a module of its own, and the value of its function."""
    code, file = call["code"], call["file"]
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    module = types.ModuleType("skill")
    module.__file__ = file
    sys.modules["skill"] = module  # dataclasses and typing look classes' modules up there
    exec(compile(code, file, "exec"), module.__dict__)  # noqa: S102  what the jail is for
    function = getattr(module, call["function"], None)
    if not callable(function):
        raise NameError(f"the program defines no function {call['function']!r}")
    return function(**call["arguments"])


def told(error: BaseException, file: str) -> str:
    """The error as Python tells it, from the program's first line on: our own are nobody's business."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != file:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace, limit=-12)).rstrip()


class Output(io.RawIOBase):
    """What is printed, kept up to `limit` bytes; at the first byte more, `too_much` is called."""

    def __init__(self, limit: int, too_much: Callable[[], None]) -> None:
        self._kept = bytearray()
        self._limit = limit
        self._too_much = too_much

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        room = self._limit - len(self._kept)
        self._kept += data[:room]
        if len(data) > room:
            self._too_much()
        return len(data)

    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")
