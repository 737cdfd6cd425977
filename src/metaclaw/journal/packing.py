"""Bodies as the store keeps them: a request as what it adds to an earlier one of its session, a long reply compressed.

In: native bytes, redacted. Out: the bytes to store, and what it takes to read them; and the native bytes again.

An agent sends its whole conversation anew with every turn. A difference is a zstd frame whose dictionary is the earlier
request, as `zstd --patch-from` makes it. That one is kept whole, so a turn is read with one other at most. Only main
turns of the same session take part: they are erased together. Measured: 62 KB that grew by 1.5 KB are 0.8 KB after 0.1
ms, 1 MB after 1.3 ms, read back in 0.02 and 0.3 ms; a stream of 200 chunks is 1.2 KB instead of 48, after 0.05 ms.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from metaclaw.errors import StoreError
from metaclaw.store import Connection, Database
from metaclaw.types import Turn, TurnKind
from metaclaw.zstd import zstd

LEAST_BYTES = 4096  # of a request: a page of the store; below it there is nothing to gain
LEAST_REPLY_BYTES = 8192  # below it, to compress takes longer than to write the bytes
LARGEST_BYTES = 32 * 1024 * 1024
MOST_SHARE = 0.25  # of the whole: where a difference is larger, this is another conversation
MOST_KEPT_BYTES = 32 * 1024 * 1024
MOST_READ = 8
LEVEL = 3  # below it zstd looks too seldom to find a passage that has moved
READING: dict[int, int] = {zstd.DecompressionParameter.window_log_max: (2 * LARGEST_BYTES).bit_length()}

Key = tuple[str, str, str]


def packed(response: bytes) -> tuple[bytes, bool]:
    """What to store of a reply, and whether it is compressed."""
    if len(response) < LEAST_REPLY_BYTES:
        return response, False
    return bytes(zstd.compress(response, LEVEL)), True


def unpacked(stored: bytes, is_packed: bool) -> bytes:
    """Raises `StoreError` where it is damaged."""
    try:
        return bytes(zstd.decompress(stored)) if is_packed else stored
    except zstd.ZstdError as error:
        raise StoreError(f"A reply in the store cannot be read: {error}.") from error


class Packer:
    """Knows the last whole request of each session and agent, as far as memory allows. For the thread that writes."""

    def __init__(self, most_bytes: int = MOST_KEPT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bases: OrderedDict[Key, _Base] = OrderedDict()
        self._bytes = 0

    def pack(
        self, connection: Connection, turn: Turn, request: bytes, beside: Collection[str] = ()
    ) -> tuple[bytes, str | None]:
        """What to store, and the id of the turn that it builds on, if any.

        `beside` are the turns that the same statement writes before this one. Whether any other is there is asked
        within the transaction: it may have been refused, or erased since by another process.
        """
        if turn.kind is not TurnKind.MAIN or not LEAST_BYTES <= len(request) <= LARGEST_BYTES:
            return request, None
        key = turn.namespace, turn.session, turn.agent
        base = self._bases.get(key)
        if base and (base.turn_id in beside or _is_stored(connection, base.turn_id)):
            difference = base.difference(request)
            base.spent += len(difference)
            if len(difference) <= MOST_SHARE * len(request) and base.spent <= base.size:
                self._bases.move_to_end(key)
                return difference, base.turn_id
        self._keep(key, _Base(turn.id, request))
        return request, None

    def _keep(self, key: Key, base: _Base) -> None:
        if before := self._bases.pop(key, None):
            self._bytes -= before.size
        self._bases[key] = base
        self._bytes += base.size
        while self._bytes > self._most_bytes:
            _, oldest = self._bases.popitem(last=False)
            self._bytes -= oldest.size


class Bases:
    """Requests whole again. Keeps the last few that others build on, so it is for one read, not for good."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._bases: OrderedDict[str, bytes] = OrderedDict()

    def whole(self, stored: bytes, builds_on: str | None) -> bytes:
        """Raises `StoreError` where what it builds on is gone, or is another."""
        if builds_on is None:
            return stored
        base = self._bases.get(builds_on)
        if base is None:
            rows = self._database.read("SELECT request FROM turns WHERE id = ?", (builds_on,))
            if not rows:
                raise StoreError(f"The request that others build on, that of turn {builds_on}, is gone from the store.")
            base = self._bases[builds_on] = bytes(rows[0][0])
            if len(self._bases) > MOST_READ:
                self._bases.popitem(last=False)
        try:
            return bytes(zstd.decompress(stored, _dictionary(base).as_prefix, READING))
        except zstd.ZstdError as error:
            raise StoreError(f"A request that builds on that of turn {builds_on} cannot be read: {error}.") from error


class _Base:
    """A request that is kept whole. `spent` are the bytes of all differences from it: as they grow with the
    conversation, the next request is kept whole once they have cost as much as that will.
    """

    def __init__(self, turn_id: str, request: bytes) -> None:
        self.turn_id = turn_id
        self.size = len(request)
        self.spent = 0
        self._request = request

    def difference(self, request: bytes) -> bytes:
        window = (self.size + len(request)).bit_length()  # so that the whole of both is in sight
        options: dict[int, int] = {
            zstd.CompressionParameter.compression_level: LEVEL,
            zstd.CompressionParameter.window_log: max(window, 17),
            zstd.CompressionParameter.checksum_flag: 1,
        }
        # Digested once and kept, the dictionary would be twice as quick, and take up to twenty times its size.
        return bytes(zstd.compress(request, options=options, zstd_dict=_dictionary(self._request).as_prefix))


def _dictionary(request: bytes) -> zstd.ZstdDict:
    return zstd.ZstdDict(request, is_raw=True)


def _is_stored(connection: Connection, turn_id: str) -> bool:
    return bool(connection.execute("SELECT 1 FROM turns WHERE id = ?", (turn_id,)).fetchall())
