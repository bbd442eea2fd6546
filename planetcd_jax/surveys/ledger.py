"""The ledger of a survey: one SQLite file that says of each pair what became of it.

Only programs on one machine write one ledger, since a write-ahead log needs shared memory; each shard of a job array
has a ledger of its own. What is true is in the folders of the pairs: a ledger that is lost is made anew from them.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from planetcd_jax.errors import DataError, OutputError
from planetcd_jax.extras import brought_by
from planetcd_jax.surveys.pair_table import Pair

with brought_by("survey"):
    import psutil

WAITING, CLAIMED, DONE, SET_ASIDE = "waiting", "claimed", "done", "set aside"
STATES = (WAITING, CLAIMED, DONE, SET_ASIDE)

MOST_TRIES = 3
"""Failures after which a pair is set aside."""

STALE_S = 60.0
"""Seconds without a sign of life after which the pairs of a client are free again."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pairs(
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL, facts TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', tries INTEGER NOT NULL DEFAULT 0, client TEXT, error TEXT,
    seconds REAL, cpu_seconds REAL, memory_mb REAL, host TEXT, run TEXT, ended REAL);
CREATE INDEX IF NOT EXISTS by_state ON pairs(state, tries, number);
CREATE TABLE IF NOT EXISTS attempts(
    pair TEXT NOT NULL, client TEXT, outcome TEXT NOT NULL, error TEXT, seconds REAL, cpu_seconds REAL,
    memory_mb REAL, host TEXT, ended REAL NOT NULL);
CREATE TABLE IF NOT EXISTS clients(
    id TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, born REAL NOT NULL, heartbeat REAL NOT NULL);
CREATE TABLE IF NOT EXISTS scenes(
    pair TEXT PRIMARY KEY, sequence INTEGER NOT NULL UNIQUE, facts TEXT NOT NULL, places TEXT NOT NULL);
"""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one attempt at a pair.

    Attributes:
        pair: Its id.
        state: "done", "failed", "busy" (another process has it) or "no room" (the disk is full).
        error: In one line; "" where there is none.
        seconds, cpu_seconds: Time that it took; 0 where it was done before.
        memory_mb: Most memory that its process had, MB.
        host: Where.
        run: Identity of the run of `planetcd-scene`.
    """

    pair: str
    state: str
    error: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_mb: float = 0.0
    host: str = ""
    run: str = ""


def ledgers_of(folder: pathlib.Path) -> list[pathlib.Path]:
    """The ledger files of a survey, that of the whole first, then those of shards."""
    return sorted(folder.glob("ledger*.sqlite"), key=lambda path: (len(path.name), path.name))


def ledger_name(shard: tuple[int, int]) -> str:
    """File name of the ledger of shard i of n, counted from 1."""
    return "ledger.sqlite" if shard == (1, 1) else f"ledger-{shard[0]}-of-{shard[1]}.sqlite"


class Ledger:
    """An open ledger; use it from one thread.

    Attributes:
        path: The file.
        client: Name of this process in it.
    """

    def __init__(self, path: pathlib.Path):
        """Opens the file, or begins it.

        Raises:
            OutputError, DataError: if it cannot be written, or is no ledger.
        """
        self.path, self.client = path, f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
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

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._errors():
            cursor = self._connection.execute(query, values)
            cursor.row_factory = sqlite3.Row
            return cursor.fetchall()

    def close(self) -> None:
        """Gives back what this client claimed and closes the file."""
        with contextlib.suppress(OutputError):
            self.release()
        self._connection.close()

    def add(self, pairs: Iterable[Pair]) -> None:
        """Enters pairs that it does not hold yet.

        Raises:
            DataError: if a pair of that id is there with other images.
        """
        rows = [(pair.id, n, pair.before, pair.after, json.dumps(dict(pair.facts))) for n, pair in enumerate(pairs)]
        held = {row["id"]: (row["before"], row["after"]) for row in self._rows("SELECT id, before, after FROM pairs")}
        for name, _, before, after, _ in rows:
            if held.get(name, (before, after)) != (before, after):
                raise DataError(
                    f"{self.path} has a pair {name!r} of other images ({held[name][0]}, {held[name][1]}); give the new "
                    "pair another id, or name another --output_dir."
                )
        with self._writing() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO pairs(id, number, before, after, facts) VALUES (?, ?, ?, ?, ?)", rows
            )

    def beat(self) -> None:
        """Says that this client lives, and frees the pairs of those that do not."""
        now, host = time.time(), socket.gethostname()
        dead = [row["id"] for row in self._rows("SELECT * FROM clients") if not _lives(row, now, host)]
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO clients VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT(id) DO UPDATE SET heartbeat = excluded.heartbeat",
                (self.client, host, os.getpid(), psutil.Process().create_time(), now),
            )
            for name in dead:
                self._free(connection, name)

    @staticmethod
    def _free(connection: sqlite3.Connection, client: str) -> None:
        connection.execute(
            "UPDATE pairs SET state = 'waiting', client = NULL WHERE state = 'claimed' AND client = ?", (client,)
        )
        connection.execute("DELETE FROM clients WHERE id = ?", (client,))

    def release(self, pairs: Sequence[str] | None = None) -> None:
        """Gives claimed pairs back, untried: those named, or all of this client."""
        with self._writing() as connection:
            if pairs is None:
                self._free(connection, self.client)
                return
            connection.executemany(
                "UPDATE pairs SET state = 'waiting', client = NULL WHERE state = 'claimed' AND client = ? AND id = ?",
                [(self.client, name) for name in pairs],
            )

    def claim(self, count: int) -> list[Pair]:
        """Up to `count` pairs that wait, now this client's; those that failed come last."""
        with self._writing() as connection:
            found = connection.execute(
                "SELECT id, before, after, facts FROM pairs WHERE state = 'waiting' ORDER BY tries, number LIMIT ?",
                (count,),
            ).fetchall()
            connection.executemany(
                "UPDATE pairs SET state = 'claimed', client = ? WHERE id = ?", [(self.client, row[0]) for row in found]
            )
        return [Pair(name, before, after, json.loads(facts)) for name, before, after, facts in found]

    def settle(self, outcomes: Sequence[Outcome], scenes: Mapping[str, tuple[Any, Any]] | None = None) -> None:
        """Writes down what became of attempts, in one transaction.

        Args:
            outcomes: "done" and "failed" ones; a third failure sets the pair aside.
            scenes: For pairs that are done, by id: facts of the scene and its places, kept for the catalogue.
        """
        now = time.time()
        with self._writing() as connection:
            for one in outcomes:
                self._settle_one(connection, one, now)
                if scenes and one.pair in scenes:
                    facts, places = (json.dumps(part) for part in scenes[one.pair])
                    connection.execute(
                        "INSERT OR IGNORE INTO scenes SELECT ?, COALESCE(MAX(sequence), 0) + 1, ?, ? FROM scenes",
                        (one.pair, facts, places),
                    )

    def _settle_one(self, connection: sqlite3.Connection, one: Outcome, now: float) -> None:
        state, tries, was = connection.execute(
            "SELECT state, tries, client FROM pairs WHERE id = ?", (one.pair,)
        ).fetchone()
        if state == DONE:  # another client was first; nothing is counted twice
            return
        measured = one.error, one.seconds, one.cpu_seconds, one.memory_mb, one.host
        if one.state == "failed":
            if was not in (None, self.client):  # it was freed meanwhile, and is another client's now
                return
            state = SET_ASIDE if tries + 1 >= MOST_TRIES else WAITING
            tries += 1
        else:
            state = DONE
        connection.execute(
            "UPDATE pairs SET state = ?, tries = ?, client = NULL, error = ?, seconds = ?, cpu_seconds = ?, "
            "memory_mb = ?, host = ?, run = ?, ended = ? WHERE id = ?",
            (state, tries, *measured, one.run, now, one.pair),
        )
        connection.execute(
            "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (one.pair, self.client, one.state, *measured, now),
        )

    def retry(self, names: Sequence[str] | None = None, *, since: float | None = None) -> int:
        """Lets pairs that were set aside wait again, with no failure counted; returns how many.

        Args:
            names: Their ids; None: all.
            since: Only those whose last failure is later, seconds since 1970.
        """
        with self._writing() as connection:
            found = connection.execute(
                "SELECT id FROM pairs WHERE state = 'set aside' AND ended >= ?", (since or 0.0,)
            ).fetchall()
            chosen = [name for (name,) in found if names is None or name in names]
            connection.executemany("UPDATE pairs SET state = 'waiting', tries = 0 WHERE id = ?", [(n,) for n in chosen])
        return len(chosen)

    def counts(self) -> dict[str, int]:
        """Pairs in each state, and "failures" and "attempts" so far."""
        found = {state: 0 for state in STATES}
        found |= {row[0]: row[1] for row in self._rows("SELECT state, COUNT(*) FROM pairs GROUP BY state")}
        ((attempts, failures),) = self._rows("SELECT COUNT(*), SUM(outcome = 'failed') FROM attempts")
        return {**found, "attempts": attempts, "failures": failures or 0}

    def pairs(self, state: str | None = None) -> list[dict[str, Any]]:
        """Rows of all pairs, or of those in one state, in the order of their table."""
        where = "" if state is None else "WHERE state = ?"
        rows = self._rows(f"SELECT * FROM pairs {where} ORDER BY number, id", *([] if state is None else [state]))
        return [{**dict(row), "facts": json.loads(row["facts"])} for row in rows]

    def scenes(self, after: int = 0) -> Iterator[tuple[int, str, dict[str, Any], list[dict[str, Any]]]]:
        """Sequence, pair, facts and places of scenes that came after a sequence, in the order in which they came."""
        for row in self._rows("SELECT * FROM scenes WHERE sequence > ? ORDER BY sequence", after):
            yield row["sequence"], row["pair"], json.loads(row["facts"]), json.loads(row["places"])

    def ends(self) -> list[float]:
        """When attempts that did the work ended, seconds since 1970, in order."""
        query = "SELECT ended FROM attempts WHERE outcome = 'done' AND seconds > 0 ORDER BY ended"
        return [row[0] for row in self._rows(query)]

    def claimed_by_others(self) -> int:
        """Pairs that other clients are at."""
        query = "SELECT COUNT(*) FROM pairs WHERE state = 'claimed' AND client != ?"
        return self._rows(query, self.client)[0][0]


def _lives(client: sqlite3.Row, now: float, host: str) -> bool:
    """Whether a client shows life; one on this machine, whether its process is there."""
    if client["host"] == host:
        try:
            return abs(psutil.Process(client["pid"]).create_time() - client["born"]) < 2.0
        except psutil.Error:
            return False
    return now - client["heartbeat"] < STALE_S
