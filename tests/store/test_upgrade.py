"""A store of every schema that there was opens in today's code, with all that was in it.

The old stores are made here: the migrations up to a number, then a row in every table that there is by then.
"""

from __future__ import annotations

import json
import re
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Any

import apsw
import pytest

from metaclaw.journal import trajectories
from metaclaw.library.catalog import Catalog
from metaclaw.serving.routes import Routes
from metaclaw.signals import ledger
from metaclaw.store import Database
from metaclaw.training.jobs import Jobs
from metaclaw.training.registry import Registry
from metaclaw.types import AdapterState, SkillState
from metaclaw.types import Signal as Evidence
from shell import Shell

MIGRATIONS = Path(str(resources.files("metaclaw.store"))) / "migrations"
SCRIPTS = {int(path.name[:4]): path for path in sorted(MIGRATIONS.glob("*.sql"))}
SKILL, TURN, ADAPTER, JOB = "iso-dates", "turn-1", "lora-0123456789ab", "train-1"
VALUES: dict[str, Any] = {  # by `table.column`, else by `column`, else by the column's type
    "namespace": "default", "turn_id": TURN, "position": 1, "session": "s", "created_at": 1000.5, "version": 1,
    "name": SKILL, "turns.id": TURN, "turns.kind": "main", "dialect": "chat", "status": 200, "complete": 1,
    "turns.skills": json.dumps([f"{SKILL}@1"]), "usage": "{}", "timings": "{}", "request": b"{}", "response": b"{}",
    "turns.query": "a question", "reply": "an answer", "policy": "base", "turns.generation": 3, "turns.tools": "",
    "drawn": "[]", "turns.withheld": "[]", "holdout_share": 0.05, "agent": "", "side": "",
    "turns.builds_on": None, "response_packed": 0,
    "feedback.score": -1.0, "feedback.text": "no", "pattern": None, "signals.value": -1.0, "source": "feedback",
    "generations.generation": 3, "skills.state": "active", "skills.origin": "feedback", "skills.kind": "instruction",
    "skills.files": "", "skills.cues": "",
    "skills.description": "Write dates the ISO way", "skills.body": "Like 2026-01-31.",
    "skills.generation": 3, "skill_history.generation": 3, "old_state": None, "new_state": "active",
    "verdicts.subject": f"skill:{SKILL}@1", "evidence": "{}", "confidence": 0.97, "effect": 0.5, "decision": "active",
    "adapters.name": ADAPTER, "adapters.state": "promoted", "lineage": "{}", "parent": None, "base_model": "tiny",
    "wanted": ADAPTER, "serving": ADAPTER, "jobs.id": JOB, "jobs.kind": "train", "jobs.state": "done",
    "progress": '{"through": 1}', "lease_owner": None, "rejected_edits.kind": "create", "failed": "[]",
    "exposures.failed": None, "exposures.state": "open", "seen": "{}", "closed_at": None, "prefix": "", "problem": "",
    "hearsay.name": "said-by-the-way",
    "skill_folders.sha256": "0" * 64, "stale.subject": "skill:gone@1",
}
BY_TYPE: dict[str, Any] = {"TEXT": "text", "INTEGER": 1, "REAL": 1.5, "BLOB": b"\0" * 8}


def tables_of(connection: apsw.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'migrations'"
        " ORDER BY rowid"
    )
    return [str(row[0]) for row in rows]


def columns_of(connection: apsw.Connection, table: str) -> dict[str, str]:
    return {str(row[1]): str(row[2]) for row in connection.execute(f"PRAGMA table_info({table})")}


def old_store(path: Path, schema: int) -> dict[str, dict[str, Any]]:
    """A store as that schema left it. Returns its rows, one a table."""
    rows: dict[str, dict[str, Any]] = {}
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("CREATE TABLE migrations (number INTEGER PRIMARY KEY, applied_at REAL)")
        for number, script in SCRIPTS.items():
            if number <= schema:
                connection.execute(script.read_text(encoding="utf-8"))
                connection.execute("INSERT INTO migrations VALUES (?, 0)", (number,))
        connection.execute("PRAGMA foreign_keys=ON").fetchall()
        for table in tables_of(connection):
            kinds = columns_of(connection, table)
            rows[table] = {
                column: VALUES.get(f"{table}.{column}", VALUES.get(column, BY_TYPE[kind]))
                for column, kind in kinds.items()
            }
            marks = ", ".join("?" * len(kinds))
            connection.execute(f"INSERT INTO {table} VALUES ({marks})", tuple(rows[table].values()))
    return rows


def shape_of(path: Path) -> dict[str, str]:
    """Every table and index by its name, as SQLite has it, however it came to be so."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        found = {
            table: repr([row[1:] for row in connection.execute(f"PRAGMA table_info({table})")])
            for table in tables_of(connection)
        }
        indexes = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
        return found | {str(name): re.sub(r"\s+", " ", str(sql)) for name, sql in indexes}


@pytest.mark.parametrize("schema", SCRIPTS)
def test_a_store_of_each_schema_is_brought_up_to_date_with_all_that_was_in_it(tmp_path: Path, schema: int) -> None:
    path = tmp_path / "store.db"
    before = old_store(path, schema)
    with Database(path) as database:
        for table, row in before.items():
            columns = ", ".join(f'"{column}"' for column in row)
            assert database.read(f"SELECT {columns} FROM {table}") == [tuple(row.values())], table
        applied = [number for number, in database.read("SELECT number FROM migrations ORDER BY number")]
        assert applied == sorted(SCRIPTS)
        assert database.read("PRAGMA foreign_key_check") == []
    Database(tmp_path / "fresh.db").close()
    assert shape_of(path) == shape_of(tmp_path / "fresh.db")


@pytest.mark.parametrize("schema", SCRIPTS)
def test_what_was_learned_under_each_schema_is_in_use(tmp_path: Path, schema: int) -> None:
    path = tmp_path / "store.db"
    old_store(path, schema)
    with Database(path) as database:
        catalog = Catalog(database, "default", tmp_path / "skills")
        generation, [skill] = catalog.snapshot()
        assert (generation, skill.ref, skill.state, skill.body) == (
            3, f"{SKILL}@1", SkillState.ACTIVE, "Like 2026-01-31."
        )
        assert len(catalog.history(SKILL)) == 1
        turn = trajectories.turn(database, "default", TURN)
        assert turn
        assert (turn.query, turn.reply, turn.skills, turn.generation) == (
            "a question", "an answer", (f"{SKILL}@1",), 3
        )
        [adapter] = Registry(database, "default", tmp_path / "adapters").all()
        assert (adapter.name, adapter.state) == (ADAPTER, AdapterState.PROMOTED)
        assert Routes(database, "default").state().wanted == ADAPTER
        jobs = Jobs(database, "default", tmp_path / "jobs")
        assert jobs.trained_through("tiny") == 1
        catalog.change_state(skill, SkillState.RETIRED, "it can still be changed")
        ledger.record(database, "default", [Evidence(TURN, "check", 1.0, "and be judged")])
        assert catalog.snapshot() == (4, [])


def test_a_newer_store_is_refused_by_every_command_with_what_to_do(shell: Shell) -> None:
    Database(shell.data / "metaclaw.db").close()
    with closing(apsw.Connection(str(shell.data / "metaclaw.db"))) as connection:
        connection.execute("INSERT INTO migrations VALUES (9999, 0)")
    for command in (("skills", "list"), ("data", "sessions"), ("data", "backup", str(shell.home / "all.zip"))):
        assert "This store was written by a newer MetaClaw (schema 9999). Upgrade MetaClaw." in shell.refused(*command)
    assert list(shell.home.glob("*.zip")) == []
