"""The receipts of skills that left the context because the weights carry them. Owns the table `carried`.

In: what the gate counted on a skill's held-out prompts. Out: whether the weights carry it (`is_carried`, pure), and
what was written down when it left and came back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from metaclaw.store import Database

LEAST_PROMPTS = 5
MOST_LOST = 0.1  # of the prompts that were right with the skill in them: what the weights must keep is the rest
COLUMNS = "adapter, name, version, n, right_with, right_without, tokens, left_at, returned_at"


@dataclass(frozen=True, slots=True)
class Receipt:
    """Of `n` held-out prompts `right_with` were right with the skill in them, and `right_without` by the weights alone.

    `tokens` is what the skill took of each prompt that it was in, estimated.
    """

    adapter: str
    name: str
    version: int
    n: int
    right_with: int
    right_without: int
    tokens: int
    left_at: float
    returned_at: float | None = None


def is_carried(counts: Mapping[str, int]) -> bool:
    """Whether the candidate without the skill does what the incumbent did with it, by the gate's `carried` of it."""
    kept = counts["lost"] <= MOST_LOST * counts["with"] and counts["without"] >= (1 - MOST_LOST) * counts["with"]
    return counts["n"] >= LEAST_PROMPTS and counts["with"] > 0 and kept


class Receipts:
    def __init__(self, database: Database, namespace: str) -> None:
        self._database = database
        self._namespace = namespace

    def all(self) -> list[Receipt]:
        """In the order in which the skills left."""
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM carried WHERE namespace = ? ORDER BY left_at, name", (self._namespace,)
        )
        return [Receipt(*row) for row in rows]

    def write(self, receipt: Receipt) -> None:
        row = (
            self._namespace, receipt.adapter, receipt.name, receipt.version, receipt.n, receipt.right_with,
            receipt.right_without, receipt.tokens, receipt.left_at, receipt.returned_at,
        )
        self._database.write(
            lambda connection: connection.execute(
                f"INSERT OR REPLACE INTO carried (namespace, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row
            )
        )

    def came_back(self, receipt: Receipt) -> None:
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE carried SET returned_at = ? WHERE namespace = ? AND adapter = ? AND name = ? AND version = ?",
                (time.time(), self._namespace, receipt.adapter, receipt.name, receipt.version),
            )
        )
