"""The strong engine: full Python behind locks that can be seen from outside, and workers that serve once and vanish."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import pwd
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from metaclaw.errors import SandboxError
from metaclaw.sandbox.jail import FIRST_UID, UIDS, Worker, command
from metaclaw.sandbox.pool import StrongEngine
from metaclaw.sandbox.values import Call, Limits
from processes import at_work, children, gone, in_sessions, status, ticks
from support import until

pytestmark = pytest.mark.usefixtures("nothing_left")

ENDLESS = Call("def f():\n    while True:\n        pass", "f")
ANSWER = Call("def f():\n    return 42", "f")

ORDINARY: dict[str, tuple[str, dict[str, Any], Any]] = {
    "re": ("import re\ndef f(t):\n    return re.findall(r'(?<=a)\\w', t)", {"t": "ab ac"}, ["b", "c"]),
    "json": ("import json\ndef f(x):\n    return json.dumps(x, sort_keys=True, ensure_ascii=False)",
             {"x": {"ü": 1, "a": [None]}}, '{"a": [null], "ü": 1}'),
    "datetime": ("from datetime import *\ndef f(d):\n    return (date.fromisoformat(d) + timedelta(1)).isoformat()",
                 {"d": "2026-02-28"}, "2026-03-01"),
    "math": ("import math\ndef f(x):\n    return math.comb(x, 2)", {"x": 5}, 10),
    "generator": ("def g(n):\n    yield from range(n)\ndef f(n):\n    return list(g(n))", {"n": 3}, [0, 1, 2]),
    "classes": ("from dataclasses import asdict, dataclass, field\nimport enum\n"
                "class Kind(enum.StrEnum):\n    A = 'a'\n"
                "@dataclass\nclass P:\n    kind: Kind = Kind.A\n    tags: list[str] = field(default_factory=list)\n"
                "def f():\n    return asdict(P(tags=['x']))", {}, {"kind": "a", "tags": ["x"]}),
    "decimal_csv_heapq": ("import csv, io, heapq, decimal\ndef f(t):\n    rows = list(csv.reader(io.StringIO(t)))\n"
                          "    return str(sum(decimal.Decimal(n) for n in heapq.nsmallest(2, rows[0])))",
                          {"t": "0.1,0.2,9"}, "0.3"),
    "own_files": ("import os, tempfile, shutil\ndef f():\n    folder = tempfile.mkdtemp()\n"
                  "    open(folder + '/a', 'w').write('hé')\n    shutil.copy(folder + '/a', folder + '/b')\n"
                  "    return open(folder + '/b').read(), os.getcwd()", {}, ["hé", "/work"]),
    "database": ("import sqlite3\ndef f():\n    return sqlite3.connect('x.db').execute('select 6 * 7').fetchone()",
                 {}, [42]),
    "threads": ("from concurrent.futures import ThreadPoolExecutor\ndef f():\n    with ThreadPoolExecutor(4) as pool:\n"
                "        return list(pool.map(lambda n: n * n, range(5)))", {}, [0, 1, 4, 9, 16]),
    "asyncio": ("import asyncio\nasync def g():\n    await asyncio.sleep(0.001)\n    return 1\n"
                "def f():\n    return asyncio.run(g())", {}, 1),
    "random_and_hashes": ("import hashlib, secrets, uuid\ndef f(t):\n    secrets.token_hex(), uuid.uuid4()\n"
                          "    return hashlib.sha256(t.encode()).hexdigest()[:8]", {"t": "a"}, "ca978112"),
    "type_hints": ("import typing\ndef f(a: 'int' = 1) -> 'str':\n    return sorted(typing.get_type_hints(f))", {},
                   ["a", "return"]),
}  # fmt: skip


@pytest.fixture
async def strong(nothing_left: None) -> AsyncIterator[StrongEngine]:
    """Skips the test, with what is missing, where the strong engine cannot run."""
    engine = StrongEngine(Limits(seconds=10))
    try:
        if reason := await engine.missing():
            pytest.skip(reason)
        yield engine
    finally:
        await engine.close()


@pytest.mark.parametrize("name", ORDINARY)
async def test_ordinary_programs_work(strong: StrongEngine, name: str) -> None:
    code, arguments, expected = ORDINARY[name]
    result = await strong.run(Call(code, "f", arguments))
    assert (result.ok, result.value, result.error) == (True, expected, "")
    assert result.engine == "strong"


async def test_what_is_printed_is_kept_apart_from_the_value(strong: StrongEngine) -> None:
    code = "import os, sys\ndef f():\n    print('hé \\ud800', file=sys.stderr)\n    os.write(1, b'raw')\n    return 1"
    result = await strong.run(Call(code, "f"))
    assert (result.value, result.stdout) == (1, "hé \\ud800\n")


async def test_an_exception_is_told_without_a_path_of_this_machine(strong: StrongEngine) -> None:
    result = await strong.run(Call("import json\n\ndef f(t):\n    return json.loads(t)\n", "f", {"t": "["}))
    lines = result.error.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1:3] == ['  File "skill.py", line 4, in f', "    return json.loads(t)"]
    assert lines[-1] == "json.decoder.JSONDecodeError: Expecting value: line 1 column 2 (char 1)"
    assert {path.split("/")[1] for path in re.findall(r'File "(/[^"]+)"', result.error)} <= {"python"}


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("def f(:\n    pass", "SyntaxError: invalid syntax"),
        ("def g():\n    pass", "NameError: the program defines no function 'f'"),
        ("def f(x):\n    pass", "TypeError: f() missing 1 required positional argument: 'x'"),
        ("def f():\n    return {1, 2}", "TypeError: Object of type set is not JSON serializable"),
        ("def f():\n    return float('nan')", "ValueError: Out of range float values are not JSON compliant"),
        ("def f():\n    exit(3)", "NameError: name 'exit' is not defined. Did you forget to import 'exit'?"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def f():\n    import numpy", "ModuleNotFoundError: No module named 'numpy'"),
    ],
)
async def test_a_failing_program_is_a_result(strong: StrongEngine, code: str, error: str) -> None:
    result = await strong.run(Call(code, "f"))
    assert result.outcome == "error"
    assert result.error.splitlines()[-1].startswith(error.split(". Did")[0])


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("def f():\n    return bytearray(300 << 20)", "memory"),
        ("kept = []\ndef f():\n    while True:\n        kept.append(bytes(1000))", "memory"),
        ("def f():\n    while True:\n        print('x' * 100)", "output"),
        ("def f():\n    return 'x' * 100_000", "output"),
        ("import os\ndef f():\n    os._exit(0)", "crash"),
        ("import ctypes\ndef f():\n    ctypes.string_at(0)", "crash"),
    ],
)
async def test_each_limit_is_told_apart(strong: StrongEngine, code: str, outcome: str) -> None:
    assert (await strong.run(Call(code, "f"))).outcome == outcome


async def test_time_is_up_for_whatever_a_program_does(strong: StrongEngine) -> None:
    worker = await Worker.start(command(), Limits())
    started = time.monotonic()
    result = await worker.run(ENDLESS, Limits(seconds=0.3))
    await worker.end()
    assert result.outcome == "time"
    assert 0.3 <= time.monotonic() - started < 2


async def test_a_waiting_worker_has_given_everything_up(strong: StrongEngine) -> None:
    await strong.warm_up()
    [first, second] = [pid for pid in children() if status(pid, "Name").startswith("python3")]
    assert {int(status(first, name), 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
    assert (status(first, "Seccomp"), status(first, "NoNewPrivs")) == ("2", "1")
    limits = Path(f"/proc/{first}/limits").read_text()
    assert re.search(rf"Max address space +{256 << 20} +{256 << 20}", limits)
    assert re.search(r"Max core file size +0 +0", limits)
    for kind in ("pid", "net", "mnt", "ipc", "uts"):
        assert Path(f"/proc/{first}/ns/{kind}").readlink() != Path(f"/proc/self/ns/{kind}").readlink()
    users = {status(pid, "Uid") for pid in (first, second)}
    if os.geteuid() == 0:
        assert len(users) == 2
        assert status(first, "Groups") == ""
        assert {int(uid) for user in users for uid in user.split()} < set(range(FIRST_UID, FIRST_UID + UIDS))


async def test_landlock_holds_where_the_kernel_has_it(strong: StrongEngine) -> None:
    worker = await Worker.start(command(), Limits())
    await worker.end()
    assert worker.landlock == max(ctypes.CDLL(None).syscall(444, None, 0, 1), 0)


async def test_a_worker_serves_one_call(strong: StrongEngine) -> None:
    where = Call("import os\nmark = os.path.exists('mark')\nopen('mark', 'w').close()\ndef f():\n    return mark", "f")
    assert [(await strong.run(where)).value for _ in range(3)] == [False, False, False]


async def test_twenty_calls_at_once_all_come_back(strong: StrongEngine) -> None:
    code = "def f(n):\n    yield_ = [m for m in range(n)]\n    return len(yield_)"
    results = await asyncio.gather(*(strong.run(Call(code, "f", {"n": n})) for n in range(20)))
    assert [result.value for result in results] == list(range(20))


async def test_no_more_serve_at_once_than_are_allowed(strong: StrongEngine) -> None:
    engine = StrongEngine(Limits(seconds=10), waiting=1, at_once=2)
    code = "from time import *\ndef f():\n    began = monotonic()\n    sleep(0.1)\n    return began, monotonic()"
    results = await asyncio.gather(*(engine.run(Call(code, "f")) for _ in range(6)))
    await engine.close()
    spans = [result.value for result in results]
    assert max(sum(began <= moment < ended for began, ended in spans) for moment, _ in spans) <= 2


async def test_used_workers_are_replaced(strong: StrongEngine) -> None:
    await strong.warm_up()
    first = children()
    for _ in range(3):
        assert (await strong.run(ANSWER)).value == 42
        await strong.warm_up()
    await until(lambda: len(children()) == len(first))
    assert children().isdisjoint(first)


async def test_a_worker_that_died_waiting_is_not_used(strong: StrongEngine) -> None:
    await strong.warm_up()
    waiting = children()
    for pid in waiting:
        with contextlib.suppress(ProcessLookupError):  # it went with one that was killed before it
            os.kill(pid, signal.SIGKILL)
    await until(lambda: all(gone(pid) for pid in waiting))
    assert (await strong.run(ANSWER)).value == 42


async def test_a_worker_killed_in_its_call_is_a_crash(strong: StrongEngine) -> None:
    call = asyncio.create_task(strong.run(ENDLESS))
    await until(lambda: at_work(children()))
    os.kill(max(children(), key=ticks), signal.SIGKILL)
    async with asyncio.timeout(10):
        assert (await call).outcome == "crash"
        assert (await strong.run(ANSWER)).value == 42


async def test_a_cancelled_call_leaves_nothing(strong: StrongEngine) -> None:
    await strong.warm_up()
    call = asyncio.create_task(strong.run(ENDLESS))
    await until(lambda: at_work(children()))
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await until(lambda: not at_work(children()))
    assert (await strong.run(ANSWER)).value == 42


async def test_closing_ends_what_is_under_way_and_what_waits(strong: StrongEngine) -> None:
    calls = [asyncio.create_task(strong.run(ENDLESS)) for _ in range(7)]
    await until(lambda: at_work(children()))
    async with asyncio.timeout(9):
        await strong.close()
        assert {(await call).outcome for call in calls} == {"close"}
    assert (await strong.run(ANSWER)).outcome == "close"


async def test_jails_die_with_us_however_we_die(strong: StrongEngine) -> None:
    script = (
        "import asyncio\nfrom metaclaw.sandbox.pool import StrongEngine\n"
        "from metaclaw.sandbox.values import Call, Limits\n"
        f"asyncio.run(StrongEngine(Limits(seconds=600)).run(Call({ENDLESS.code!r}, 'f')))"
    )
    host = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    await until(lambda: at_work(children(of=host.pid)))
    jailed = children(of=host.pid)
    host.kill()
    await host.wait()
    await until(lambda: all(gone(pid) for pid in jailed))


@pytest.mark.parametrize("started", range(0, 24, 2))
async def test_a_host_that_dies_while_it_starts_jails_leaves_none(strong: StrongEngine, started: int) -> None:
    """With a pipe for what bubblewrap tells, one in ten left a process behind, asleep for ever."""
    script = (
        "import asyncio\nfrom metaclaw.sandbox.jail import *\nasync def main():\n    jail = command()\n"
        "    await asyncio.gather(*(Worker.start(jail, Limits()) for _ in range(8)))\nasyncio.run(main())"
    )
    host = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    await until(lambda: len(children(of=host.pid)) > started)
    jails = children(of=host.pid)
    host.kill()
    await host.wait()
    await until(lambda: not in_sessions(jails))


async def test_without_bubblewrap_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    engine = StrongEngine(Limits())
    assert "apt-get install bubblewrap" in (await engine.missing() or "") or sys.platform != "linux"
    with pytest.raises(SandboxError, match=r"Linux|bwrap"):
        await engine.run(ANSWER)
    await engine.close()


async def test_a_bubblewrap_that_may_not_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho bwrap: setting up uid map: Permission denied >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    engine = StrongEngine(Limits())
    reason = await engine.missing()
    await engine.close()
    assert reason is not None
    assert "uid map: Permission denied" in reason or sys.platform != "linux"


async def test_a_jail_that_does_not_hold_is_not_used(monkeypatch: pytest.MonkeyPatch, strong: StrongEngine) -> None:
    bubblewrap, *arguments = command()
    open_wide = [bubblewrap, "--ro-bind", "/etc", "/etc", *arguments]
    monkeypatch.setattr("metaclaw.sandbox.pool.command", lambda: open_wide)
    engine = StrongEngine(Limits())
    reason = await engine.missing()
    await engine.close()
    assert reason is not None
    assert "reads this machine's files" in reason


def _interpreter_of(user: str) -> str | None:
    """A Python that may be started by `user` and finds what the sandbox needs."""
    path = ":".join(entry for entry in sys.path if entry)
    for python in (sys.executable, "/usr/bin/python3"):
        tried = _as(user, python, path, "import metaclaw.sandbox")
        if tried is not None and tried.returncode == 0:
            return python
    return None


def _as(user: str, python: str, path: str, script: str) -> subprocess.CompletedProcess[str] | None:
    environment = {"PYTHONPATH": path, "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        return subprocess.run(
            [python, "-c", script], user=user, group=pwd.getpwnam(user).pw_gid, extra_groups=[], cwd="/",
            env=environment, capture_output=True, text=True, timeout=60,
        )
    except OSError:
        return None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else; the other tests ran as no root already")
async def test_it_works_for_a_user_who_is_not_root(strong: StrongEngine) -> None:
    python = _interpreter_of("nobody")
    if python is None:
        pytest.skip("no Python here may be started by nobody")
    script = (
        "import asyncio, os\nfrom metaclaw.sandbox.pool import StrongEngine\n"
        "from metaclaw.sandbox.values import Call, Limits\n"
        "async def main():\n    engine = StrongEngine(Limits())\n"
        f"    print(os.getuid(), (await engine.run(Call({ANSWER.code!r}, 'f'))).value)\n    await engine.close()\n"
        "asyncio.run(main())"
    )
    done = _as("nobody", python, ":".join(entry for entry in sys.path if entry), script)
    assert done is not None
    if "does not start" in done.stderr:
        pytest.skip(f"user namespaces are not for users here: {done.stderr.splitlines()[-1]}")
    assert (done.stdout.split(), done.stderr) == ([str(pwd.getpwnam("nobody").pw_uid), "42"], "")
