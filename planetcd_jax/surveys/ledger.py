"""The ledger of a survey: one SQLite file that says of each pair what became of it.

Only programs on one machine write one ledger, since a write-ahead log needs shared memory; each shard of a job array
has a ledger of its own. What is true is in the folders of the pairs: a ledger that is lost is made anew from them.
"""

import contextlib
import dataclasses
import itertools
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
from planetcd_jax.surveys.ledger_file import LedgerFile
from planetcd_jax.surveys.pair_table import Pair

with brought_by("survey"):
    import psutil

WAITING, CLAIMED, DONE, SET_ASIDE = "waiting", "claimed", "done", "set aside"
STATES = (WAITING, CLAIMED, DONE, SET_ASIDE)

MOST_TRIES = 3
"""Failures after which a pair is set aside."""

_AT_ONCE = 1000  # pairs that one transaction enters

STALE_S = 60.0
"""Seconds without a sign of life after which the pairs of a client are free again."""


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


class Ledger(LedgerFile):
    """An open ledger; use it from one thread.

    Attributes:
        client: Name of this process in it.
    """

    def __init__(self, path: pathlib.Path):
        """Opens the file, or begins it.

        Raises:
            OutputError, DataError: if it cannot be written, or is no ledger.
        """
        super().__init__(path)
        self.client = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"

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
        numbered = enumerate(pairs)
        while part := list(itertools.islice(numbered, _AT_ONCE)):  # so that memory does not grow with the archive
            with self._writing() as connection:
                for n, pair in part:
                    self._add_one(connection, n, pair)

    def _add_one(self, connection: sqlite3.Connection, number: int, pair: Pair) -> None:
        images = pair.before, pair.after
        held = connection.execute("SELECT before, after FROM pairs WHERE id = ?", (pair.id,)).fetchone()
        if held is None:
            connection.execute(
                "INSERT INTO pairs(id, number, before, after, facts) VALUES (?, ?, ?, ?, ?)",
                (pair.id, number, *images, json.dumps(dict(pair.facts))),
            )
        elif held != images:
            raise DataError(
                f"{self.path} has a pair {pair.id!r} of other images ({', '.join(held)}); give the new pair another "
                "id, or name another --output_dir."
            )

    def beat(self) -> None:
        """Says that this client lives, and frees the pairs of those that do not."""
        now, host = time.time(), socket.gethostname()
        others = self._rows("SELECT * FROM clients WHERE id != ?", self.client)
        dead = [row["id"] for row in others if not _lives(row, now, host)]
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO clients VALUES (?, ?, ?, ?, ?) "
                # The start of a process is told by the clock, which may be set while it runs: it is kept up to date.
                "ON CONFLICT(id) DO UPDATE SET heartbeat = excluded.heartbeat, born = excluded.born",
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

    def pair(self, name: str) -> dict[str, Any]:
        """Row of one pair that is there."""
        row = next(self._rows("SELECT * FROM pairs WHERE id = ?", name))
        return {**dict(row), "facts": json.loads(row["facts"])}

    def scenes(self, after: int = 0) -> Iterator[tuple[int, str, dict[str, Any], list[dict[str, Any]]]]:
        """Sequence, pair, facts and places of scenes that came after a sequence, in the order in which they came."""
        for row in self._rows("SELECT * FROM scenes WHERE sequence > ? ORDER BY sequence", after):
            yield row["sequence"], row["pair"], json.loads(row["facts"]), json.loads(row["places"])

    def names(self, *, done: bool) -> list[str]:
        """Ids of pairs that are done, or of the others, in the order of their table."""
        sign = "=" if done else "!="
        return [row[0] for row in self._rows(f"SELECT id FROM pairs WHERE state {sign} 'done' ORDER BY number, id")]

    def not_kept(self) -> list[str]:
        """Ids of pairs that are done and whose scene is not in the ledger."""
        query = "SELECT id FROM pairs WHERE state = 'done' AND id NOT IN (SELECT pair FROM scenes) ORDER BY number, id"
        return [row[0] for row in self._rows(query)]

    def ends(self, since: float = 0.0) -> list[float]:
        """When attempts that did the work ended, seconds since 1970, in order: those after a time."""
        query = "SELECT ended FROM attempts WHERE ended > ? AND outcome = 'done' AND seconds > 0 ORDER BY ended"
        return [row[0] for row in self._rows(query, since)]

    def last_errors(self, count: int) -> list[tuple[float, str, str]]:
        """When, which pair and why, of the last failures, the latest first."""
        query = "SELECT ended, pair, error FROM attempts WHERE outcome = 'failed' ORDER BY ended DESC LIMIT ?"
        return [(row["ended"], row["pair"], row["error"]) for row in self._rows(query, count)]

    def claimed_by_others(self) -> int:
        """Pairs that other clients are at."""
        query = "SELECT COUNT(*) FROM pairs WHERE state = 'claimed' AND client != ?"
        return next(self._rows(query, self.client))[0]


def _lives(client: sqlite3.Row, now: float, host: str) -> bool:
    """Whether a client shows life; one on this machine, whether its process is there."""
    if client["host"] == host:
        try:
            return abs(psutil.Process(client["pid"]).create_time() - client["born"]) < 2.0
        except psutil.Error:
            return False
    return now - client["heartbeat"] < STALE_S
