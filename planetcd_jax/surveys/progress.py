"""How far a survey is, in words: counts, rate, time left, what was set aside and why."""

import pathlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from planetcd_jax.errors import DataError
from planetcd_jax.surveys.ledger import STATES, Ledger, ledgers_of

RATE_OVER_S = 600.0
"""Time over which a rate is taken, seconds."""

_LISTED = 20


def rate(ends: Sequence[float], now: float) -> float:
    """Pairs a second over the last ten minutes in which one ended; 0 where fewer than two did.

    Args:
        ends: When pairs ended, seconds, in order.
        now: Seconds, in the same count.
    """
    recent = [end for end in ends if now - end < RATE_OVER_S]
    if len(recent) < 2:
        return 0.0
    return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-3)


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(5400)
    '1.5 h'
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def time_left(counts: Mapping[str, int], per_second: float) -> float:
    """Seconds until no pair waits, at a rate; 0 where the rate is not known."""
    return (counts["waiting"] + counts["claimed"]) / per_second if per_second else 0.0


def line(counts: Mapping[str, int], per_second: float) -> str:
    """One line about a survey that runs."""
    total, left = sum(counts[state] for state in STATES), time_left(counts, per_second)
    said = f"{counts['done']} of {total} pairs done, {counts['claimed']} with workers"
    said += f", {counts['set aside']} set aside" if counts["set aside"] else ""
    if left:
        said += f"; {60 * per_second:.3g} a minute, {duration(left)} left"
    return said


def status(folder: pathlib.Path, *, everything: bool = False) -> str:
    """What the ledgers of a survey say.

    Args:
        folder: Of the survey.
        everything: List every pair that was set aside, not the first 20.

    Raises:
        DataError: if it holds no ledger.
    """
    paths = ledgers_of(folder)
    if not paths:
        raise DataError(f"{folder} holds no ledger of a survey; name the --output_dir of `planetcd-survey run`.")
    counts, rows, ends = Counter(), [], []
    for path in paths:
        ledger = Ledger(path)
        counts.update(ledger.counts())
        rows += ledger.pairs()
        ends += ledger.ends(time.time() - RATE_OVER_S)
        ledger.close()
    lines = [line({**dict.fromkeys(STATES, 0), **counts}, rate(sorted(ends), time.time()))]
    done = [row for row in rows if row["state"] == "done" and row["seconds"]]
    if done:
        seconds, memory = sum(row["seconds"] for row in done), max(row["memory_mb"] for row in done)
        lines.append(
            f"{counts['attempts']} attempts, {counts['failures']} failed; {seconds / len(done):.1f} s a pair, "
            f"{memory:.0f} MB at most"
        )
    aside = [row for row in rows if row["state"] == "set aside"]
    lines += _failures("set aside after three failures (planetcd-survey retry)", aside, everything)
    failing = [row for row in rows if row["state"] == "waiting" and row["tries"]]
    lines += _failures("failed and waiting for another try", failing, everything)
    return "\n".join(lines)


def _failures(title: str, rows: Sequence[Mapping], everything: bool) -> list[str]:
    if not rows:
        return []
    shown = rows if everything else rows[:_LISTED]
    more = [f"  ... and {len(rows) - len(shown)} more (--all)"] if len(rows) > len(shown) else []
    return [f"{title}:", *(f"  {row['id']}: {row['error']}" for row in shown), *more]
