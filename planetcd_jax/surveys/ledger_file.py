"""The file of a ledger: opened, read, and written in transactions, with errors in one line."""

import contextlib
import pathlib
import sqlite3
from collections.abc import Iterator
from typing import Any

from planetcd_jax.errors import DataError, OutputError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pairs(
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL, facts TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', tries INTEGER NOT NULL DEFAULT 0, client TEXT, error TEXT,
    seconds REAL, cpu_seconds REAL, memory_mb REAL, host TEXT, run TEXT, ended REAL);
CREATE INDEX IF NOT EXISTS by_state ON pairs(state, tries, number);
CREATE TABLE IF NOT EXISTS attempts(
    pair TEXT NOT NULL, client TEXT, outcome TEXT NOT NULL, error TEXT, seconds REAL, cpu_seconds REAL,
    memory_mb REAL, host TEXT, ended REAL NOT NULL);
CREATE INDEX IF NOT EXISTS by_end ON attempts(ended, outcome, seconds);
CREATE TABLE IF NOT EXISTS clients(
    id TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, born REAL NOT NULL, heartbeat REAL NOT NULL);
CREATE TABLE IF NOT EXISTS scenes(
    pair TEXT PRIMARY KEY, sequence INTEGER NOT NULL UNIQUE, facts TEXT NOT NULL, places TEXT NOT NULL);
"""


class LedgerFile:
    """An open SQLite file; use it from one thread.

    Attributes:
        path: The file.
    """

    def __init__(self, path: pathlib.Path):
        """Opens the file, or begins it.

        Raises:
            OutputError, DataError: if it cannot be written, or is no ledger.
        """
        self.path = path
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=60.0, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.executescript(_SCHEMA)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise OutputError(
                    f"{self.path} cannot be written ({error}); free some space or check the folder, then repeat the "
                    "command: what is done is kept."
                ) from None
            raise DataError(
                f"{self.path} is no ledger ({error}); move it away and repeat the command: it is made anew from the "
                "folders of the pairs."
            ) from None
        except OSError as error:
            raise OutputError(f"{self.path} cannot be made ({error.strerror}); name another --output_dir.") from None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that begins with the lock for writing, so that two clients wait for each other."""
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _rows(self, query: str, *values: Any) -> Iterator[sqlite3.Row]:
        """Rows one by one; what is written meanwhile may or may not be among them."""
        with self._errors():
            cursor = self._connection.execute(query, values)
            cursor.row_factory = sqlite3.Row
            yield from cursor
