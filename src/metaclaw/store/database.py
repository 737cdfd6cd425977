"""A process's door to the store.

In: functions that take a connection. Out: their results, once what they wrote is on disk.
One thread of each process writes; it takes what has queued up meanwhile into one transaction (group commit),
so that the cost of a disk sync is shared. What waits for it is bounded, in number and in bytes: where the disk stands
still, writes are refused, not piled up in memory. Two processes (gateway and learner) may write: SQLite's own lock
orders them. That is safe from 3.51.3 on, where the WAL-reset corruption bug is mended; older libraries are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import apsw

from metaclaw.errors import StoreError

Connection = apsw.Connection
T = TypeVar("T")

OLDEST_SAFE_SQLITE = (3, 51, 3)
BUSY_MILLISECONDS = 5_000
LARGEST_GROUP = 256
ROWS_A_STATEMENT = 16
CHECKPOINT_PAGES = 1_000  # of 4 KiB, as SQLite itself has it
MOST_LOG_PAGES = 32_000
MOST_WAITING = 10_000
MOST_WAITING_BYTES = 256 * 1024 * 1024


Insert = Callable[[Connection, Sequence[Any]], None]
Told = Callable[[BaseException | None], None]


@dataclass(slots=True)
class _Write:
    """`done` is told, on its `loop` if it has one. `size` is what waiting costs, in bytes."""

    work: Callable[[Connection], Any]
    done: Future[Any] | asyncio.Future[Any]
    size: int
    loop: asyncio.AbstractEventLoop | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    row: Any
    told: Told
    size: int


Outcome = tuple[_Write, Any, BaseException | None]


class Database:
    """Reads on the calling thread, writes on a thread of its own. Close it, or use it as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open the store at `path`, creating and migrating it. Raises `StoreError` when it cannot be used."""
        self.path = path
        self._closed = False
        self._local = threading.local()
        self._queue: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._waiting, self._waiting_bytes, self._counting = 0, 0, threading.Lock()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # for nobody else's eyes
        except OSError as error:
            raise StoreError(f"{path.parent} cannot be used ({error.strerror}). Name another data_dir.") from error
        self._writer = _open(path)
        _migrate(self._writer)
        self._checkpoints = Checkpoints(path, self._writer)
        self._thread = threading.Thread(target=self._write_groups, name="store-writer", daemon=True)
        self._thread.start()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows. Microseconds for an indexed row; long reads belong off the event loop."""
        connection: Connection | None = getattr(self._local, "reader", None)
        try:
            if connection is None:
                connection = self._local.reader = _open(self.path)
            return connection.execute(sql, values).fetchall()
        except apsw.Error as error:
            raise StoreError(f"The store at {self.path} could not be read: {error}") from error

    def submit(self, work: Callable[[Connection], T], size: int = 0) -> Future[T]:
        """Queue a write. The future ends after the commit is on disk, or with the `StoreError` that stopped it.

        `size` is roughly what the write holds in memory until then.
        """
        done: Future[T] = Future()
        if refusal := self._enqueue(_Write(work, done, size)):
            done.set_exception(refusal)
        return done

    def write(self, work: Callable[[Connection], T]) -> T:
        """Write and wait, from a thread that may block."""
        return self.submit(work).result()

    def submit_async(self, work: Callable[[Connection], T], size: int = 0) -> asyncio.Future[T]:
        """The same from a coroutine. Cancelling the future cancels the waiting, never the write."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        if refusal := self._enqueue(_Write(work, done, size, loop)):
            done.set_exception(refusal)
        return done

    def _enqueue(self, write: _Write) -> StoreError | None:
        """None, or why the write is refused."""
        if self._closed:
            return StoreError(f"The store at {self.path} is closed.")
        with self._counting:
            waiting, size = self._waiting + 1, self._waiting_bytes + write.size
            if waiting > MOST_WAITING or (size > MOST_WAITING_BYTES and self._waiting):
                return StoreError(f"The store at {self.path} is too slow: {self._waiting} writes wait. Check its disk.")
            self._waiting, self._waiting_bytes = waiting, size
        self._queue.put(write)
        return None

    def _dequeued(self, group: list[_Write]) -> None:
        with self._counting:
            self._waiting -= len(group)
            self._waiting_bytes -= sum(write.size for write in group)

    async def write_async(self, work: Callable[[Connection], T]) -> T:
        """Write and wait, from a coroutine."""
        return await self.submit_async(work)

    def close(self) -> None:
        """Finish what is queued, then close the writer. Readers close with their threads."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._checkpoints.close()
        self._writer.close()

    def _write_groups(self) -> None:
        while True:
            group, closing = self._next_group()
            # Nobody waits any more for a cancelled write; claiming the others keeps them from being cancelled now.
            if claimed := [write for write in group if _claim(write)]:
                _tell(self._commit(claimed))
            self._dequeued(group)
            if closing:
                return

    def _next_group(self) -> tuple[list[_Write], bool]:
        group: list[_Write] = []
        item = self._queue.get()
        while item is not None:
            group.append(item)
            if len(group) == LARGEST_GROUP:
                return group, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, group: list[_Write]) -> list[Outcome]:
        """One transaction for all; each write in a savepoint, so that one failure spares the others."""
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            outcomes = [(write, *_attempt(self._writer, write.work)) for write in group]
            self._writer.execute("COMMIT")
        except apsw.Error as error:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            failure = StoreError(f"The store at {self.path} refused a write: {error}")
            outcomes = [(write, None, failure) for write in group]
        return outcomes


def _claim(write: _Write) -> bool:
    return not isinstance(write.done, Future) or write.done.set_running_or_notify_cancel()


def _tell(outcomes: list[Outcome]) -> None:
    """Wake who waits: threads one by one, and each event loop once for all of its own."""
    of_loop: dict[asyncio.AbstractEventLoop, list[Outcome]] = {}
    for outcome in outcomes:
        if loop := outcome[0].loop:
            of_loop.setdefault(loop, []).append(outcome)
        else:
            _settle([outcome])
    for loop, own in of_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there
            loop.call_soon_threadsafe(_settle, own)


def _settle(outcomes: list[Outcome]) -> None:
    for write, result, raised in outcomes:
        if write.done.done():
            continue
        if raised is None:
            write.done.set_result(result)
        else:
            write.done.set_exception(raised)


def _attempt(connection: Connection, work: Callable[[Connection], Any]) -> tuple[Any, BaseException | None]:
    connection.execute("SAVEPOINT one")
    try:
        result = work(connection)
    except Exception as error:  # noqa: BLE001 - handed to whoever waits for this write
        connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")
        wrapped = StoreError(str(error)) if isinstance(error, apsw.Error) else error
        return None, wrapped
    connection.execute("RELEASE one")
    return result, None


def _open(path: Path) -> Connection:
    version = tuple(map(int, apsw.sqlite_lib_version().split(".")))
    if version < OLDEST_SAFE_SQLITE:
        raise StoreError(f"SQLite {apsw.sqlite_lib_version()} can corrupt a shared store. Upgrade `apsw`.")
    try:
        connection = Connection(str(path))
        connection.set_busy_timeout(BUSY_MILLISECONDS)
        # fetched, since a statement that answers holds up those after it
        _enter_wal(connection)
        connection.execute("PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON").fetchall()
    except apsw.Error as error:
        raise StoreError(f"The store at {path} cannot be opened: {error}") from error
    return connection


def _enter_wal(connection: Connection) -> None:
    """Two processes that do this to a new store at once get in each other's way, and SQLite does not wait by itself."""
    deadline = time.monotonic() + BUSY_MILLISECONDS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").fetchall()
            return
        except apsw.BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _migrate(connection: Connection) -> None:
    """Apply the migrations that this store has not seen, each in one transaction with its number."""
    scripts = sorted(
        (item for item in resources.files("metaclaw.store").joinpath("migrations").iterdir()
         if item.name.endswith(".sql")),
        key=lambda item: item.name,
    )
    newest = int(scripts[-1].name[:4])
    try:
        connection.execute("BEGIN IMMEDIATE")  # two processes may start at once
        connection.execute("CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, applied_at REAL)")
        rows: list[Any] = connection.execute("SELECT number FROM migrations").fetchall()
        applied = {number for number, in rows}
        if beyond := [number for number in applied if number > newest]:
            raise StoreError(f"This store was written by a newer MetaClaw (schema {max(beyond)}). Upgrade MetaClaw.")
        for script in scripts:
            if (number := int(script.name[:4])) not in applied:
                connection.execute(script.read_text(encoding="utf-8"))
                connection.execute("INSERT INTO migrations VALUES (?, ?)", (number, time.time()))
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if isinstance(error, apsw.Error):
            raise StoreError(f"The store could not be migrated: {error}") from error
        raise


class Checkpoints:
    """Moves what was written from the log into the database, on a thread and a connection of its own.

    SQLite would do it within a commit, every thousand pages: then whoever waits for that commit waits for the disk to
    take the pages one by one, tens of milliseconds. Beside the writer it holds nobody up; only when it cannot keep up
    does the writer do it itself, so that the log stays bounded.
    """

    def __init__(self, path: Path, writer: Connection) -> None:
        self._path = path
        self._wanted = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        writer.wal_autocheckpoint(0)
        writer.set_wal_hook(self._written)

    def close(self) -> None:
        self._closing = True
        self._wanted.set()
        if self._thread:
            self._thread.join()

    def _written(self, writer: Connection, name: str, pages: int) -> int:
        """Called by SQLite after each commit, with the pages that the log holds."""
        if pages >= CHECKPOINT_PAGES and not self._wanted.is_set():
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="store-checkpoints", daemon=True)
                self._thread.start()
            self._wanted.set()
        if pages >= MOST_LOG_PAGES:
            with contextlib.suppress(apsw.BusyError):  # the other thread is at it
                writer.wal_checkpoint(name, apsw.SQLITE_CHECKPOINT_PASSIVE)
        return apsw.SQLITE_OK

    def _run(self) -> None:
        connection = _open(self._path)
        try:
            while True:
                self._wanted.wait()
                self._wanted.clear()
                if self._closing:
                    return
                with contextlib.suppress(apsw.Error):  # the next commit asks again
                    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        finally:
            connection.close()


class RowWriter:
    """Rows of one kind from one event loop: those that come while some are being written are written together, next.

    `insert` takes many at once; where that fails, each by itself. A row at a time, the two threads would hand Python's
    lock over a dozen times for each, and each time wait for it.
    """

    def __init__(self, database: Database, insert: Insert) -> None:
        self._database = database
        self._insert = insert
        self._next: list[_Row] = []
        self._bytes = 0
        self._writing = 0

    def submit(self, row: Any, told: Told, size: int) -> None:
        """`told` is called on this loop: with None after the commit is on disk, else with what went wrong."""
        waiting = self._writing + len(self._next)
        if waiting >= MOST_WAITING or (waiting and self._bytes + size > MOST_WAITING_BYTES):
            refusal = StoreError(
                f"The store at {self._database.path} is too slow: {waiting} rows wait. Check its disk."
            )
            asyncio.get_running_loop().call_soon(told, refusal)
            return
        self._next.append(_Row(row, told, size))
        self._bytes += size
        if not self._writing:
            self._write()

    def _write(self) -> None:
        rows, self._next = self._next[:LARGEST_GROUP], self._next[LARGEST_GROUP:]
        self._writing = len(rows)
        written = self._database.submit_async(lambda connection: self._insert_all(connection, rows))
        written.add_done_callback(lambda done: self._written(rows, done))

    def _insert_all(self, connection: Connection, rows: Sequence[_Row]) -> list[BaseException | None]:
        """What became of each."""
        _, raised = _attempt(connection, lambda one: self._insert(one, [row.row for row in rows]))
        if raised is None or len(rows) == 1:
            return [raised] * len(rows)
        return [outcome for row in rows for outcome in self._insert_all(connection, [row])]

    def _written(self, rows: Sequence[_Row], done: asyncio.Future[list[BaseException | None]]) -> None:
        failure = done.exception()
        outcomes = [failure] * len(rows) if failure else done.result()
        self._writing = 0
        self._bytes -= sum(row.size for row in rows)
        if self._next:
            self._write()
        for row, outcome in zip(rows, outcomes, strict=True):
            row.told(outcome)


def in_runs(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """A few rows at a time, for statements that take several: there are then few different ones to keep prepared."""
    return (rows[start : start + ROWS_A_STATEMENT] for start in range(0, len(rows), ROWS_A_STATEMENT))
