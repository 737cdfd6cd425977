"""One SQLite database in WAL mode: connections, transactions, group commit and numbered migrations.

The store knows no table. Each table has one room that writes it:
turns, sessions, feedback: journal; signals: signals; skills, skill_history, skill_folders, skill_imports, generations,
support: library; adapters, jobs: training; routes: serving; cursors, evolve_state: evolve. `verdicts` alone is shared,
by library and training, through the module of its name.
"""

from metaclaw.store.connection import Connection
from metaclaw.store.database import Database
from metaclaw.store.rows import RowWriter, in_runs

__all__ = ["Connection", "Database", "RowWriter", "in_runs"]
