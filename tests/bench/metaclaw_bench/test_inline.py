"""Inline programs of the public checks: the same exit code as Python's, and nothing else than what is known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from metaclaw.bench.metaclaw_bench.inline import UnreadableError, read, run

FILES = {
    "day/a.json": '{"tasks": [{"id": "T-1", "due": "x"}, {"id": "T-2"}], "n": 3, "times": ["09:30", "later"]}',
    "day/20260403_b.json": "{}", "day/20260403_a.json": "{}", "day/deep/20260403_c.json": "{}", "day/broken.json": "{",
}  # fmt: skip
PROGRAMS = (
    "import json,sys; d=json.load(open('day/a.json')); t=next((x for x in d['tasks'] if x['id']=='T-2'),None);"
    " sys.exit(0 if t and t.get('due') else 1)",
    "import json,sys; d=json.load(open('day/a.json')); t=next((x for x in d['tasks'] if x['id']=='T-1'),None);"
    " sys.exit(0 if t and t.get('due') else 1)",
    "import json; next(x for x in json.load(open('day/a.json'))['tasks'] if x['id']=='T-9')",
    "import json,re,sys; pat=re.compile(r'^\\d{2}:\\d{2}$'); d=json.load(open('day/a.json'));"
    " bad=[v for v in d.get('times',[]) if not pat.match(str(v))]; print(bad); sys.exit(0 if not bad else 1)",
    "import glob,sys; files=sorted(glob.glob('day/20260403_*.json')); print(files[0]);"
    " sys.exit(0 if len(files)>=2 else 1)",
    "import glob; fs=sorted(glob.glob('day/20260403_*.json')); print([f for f in fs if 'zz' in f or 'b.' in f][0])",
    "import glob; print(sorted(glob.glob('day/*.csv'))[0])",
    "import json; json.load(open('day/missing.json'))",
    "import json; json.load(open('day/broken.json'))",
    "import json,sys; d=json.load(open('day/a.json')); sys.exit(1 if d['n']!=3 or not isinstance(d,dict) else 0)",
    "import json; d=json.load(open('day/a.json')); assert all(t['id'].startswith('T-') for t in d['tasks']), 'no'",
    "import json; d=json.load(open('day/a.json')); assert d['n'] > 3",
    "import json; d=json.load(open('day/a.json')); d['n']['x']",
    "import json; d=json.load(open('day/a.json')); print(d['times'].get('x'))",
    "import sys; sys.exit('failed')",
    "print(len({1, 2} ), -1 + 3, (1, 2)[1], 'a' not in 'b')",
)  # fmt: skip


@pytest.mark.parametrize("source", PROGRAMS)
def test_it_ends_and_prints_as_python_does(source: str, tmp_path: Path) -> None:
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    real = subprocess.run([sys.executable, "-c", source], cwd=tmp_path, capture_output=True, text=True)
    ours = run(read(source), FILES)
    assert (ours.code, ours.printed.split()) == (real.returncode, real.stdout.split())


@pytest.mark.parametrize(
    "source",
    [
        "import os; os.system('true')", "import subprocess", "__import__('os')", "open.__class__", "().__class__",
        "eval('1')", "exec('1')", "x = lambda: 1", "def f(): pass", "while True: pass", "f'{1}'", "'a' * 10",
        "import json as j, socket", "open('day/a.json').write('x')", "'{0.__class__}'.format(1)", "x.y = 1",
        "not python",
        "getattr(1, 'real')", "import json; json.dumps({})", "print('a', end='')", "(1)(2)", "unknown", "d['a'] = 1",
    ],
)  # fmt: skip
def test_anything_else_is_not_run(source: str) -> None:
    with pytest.raises(UnreadableError):
        run(read(source), FILES)


def test_endless_work_ends() -> None:
    files = {"big.json": "[" + ",".join("1" * 700) + "]"}
    source = "import json; d=json.load(open('big.json')); [a for a in d for b in d if a + b == 3]"
    assert run(read(source), files).code == 1
