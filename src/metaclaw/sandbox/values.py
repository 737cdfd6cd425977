"""A call of a program's function, the limits that it runs under, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

FILE = "skill.py"  # what a program's tracebacks call its source, whatever it is called on disk
MAX_ERROR_CHARS = 4000

EndedBy = Literal["", "time", "memory", "output", "crash", "close"]


@dataclass(frozen=True, slots=True)
class Call:
    """One call: a program's source, which of its top-level functions to call, and the arguments, by keyword.

    The arguments, like the value that comes back, are what JSON can say.
    """

    code: str
    function: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may use. `output_bytes` bounds what it prints, and once more the JSON of its value."""

    seconds: float = 5.0
    memory_mb: int = 256
    output_bytes: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a call. A program that failed or was stopped is a result like any other, not an exception.

    `error` is empty where `ok`, else a traceback without any path of this machine, or which limit was passed; then
    `ended_by` names that limit, or says `crash` where the program's process died and `close` where the sandbox was
    closed under it. `stdout` is what it printed.
    """

    ok: bool
    value: Any
    stdout: str
    error: str
    seconds: float
    engine: str
    ended_by: EndedBy = ""

    @property
    def outcome(self) -> str:
        """In one word, for counting: `ok`, `error`, or what ended it."""
        return "ok" if self.ok else self.ended_by or "error"


def returned(text: str, stdout: str, seconds: float, engine: str, limits: Limits) -> Result:
    """The result of a call that returned `text`, the JSON of its value.

    The text comes from the program's process, so it is read as hostile: too long, too deep, or not JSON at all.
    """
    if len(text) > limits.output_bytes or len(text.encode(errors="replace")) > limits.output_bytes:
        return stopped("output", stdout, seconds, engine, limits)
    try:
        value = json.loads(text, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair could be neither stored nor sent
    except (ValueError, RecursionError) as error:
        return failed(f"The value is not plain JSON: {error}", stdout, seconds, engine)
    return Result(True, value, stdout, "", seconds, engine)


def failed(error: str, stdout: str, seconds: float, engine: str, ended_by: EndedBy = "") -> Result:
    """A failed call. Of a long error, the beginning and the end are kept: the end says what it was."""
    if len(error) > MAX_ERROR_CHARS:
        error = f"{error[: MAX_ERROR_CHARS // 2]}\n...\n{error[-MAX_ERROR_CHARS // 2 :]}"
    return Result(False, None, stdout, error, seconds, engine, ended_by)


def stopped(by: EndedBy, stdout: str, seconds: float, engine: str, limits: Limits) -> Result:
    """A call that passed a limit, or whose process died."""
    told = {
        "time": f"It ran longer than {limits.seconds:g} s and was stopped.",
        "memory": f"It needed more than {limits.memory_mb} MB of memory.",
        "output": f"It printed or returned more than {limits.output_bytes} bytes.",
        "crash": "Its process ended without a result.",
        "close": "The sandbox was closed before it was done.",
    }
    return failed(told[by], stdout, seconds, engine, by)


def _refuse(constant: str) -> None:
    raise ValueError(f"JSON has no {constant}")
