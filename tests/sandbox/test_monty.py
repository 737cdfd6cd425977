"""Monty: what it runs, what it knows that it cannot, and that it never holds up the event loop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from metaclaw.sandbox.monty import MontyEngine, Unsure, lacks
from metaclaw.sandbox.values import Call, Limits, Result
from processes import at_work, children
from support import until

pytestmark = pytest.mark.usefixtures("nothing_left")

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
ENDLESS = "def f():\n    while True:\n        pass"
LIMITS = Limits(seconds=5, memory_mb=64, output_bytes=2000)


@pytest.fixture
async def monty(nothing_left: None) -> AsyncIterator[MontyEngine]:
    engine = MontyEngine(LIMITS, at_once=2)
    yield engine
    await engine.close()


async def served(engine: MontyEngine, code: str, function: str = "f", **arguments: object) -> Result:
    result = await engine.run(Call(code, function, arguments))
    assert isinstance(result, Result), result
    return result


ORDINARY: dict[str, tuple[str, dict[str, Any], Any]] = {
    "arithmetic": ("def f(a: int, b: int) -> int:\n    return a * b", {"a": 6, "b": 7}, 42),
    "unicode": ("def f(name: str) -> str:\n    return name.upper() + ' 👋'", {"name": "josé"}, "JOSÉ 👋"),
    "json": ("import json\ndef f(text):\n    return json.loads(text)['a']", {"text": '{"a": [1, null]}'}, [1, None]),
    "re": ("import re\ndef f(t):\n    return re.sub(r'\\s+', '_', t.strip())", {"t": " a  b "}, "a_b"),
    "math": ("import math\ndef f(x):\n    return math.floor(math.sqrt(x))", {"x": 17}, 4),
    "dates": ("import datetime\ndef f(d):\n    return datetime.date.fromisoformat(d).strftime('%Y%m%d')",
              {"d": "2026-03-04"}, "20260304"),
    "helpers": ("def g(x):\n    return x + 1\ndef f(x=1):\n    return [g(n) for n in range(x)]", {"x": 3}, [1, 2, 3]),
    "defaults": ("def f(x=5):\n    return x", {}, 5),
    "dictionary": ("def f(x):\n    return {'n': x, 'pairs': list({'a': 1}.items())}", {"x": None},
                   {"n": None, "pairs": [["a", 1]]}),
    "errors_caught": ("def f(x):\n    try:\n        return 1 / x\n    except ZeroDivisionError:\n        return 'none'",
                      {"x": 0}, "none"),
    "comment_last": ("def f():\n    return 1\n# the end", {}, 1),
    "future": ("from __future__ import annotations\ndef f() -> int:\n    return 1", {}, 1),
}


@pytest.mark.parametrize("name", ORDINARY)
async def test_ordinary_programs_work(monty: MontyEngine, name: str) -> None:
    code, arguments, expected = ORDINARY[name]
    result = await served(monty, code, **arguments)
    assert (result.ok, result.value, result.error) == (True, expected, "")
    assert result.engine == "monty"


async def test_what_is_printed_is_kept_apart_from_the_value(monty: MontyEngine) -> None:
    result = await served(monty, "def f():\n    print('hé', 1)\n    print('end')\n    return 2")
    assert (result.value, result.stdout) == (2, "hé 1\nend\n")


async def test_an_exception_is_told_with_the_programs_own_lines(monty: MontyEngine) -> None:
    result = await served(monty, "def g(x):\n    return 1 / x\n\ndef f(x):\n    print('so far')\n    return g(x)", x=0)
    assert result.error.splitlines() == [
        "Traceback (most recent call last):",
        '  File "skill.py", line 6, in f', "    return g(x)",
        '  File "skill.py", line 2, in g', "    return 1 / x",
        "ZeroDivisionError: division by zero",
    ]
    assert (result.outcome, result.stdout) == ("error", "so far\n")


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("def f():\n    while True:\n        pass", "time"),
        ("import time\ndef f():\n    time.sleep(60)", "time"),
        ("def f():\n    return 'x' * 10**12", "memory"),
        ("def f():\n    x = []\n    while True:\n        x.append('y' * 1000)", "memory"),
        ("def f():\n    while True:\n        print('x' * 100)", "output"),
        ("def f():\n    return 'x' * 3000", "output"),
        ("def f():\n    raise TimeoutError('mine')", "error"),
        ("def f():\n    return float('nan')", "error"),
    ],
)
async def test_each_limit_is_told_apart(code: str, outcome: str) -> None:
    engine = MontyEngine(Limits(seconds=0.5, memory_mb=64, output_bytes=2000))
    result = await served(engine, code)
    await engine.close()
    assert result.outcome == outcome
    assert len(result.stdout) <= 2000


async def test_a_flood_of_output_ends_at_once_with_its_beginning(monty: MontyEngine) -> None:
    started = time.monotonic()
    result = await served(monty, "def f():\n    while True:\n        print('0123456789')")
    assert time.monotonic() - started < LIMITS.seconds / 2
    assert result.stdout == ("0123456789\n" * 200)[:2000]


UNSUPPORTED = {
    "generator": "def g():\n    yield 1\ndef f():\n    return list(g())",
    "inheritance": "class A(dict):\n    pass\ndef f():\n    return A(x=1)",
    "del": "def f():\n    x = {1: 2}\n    del x[1]\n    return x",
    "module": "import enum\ndef f():\n    return 1",
    "builtin": "def f():\n    return bytearray(b'x').hex()",
    "environment": "import os\ndef f():\n    return dict(os.environ)",
}


@pytest.mark.parametrize("name", UNSUPPORTED)
async def test_what_monty_lacks_is_no_failure_of_the_program(monty: MontyEngine, name: str) -> None:
    answer = await monty.run(Call(UNSUPPORTED[name], "f"))
    assert isinstance(answer, Unsure)
    assert answer.certain


DOUBTFUL = {
    "attribute": "def f():\n    return f.__name__",
    "unknown_name": "def f():\n    return undefined",
    "own_file": "def f():\n    return open('notes.txt', 'w').write('x')",
    "syntax": "def f(:\n    return 1",
    "no_such_function": "def g():\n    return 1",
}


@pytest.mark.parametrize("name", DOUBTFUL)
async def test_what_may_be_montys_fault_or_the_programs_is_left_open(monty: MontyEngine, name: str) -> None:
    answer = await monty.run(Call(DOUBTFUL[name], "f"))
    assert isinstance(answer, Unsure)
    assert not answer.certain
    assert answer.result.error


@pytest.mark.parametrize(
    ("kind", "message", "verdict"),
    [
        ("NotImplementedError", "The monty syntax parser does not yet support yield expressions", True),
        ("NotImplementedError", "not done yet", None),
        ("ModuleNotFoundError", "ModuleNotFoundError: No module named 'enum'", True),
        ("ModuleNotFoundError", "ModuleNotFoundError: No module named 'numpy'", False),
        ("NameError", "NameError: name 'classmethod' is not defined", True),
        ("NameError", "NameError: name 'clasmethod' is not defined", None),
        ("RuntimeError", "RuntimeError: 'os.environ' is not supported in this environment", True),
        ("TypeError", "TypeError: 'buffering' argument is not yet supported", None),
        ("ValueError", "ValueError: no", False),
        ("AssertionError", "AssertionError: assert 1 == 2", False),
        ("KeyError", "KeyError: 'a'", False),
    ],
)
def test_a_programs_failure_is_told_from_montys(kind: str, message: str, verdict: bool | None) -> None:
    assert lacks(kind, message) is verdict


async def test_calls_share_nothing(monty: MontyEngine) -> None:
    await served(monty, "import random\nkept = [1]\ndef f():\n    random.seed(1)\n    return random.random()")
    answer = await monty.run(Call("def f():\n    return kept", "f"))
    assert isinstance(answer, Unsure)
    seeded = {(await served(monty, "import random\ndef f():\n    return random.random()")).value for _ in range(3)}
    assert len(seeded) == 3


async def test_twenty_calls_at_once_all_come_back(monty: MontyEngine) -> None:
    results = await asyncio.gather(*(served(monty, "def f(n):\n    return n * n", n=n) for n in range(20)))
    assert [result.value for result in results] == [n * n for n in range(20)]


async def test_the_event_loop_goes_on_while_programs_loop() -> None:
    engine = MontyEngine(Limits(seconds=0.5), at_once=2)
    loops = [asyncio.create_task(served(engine, ENDLESS)) for _ in range(2)]
    turns = 0
    while not all(task.done() for task in loops):
        await asyncio.sleep(0.001)
        turns += 1
    await engine.close()
    assert turns > 10
    assert {task.result().outcome for task in loops} == {"time"}


@linux
async def test_a_cancelled_call_leaves_its_place_at_once() -> None:
    engine = MontyEngine(Limits(seconds=60), at_once=1)
    await served(engine, "def f():\n    return 1")
    endless = asyncio.create_task(served(engine, ENDLESS))
    await until(lambda: at_work(children()))
    endless.cancel()
    async with asyncio.timeout(10):
        assert (await served(engine, "def f():\n    return 2")).value == 2
        await engine.close()


@linux
async def test_closing_ends_what_is_under_way() -> None:
    engine = MontyEngine(Limits(seconds=60), at_once=2)
    await engine.missing()
    calls = [asyncio.create_task(served(engine, ENDLESS)) for _ in range(5)]
    await until(lambda: at_work(children()))
    async with asyncio.timeout(10):
        await engine.close()
        assert {(await call).outcome for call in calls} == {"close"}


@linux
async def test_a_worker_killed_from_outside_is_a_crash_and_is_replaced() -> None:
    before = children()
    engine = MontyEngine(Limits(seconds=20), at_once=1)
    await engine.missing()
    endless = asyncio.create_task(served(engine, ENDLESS))
    await until(lambda: at_work(children() - before))
    for pid in children() - before:
        os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        assert (await endless).outcome == "crash"
        assert (await served(engine, "def f():\n    return 1")).value == 1
    await engine.close()


@pytest.mark.parametrize("how", ["closed", "left open"])
def test_the_process_ends_cleanly(how: str) -> None:
    """Monty's asynchronous interface aborts four of ten processes at exit; ours must not."""
    close = "await engine.close()" if how == "closed" else "pass"
    script = f"""
import asyncio
from metaclaw.sandbox.monty import MontyEngine
from metaclaw.sandbox.values import Call, Limits
async def main():
    engine = MontyEngine(Limits(seconds=1))
    print((await engine.run(Call("def f():\\n    return 1", "f"))).value)
    {close}
asyncio.run(main())
"""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


async def test_without_its_program_monty_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda *_: "/nowhere")
    engine = MontyEngine(LIMITS)
    reason = await engine.missing()
    await engine.close()
    assert reason is not None
    assert "pip install pydantic-monty" in reason
