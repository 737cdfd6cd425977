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
from metaclaw.store.checkpoints import Checkpoints
from metaclaw.store.connection import Connection, attempt, connect

T = TypeVar("T")

LARGEST_GROUP = 256
MOST_WAITING = 10_000
MOST_WAITING_BYTES = 256 * 1024 * 1024


@dataclass(slots=True)
class _Write:
    """`done` is told, on its `loop` if it has one. `size` is what waiting costs, in bytes."""

    work: Callable[[Connection], Any]
    done: Future[Any] | asyncio.Future[Any]
    size: int
    loop: asyncio.AbstractEventLoop | None = None


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
        self._writer = connect(path)
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
        try:
            return self._reader().execute(sql, values).fetchall()
        except apsw.Error as error:
            raise StoreError(f"The store at {self.path} could not be read: {error}") from error

    @contextlib.contextmanager
    def one_moment(self) -> Iterator[None]:
        """Within the block, all reads of this thread see the store as it is at the first of them."""
        self.read("BEGIN")
        try:
            yield
        finally:
            self.read("COMMIT")

    def _reader(self) -> Connection:
        connection: Connection | None = getattr(self._local, "reader", None)
        if connection is None:
            connection = self._local.reader = connect(self.path)
        return connection

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
        """Finish what is queued, then close the writer and this thread's reader. Others close with their threads."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._checkpoints.close()
        self._writer.close()
        if reader := getattr(self._local, "reader", None):
            del self._local.reader
            reader.close()

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
        if len(group) == 1:
            return [self._commit_one(group[0])]
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            outcomes = [(write, *attempt(self._writer, write.work)) for write in group]
            self._writer.execute("COMMIT")
        except apsw.Error as error:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            failure = StoreError(f"The store at {self.path} refused a write: {error}")
            outcomes = [(write, None, failure) for write in group]
        return outcomes

    def _commit_one(self, write: _Write) -> Outcome:
        """Without a savepoint: with each statement the threads of this process hand Python's lock to and fro."""
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            result = write.work(self._writer)
            self._writer.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for this write
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            refused = f"The store at {self.path} refused a write: {error}"
            return write, None, StoreError(refused) if isinstance(error, apsw.Error) else error
        return write, result, None


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
