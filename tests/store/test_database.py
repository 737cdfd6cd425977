"""The store: durable once said so, one failure spares the others, two processes at once, versions told apart."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from concurrent.futures import Future
from importlib import resources
from pathlib import Path

import apsw
import pytest

from metaclaw.errors import StoreError
from metaclaw.journal import trajectories
from metaclaw.store import Connection, Database
from metaclaw.store.verdicts import insert, of_subject
from metaclaw.types import Verdict

WRITES_OF_EACH = 40
WRITER = """
import sys
from pathlib import Path
from metaclaw.store import Database
with Database(Path(sys.argv[1])) as database:
    for number in range(int(sys.argv[3])):
        reader = f"{sys.argv[2]}-{number}"
        database.write(lambda c: c.execute("INSERT INTO cursors VALUES ('n', ?, 1)", (reader,)))
"""
MIGRATIONS = Path(str(resources.files("metaclaw.store"))) / "migrations"
KILLED = """
import os, sys
from pathlib import Path
from metaclaw.store import Database
database = Database(Path(sys.argv[1]))
for number in range(50):
    database.write(lambda c: c.execute("INSERT INTO cursors VALUES ('n', ?, 1)", (f"k-{number}",)))
print("written", flush=True)
os.kill(os.getpid(), 9)
"""


def put(database: Database, reader: str) -> Future[None]:
    def work(connection: Connection) -> None:
        connection.execute("INSERT INTO cursors VALUES ('n', ?, 1)", (reader,))

    return database.submit(work)


def readers(database: Database) -> set[str]:
    return {row[0] for row in database.read("SELECT reader FROM cursors")}


def hold(database: Database) -> tuple[threading.Event, Future[None]]:
    """Keep the writer busy until the event is set, so that what comes meanwhile is one group."""
    release = threading.Event()
    begun = threading.Event()

    def work(connection: Connection) -> None:
        begun.set()
        release.wait(10)

    held = database.submit(work)
    assert begun.wait(10)
    return release, held


def test_a_finished_write_is_seen_by_another_connection(database: Database) -> None:
    put(database, "a").result(10)
    with Database(database.path) as other:
        assert readers(other) == {"a"}


def test_writes_that_queue_up_share_a_commit_and_all_are_kept(database: Database) -> None:
    release, _ = hold(database)
    futures = [put(database, f"r{number}") for number in range(100)]
    assert not any(future.done() for future in futures)
    assert readers(database) == set()
    before = database.read("PRAGMA data_version")
    release.set()
    for future in futures:
        future.result(10)
    assert len(readers(database)) == 100
    assert database.read("PRAGMA data_version")[0][0] - before[0][0] <= 2


def test_one_failing_write_spares_the_others_of_its_group(database: Database) -> None:
    release, _ = hold(database)

    def half_done(connection: Connection) -> None:
        connection.execute("INSERT INTO cursors VALUES ('n', 'half', 1)")
        raise ValueError("changed my mind")

    first, bad = put(database, "first"), database.submit(half_done)
    broken, last = put(database, "first"), put(database, "last")
    release.set()
    first.result(10)
    last.result(10)
    with pytest.raises(ValueError, match="changed my mind"):
        bad.result(10)
    with pytest.raises(StoreError, match="UNIQUE"):
        broken.result(10)
    assert readers(database) == {"first", "last"}


async def test_a_writer_that_gave_up_waiting_does_not_stop_the_store(database: Database) -> None:
    release, held = hold(database)
    waiting = asyncio.create_task(
        database.write_async(lambda connection: connection.execute("INSERT INTO cursors VALUES ('n', 'late', 1)"))
    )
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    release.set()
    await asyncio.wrap_future(held)
    await asyncio.wait_for(asyncio.wrap_future(put(database, "next")), 10)
    assert "next" in readers(database)


def test_closing_finishes_what_is_queued(tmp_path: Path) -> None:
    database = Database(tmp_path / "store.db")
    futures = [put(database, str(number)) for number in range(50)]
    database.close()
    assert all(future.done() and future.exception() is None for future in futures)
    with Database(tmp_path / "store.db") as again:
        assert len(readers(again)) == 50


def test_a_store_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    Database(path).close()
    connection = apsw.Connection(str(path))
    connection.execute("INSERT INTO migrations VALUES (9999, 0)")
    connection.close()
    with pytest.raises(StoreError, match=r"newer MetaClaw \(schema 9999\)\. Upgrade"):
        Database(path)


def test_turns_of_an_older_store_are_kept_as_the_main_agents(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    first = resources.files("metaclaw.store").joinpath("migrations", "0001_first.sql").read_text(encoding="utf-8")
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("CREATE TABLE migrations (number INTEGER PRIMARY KEY, applied_at REAL)")
        connection.execute(first)
        connection.execute("INSERT INTO migrations VALUES (1, 0)")
        connection.execute(
            "INSERT INTO turns VALUES (1, 't', 'n', 's', 'side', 'chat', x'7b7d', x'', 'q', 'r', 200, 1, '[]', '', 0,"
            " 'base', '{}', '{}', 1.5)"
        )
    with Database(path) as database:
        turn = trajectories.turn(database, "n", "t")
        assert turn is not None
        assert (turn.session, turn.agent, turn.side, turn.kind.value) == ("s", "", "", "side")
        numbers = [row[0] for row in database.read("SELECT number FROM migrations")]
        assert numbers == sorted(int(script.name[:4]) for script in MIGRATIONS.glob("*.sql"))


def test_opening_twice_migrates_once(database: Database) -> None:
    put(database, "kept").result(10)
    with Database(database.path) as again:
        numbers = [row[0] for row in again.read("SELECT number FROM migrations ORDER BY number")]
        assert numbers == sorted(set(numbers))
        assert readers(again) == {"kept"}


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(StoreError, match="cannot be opened"):
        Database(path)


def test_a_bad_question_is_our_error(database: Database) -> None:
    with pytest.raises(StoreError, match="could not be read"):
        database.read("SELECT nothing FROM nowhere")


def test_two_processes_open_and_write_a_new_store_at_once_without_loss(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    command = [sys.executable, "-c", WRITER, str(path)]
    children = [subprocess.Popen([*command, name, str(WRITES_OF_EACH)], stderr=subprocess.PIPE) for name in ("a", "b")]
    for child in children:
        _, complaint = child.communicate(timeout=60)
        assert child.returncode == 0, complaint.decode()
    with Database(path) as database:
        assert readers(database) == {f"{name}-{number}" for name in ("a", "b") for number in range(WRITES_OF_EACH)}


def test_what_was_said_to_be_written_outlives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    child = subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True, timeout=60)
    assert (child.returncode, child.stdout) == (-9, b"written\n")
    with Database(path) as database:
        assert len(readers(database)) == 50


def test_verdicts_are_read_back_in_order_and_by_namespace(database: Database) -> None:
    def verdict(decision: str) -> Verdict:
        return Verdict("skill:a@1", "without", "with", 1, 1.0, 0.5, decision, {"turn": "t", "with": {"passed": True}})

    for namespace, decision in (("one", "first"), ("one", "second"), ("two", "other")):
        database.write(lambda c, n=namespace, d=decision: insert(c, n, verdict(d)))  # type: ignore[misc]
    assert of_subject(database, "one", "skill:a@1") == [verdict("first"), verdict("second")]
    assert of_subject(database, "one", "skill:a@2") == []


def test_the_log_begins_again_at_its_front_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    log = path.with_name("store.db-wal")
    sizes = [0]
    with Database(path) as database:
        database.write(lambda connection: connection.execute("CREATE TABLE big (id INTEGER PRIMARY KEY, text BLOB)"))
        while len(sizes) < 2 or sizes[-1] > sizes[-2]:  # as long as it grows
            assert len(sizes) < 1_000
            database.write(lambda c, n=len(sizes): c.execute("INSERT INTO big VALUES (?, zeroblob(200000))", (n,)))  # type: ignore[misc]
            sizes.append(log.stat().st_size)
    kept = apsw.Connection(str(path)).execute("SELECT count(*), sum(length(text)) FROM big").fetchall()
    assert kept == [(len(sizes) - 1, (len(sizes) - 1) * 200_000)]
