"""One SQLite database in WAL mode: connections, transactions, group commit and numbered migrations.

The store knows no table. Each table has one room that writes it:
turns, sessions, feedback, samples, erased_turns, erasures: journal; signals: signals; skills, skill_history,
skill_folders, skill_imports, generations, support, pins: library; adapters, jobs: training; routes: serving; cursors,
evolve_state, rejected_edits, exposures: evolve. `verdicts` and `stale` are shared by library and training, through the
modules of their names.
"""

from metaclaw.store.connection import Connection
from metaclaw.store.database import Database
from metaclaw.store.rows import RowWriter, in_runs

__all__ = ["Connection", "Database", "RowWriter", "in_runs"]
