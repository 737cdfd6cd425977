"""The sandbox as others see it: which engine serves a call, when it refuses, and what it counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from metaclaw.config.fast_loop import SandboxSettings
from metaclaw.errors import SandboxError
from metaclaw.sandbox import Call, Sandbox
from metaclaw.sandbox.run import MAX_ARGUMENT_BYTES, MAX_CODE_BYTES

pytestmark = pytest.mark.usefixtures("nothing_left")

PLAIN = Call("def f(n: int) -> int:\n    return n + 1", "f", {"n": 1})
GENERATOR = Call("def g(n):\n    yield n\ndef f(n):\n    return list(g(n))", "f", {"n": 1})
WRONG_NAME = Call("def f():\n    return undefined", "f")
FULL_PYTHON_ONLY = Call("def f():\n    return f.__name__", "f")


@pytest.fixture
async def auto(nothing_left: None) -> AsyncIterator[Sandbox]:
    """Both engines; skips where one is missing."""
    sandbox = Sandbox(SandboxSettings())
    try:
        for reason in (await sandbox.missing()).values():
            if reason:
                pytest.skip(reason)
        yield sandbox
    finally:
        await sandbox.close()


@pytest.fixture
async def monty_alone(nothing_left: None, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sandbox]:
    """A machine without bubblewrap."""
    monkeypatch.setenv("PATH", "/nowhere")
    sandbox = Sandbox(SandboxSettings())
    yield sandbox
    await sandbox.close()


async def test_monty_comes_first_and_full_python_where_it_must(auto: Sandbox) -> None:
    first, second = await auto.run(PLAIN), await auto.run(GENERATOR)
    assert (first.value, first.engine) == (2, "monty")
    assert (second.value, second.engine) == ([1], "strong")


async def test_where_monty_may_be_at_fault_full_python_decides(auto: Sandbox) -> None:
    wrong, right = await auto.run(WRONG_NAME), await auto.run(FULL_PYTHON_ONLY)
    assert (wrong.outcome, wrong.engine) == ("error", "strong")
    assert "NameError: name 'undefined'" in wrong.error
    assert (right.value, right.engine) == ("f", "strong")


async def test_a_programs_own_failure_stays_where_it_was(auto: Sandbox) -> None:
    result = await auto.run(Call("def f(x):\n    assert x == 2, x", "f", {"x": 3}))
    assert (result.outcome, result.engine) == ("error", "monty")


async def test_calls_are_counted_by_engine_and_outcome(auto: Sandbox) -> None:
    for call in (PLAIN, PLAIN, GENERATOR, WRONG_NAME, Call("x", "no name")):
        await auto.run(call)
    assert auto.counts == {"monty ok": 2, "strong ok": 1, "strong error": 1, "none error": 1}


async def test_without_a_jail_monty_still_serves(monty_alone: Sandbox) -> None:
    assert (await monty_alone.run(PLAIN)).value == 2
    assert (await monty_alone.run(WRONG_NAME)).outcome == "error"
    reasons = await monty_alone.missing()
    assert reasons["monty"] is None
    assert reasons["strong"]


async def test_without_a_jail_what_needs_full_python_is_refused_with_the_mend(monty_alone: Sandbox) -> None:
    with pytest.raises(SandboxError, match="cannot run here") as refused:
        await monty_alone.run(GENERATOR)
    assert "yield" in str(refused.value)
    assert "bubblewrap" in str(refused.value) or "Linux" in str(refused.value)
    assert monty_alone.counts == {"refused": 1}


async def test_with_neither_everything_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("sysconfig.get_path", lambda *_: "/nowhere")
    sandbox = Sandbox(SandboxSettings())
    with pytest.raises(SandboxError, match="pip install pydantic-monty"):
        await sandbox.run(PLAIN)
    await sandbox.close()


async def test_an_engine_that_is_set_is_the_only_one() -> None:
    monty = Sandbox(SandboxSettings(engine="monty"))
    with pytest.raises(SandboxError, match=r"sandbox\.engine is 'monty'"):
        await monty.run(GENERATOR)
    assert set(await monty.missing()) == {"monty"}
    await monty.close()


async def test_the_strong_one_alone_serves_everything(auto: Sandbox) -> None:
    strong = Sandbox(SandboxSettings(engine="strong"))
    await strong.warm_up()
    assert {(await strong.run(call)).engine for call in (PLAIN, GENERATOR)} == {"strong"}
    await strong.close()


@pytest.mark.parametrize(
    "call",
    [
        Call("def f(): pass", "f()"),
        Call("def f(): pass", "import os"),
        Call("def f(): pass", "lambda"),
        Call("def f(): pass", ""),
        Call("#" * (MAX_CODE_BYTES + 1), "f"),
        Call("def f(x): pass", "f", {"x": "y" * MAX_ARGUMENT_BYTES}),
        Call("def f(x): pass", "f", {"x": {1, 2}}),
        Call("def f(x): pass", "f", {"x": float("nan")}),
        Call("def f(): return '\ud800'", "f"),
    ],
    ids=range(9),
)
async def test_what_nobody_could_serve_fails_before_it_starts(call: Call) -> None:
    sandbox = Sandbox(SandboxSettings())
    result = await sandbox.run(call)
    await sandbox.close()
    assert (result.outcome, result.engine) == ("error", "none")
    assert result.error


SAME: dict[str, tuple[str, dict[str, Any]]] = {
    "words": ("def f(t):\n    return {w: len(w) for w in sorted(set(t.split()))}", {"t": "so sö so"}),
    "text": ("def f(t):\n    return f'{t!r:>10}|{1234.5:,.2f}|{t[::-1]}'", {"t": "añ👋"}),
    "numbers": ("def f(n):\n    return [n // 3, -n % 7, round(n / 7, 3), 2 ** n, n / 2]", {"n": 70}),
    "keys": ("def f():\n    return {1: 'a', None: 2.0, 'é': (True, [])}", {}),
    "raises": ("def f(d):\n    return d['missing']", {"d": {}}),
    "surrogate": ("def f():\n    return 'ok' if len('\\U0001F600') == 1 else 'no'", {}),
}


@pytest.mark.parametrize("name", SAME)
async def test_both_engines_say_the_same(auto: Sandbox, name: str) -> None:
    code, arguments = SAME[name]
    call = Call(code, "f", arguments)
    said: list[tuple[Any, ...]] = []
    for engine in ("monty", "strong"):
        sandbox = Sandbox(SandboxSettings(engine=engine))
        result = await sandbox.run(call)
        await sandbox.close()
        said.append((result.ok, result.value, result.stdout, result.error.rpartition("\n")[2].partition(":")[0]))
        assert result.engine == engine
    assert said[0] == said[1]


async def test_half_a_character_never_reaches_the_store(auto: Sandbox) -> None:
    strong = Sandbox(SandboxSettings(engine="strong"))
    result = await strong.run(Call("def f():\n    return '\\ud800'", "f"))
    await strong.close()
    assert result.outcome == "error"
    assert result.error.encode()


async def test_closing_twice_and_calling_afterwards_harms_nobody(auto: Sandbox) -> None:
    await auto.run(PLAIN)
    await auto.close()
    await auto.close()
    async with asyncio.timeout(5):
        assert (await auto.run(PLAIN)).outcome == "close"


async def test_twenty_mixed_calls_at_once_all_come_back(auto: Sandbox) -> None:
    calls = [Call(call.code, "f", {"n": n}) for n in range(10) for call in (PLAIN, GENERATOR)]
    results = await asyncio.gather(*(auto.run(call) for call in calls))
    assert [result.value for result in results] == [value for n in range(10) for value in (n + 1, [n])]
