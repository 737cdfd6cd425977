"""The five checkers, by what the data's README says of them, and the lines that call them."""

from __future__ import annotations

import json
import subprocess

import pytest

from metaclaw.bench.metaclaw_bench import commands
from metaclaw.bench.metaclaw_bench.checkers import Variant
from metaclaw.bench.metaclaw_bench.inline import UnreadableError

TIME = "2026-03-16T09:30:00+08:00"
LOG = f"[DONE] {TIME} | q1_report | Wrote it\n[DONE] {TIME} | api_health | Checked it\n"
META = f'"created_at": "{TIME}", "author": "Bai", "status": "done"'
FILES = {
    "d/a.json": f'{{"at": "{TIME}", "bare": "2026-03-16", "list": [{{"due": "{TIME}"}}, {{"due": "{TIME}"}}],'
    f' "half": [{{"due": "{TIME}"}}, {{}}], "in": {{"at": "2026-03-16T09:30:00.125+08:00"}}, "texts": ["{TIME}"]}}',
    "d/empty.json": "{}", "d/20260403_good_one.json": f'{{"meta": {{{META}}}}}', "d/20260403_two.json": "{}",
    "d/20260403-bad.json": f'{{"data": {{"meta": {{{META}}}}}}}', "d/Bad_20260403.json": "[]",
    "d/20260403_a.md": f"---\ncreated_at: '{TIME}'\nauthor: Bai\nstatus: pending\n---\n# A\n",
    "d/20260403_b.md": f"# A\n---\ncreated_at: {TIME}\nauthor: Bai\nstatus: done\n---\n",
    "d/c.py": f'"""Tool.\n\nMeta:\n    created_at: {TIME}\n    author: Bai\n    status: in_progress\n"""\n',
    "d/d.py": f"# created_at: {TIME}\nx = 1\n", "d/e.py": "not python at all (",
    "d/f.csv": f"# meta: created_at={TIME} author=Bai status=done\na,b\n", "d/g.csv": "a,b\n",
    "d/h.yaml": f"meta:\n  created_at: {TIME}\n  author: Bai\n  status: done\n", "d/i.yaml": "a: [",
    "d/j.json": f'{{"meta": {{"created_at": "{TIME}", "author": "Bai", "status": "finished"}}}}',
    "d/k.html": "<p>", "d/l.md": "new", "d/l.md.bak": "old", "d/m.md": "same", "d/m.md.bak": "same",
    "done.log": LOG, "bad.log": LOG + "done\n", "long.log": f"[DONE] {TIME} | a | {'x' * 81}\n", "none.log": "\n",
}  # fmt: skip


def passes(line: str, variant: Variant = "as-shipped") -> bool:
    return all(ok for _, ok in commands.evaluate(commands.read(line), FILES, variant))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("check_iso8601.py d/a.json at list[].due in.at", True), ("check_iso8601.py d/a.json bare", False),
        ("check_iso8601.py d/a.json missing", False), ("check_iso8601.py d/a.json half[].due", False),
        ("check_iso8601.py d/a.json in.missing", False), ("check_iso8601.py d/missing.json at", False),
        ("check_iso8601.py d/a.json texts[]", True), ("check_iso8601.py d/a.json texts", False),
        ("check_iso8601.py d/l.md at", False),
        ("check_filename.py d/20260403_good_one.json", True), ("check_filename.py d/20260403-bad.json", False),
        ("check_filename.py d/Bad_20260403.json", False), ("check_filename.py --dir d/ --ext json", True),
        ("check_filename.py --dir d --ext json --min-count 2", True),
        ("check_filename.py --dir d/ --ext json --min-count 3", False),
        ("check_filename.py --dir d/ --ext csv", False), ("check_filename.py --dir d", False),
        ("check_metadata.py d/20260403_good_one.json", True), ("check_metadata.py d/20260403-bad.json", False),
        ("check_metadata.py d/20260403_a.md", True), ("check_metadata.py d/20260403_b.md", False),
        ("check_metadata.py d/c.py", True), ("check_metadata.py d/d.py", False), ("check_metadata.py d/e.py", False),
        ("check_metadata.py d/f.csv", True), ("check_metadata.py d/g.csv", False),
        ("check_metadata.py d/h.yaml", True), ("check_metadata.py d/i.yaml", False),
        ("check_metadata.py d/j.json", False), ("check_metadata.py d/k.html", False),
        ("check_metadata.py d/Bad_20260403.json", False), ("check_metadata.py d/missing.json", False),
        ("check_backup.py d/l.md", True), ("check_backup.py d/m.md", False), ("check_backup.py d/c.py", False),
        ("check_done_log.py done.log", True), ("check_done_log.py done.log --min-entries 2", True),
        ("check_done_log.py done.log --min-entries 3", False), ("check_done_log.py bad.log", False),
        ("check_done_log.py long.log", False), ("check_done_log.py none.log", False),
        ("check_done_log.py done.log --task-prefix api", True), ("check_done_log.py done.log --task-prefix q1", False),
        ("check_done_log.py missing.log", False), ("check_done_log.py done.log --min-count 1", False),
    ],
)  # fmt: skip
def test_a_check_passes_where_the_data_says_so(line: str, expected: bool) -> None:
    assert passes(f"python scripts/{line}") == expected


def test_a_missing_list_has_nothing_wrong_as_shipped_and_is_wrong_repaired() -> None:
    line = "python scripts/check_iso8601.py d/empty.json list[].due"
    assert passes(line)
    assert not passes(line, "repaired")
    assert passes("python scripts/check_iso8601.py d/a.json list[].due", "repaired")


def test_parts_are_told_one_by_one_also_behind_one_that_fails() -> None:
    lines = ("scripts/check_backup.py d/m.md", '-c "import sys; sys.exit(1)"', "scripts/check_filename.py a")
    line = " && ".join(f"python {part}" for part in lines)
    found = commands.evaluate(commands.read(line), FILES, "as-shipped")
    assert found == [("check_backup", False), ("inline", False), ("check_filename", False)]


def test_an_argument_may_be_what_an_inline_program_prints() -> None:
    line = 'python scripts/check_metadata.py $(python -c "import glob; print(sorted(glob.glob(\'d/2026*.json\'))[{}])")'
    assert passes(line.format(1))
    assert not passes(line.format(2))
    assert not passes(line.format(9))


@pytest.mark.parametrize(
    "quoted", [r'"a \d\.b"', r'"a \\ b"', r'"say \"it\" now"', r'"costs \$5 and \`6\`"', r'"^\+08:00$"']
)
def test_double_quotes_are_read_as_a_shell_reads_them(quoted: str) -> None:
    (part,) = commands.read(f"python scripts/check_filename.py {quoted}")
    shell = subprocess.run(["/bin/sh", "-c", f"printf %s {quoted}"], capture_output=True, text=True, check=True)
    assert part.words == (shell.stdout,)


def test_a_stray_min_count_goes_where_it_is_taken() -> None:
    lines = ("check_filename.py --dir d/ --ext md", "check_done_log.py done.log --min-count 2")
    line = " && ".join(f"python scripts/{part}" for part in lines)
    assert not passes(line)
    mended = commands.repaired(commands.read(line), {})
    assert [ok for _, ok in commands.evaluate(mended, FILES, "repaired")] == [True, True]
    more = commands.repaired(commands.read(line.replace("count 2", "count 3")), {})
    assert [ok for _, ok in commands.evaluate(more, FILES, "repaired")] == [False, True]


def test_a_list_that_an_inline_program_takes_for_an_empty_one_must_be_there_repaired() -> None:
    program = "import json,sys; d=json.load(open('{}')); sys.exit(len([v for v in d.get('list',[]) if not v]))"
    for path, found in (("d/empty.json", False), ("d/a.json", True)):
        parts = commands.read(f'python -c "{program.format(path)}"')
        assert commands.evaluate(parts, FILES, "as-shipped") == [("inline", True)]
        assert commands.evaluate(commands.repaired(parts, {}), FILES, "repaired") == [("inline", found)]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([{"id": 1, "due": ""}, {"id": 2, "due": TIME}], True), ([{"id": 2, "due": TIME}], True),
        ([{"id": 1, "due": ""}, {"id": 2, "due": "2026-03-16"}], False), ([{"id": 1, "due": "today"}], False),
        ([{"id": 1, "due": ""}], False), ([], False),
    ],
)  # fmt: skip
def test_entries_that_the_data_ships_are_not_judged_repaired(entries: list[object], expected: bool) -> None:
    shipped = {"tasks.json": '{"in": {"tasks": [{"id": 1, "due": ""}]}}'}
    files = {"tasks.json": json.dumps({"in": {"tasks": entries}})}
    parts = commands.read("python scripts/check_iso8601.py tasks.json in.tasks[].due")
    assert commands.evaluate(commands.repaired(parts, shipped), files, "repaired") == [("check_iso8601", expected)]


@pytest.mark.parametrize(
    "line",
    [
        "rm -rf d", "", "python other.py", "python -c", "python -c 'print(1)'", "python scripts/check_other.py a",
        *(f"python scripts/check_backup.py {rest}" for rest in (
            "a; true", "a | cat", "$(cat a)", "`a`", "$HOME", '"a', "a > b", "$(python scripts/check_backup.py a)",
        )),
    ],
)  # fmt: skip
def test_more_of_a_shell_is_not_known(line: str) -> None:
    with pytest.raises(UnreadableError):
        commands.read(line)
