"""What is told while a survey runs: a table that is kept up to date on a terminal, now and then a line in a file."""

import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from planetcd_jax.extras import brought_by
from planetcd_jax.surveys import progress
from planetcd_jax.surveys.ledger import STATES, Ledger
from planetcd_jax.words import counted

with brought_by("survey"):
    from rich.console import Console, Group, RenderableType
    from rich.live import Live
    from rich.padding import Padding
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

Tell = Callable[[str, int], None]
"""Called many times a second while pairs are under way: the address of Dask's dashboard, the number of workers."""

_TERMINAL_S, _FILE_S = 1.0, 30.0
_ERRORS = 3  # each takes up to three lines of a terminal of 80 columns, and all of the table 24


@contextmanager
def progress_shown(ledger: Ledger, folder: pathlib.Path, *, quiet: bool) -> Iterator[Tell]:
    """What tells how far a survey is: a table on a terminal, a line every 30 s elsewhere, nothing if quiet."""
    if quiet:
        yield lambda dashboard, workers: None
    elif sys.stderr.isatty():
        console = Console(file=sys.stderr)
        with Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False) as live:
            live.update(table(ledger, folder, "", 0), refresh=True)  # workers take seconds to start
            yield _every(_TERMINAL_S, lambda *about: live.update(table(ledger, folder, *about), refresh=True))
    else:
        yield _every(_FILE_S, _lines(ledger))


def _every(pause: float, tell: Tell) -> Tell:
    last = [-pause]

    def told(dashboard: str, workers: int) -> None:
        now = time.monotonic()
        if now - last[0] >= pause:
            last[0] = now
            tell(dashboard, workers)

    return told


def _lines(ledger: Ledger) -> Tell:
    begun: list[str] = []

    def tell(dashboard: str, workers: int) -> None:
        if dashboard not in begun:
            begun.append(dashboard)
            print(f"{counted(workers, 'worker')}; Dask's dashboard: {dashboard}", file=sys.stderr)
        print(progress.line(ledger.counts(), _rate(ledger)), file=sys.stderr, flush=True)

    return tell


def _rate(ledger: Ledger) -> float:
    now = time.time()
    return progress.rate(ledger.ends(now - progress.RATE_OVER_S), now)


def table(ledger: Ledger, folder: pathlib.Path, dashboard: str, workers: int) -> Group:
    """The table of a survey that runs.

    Args:
        ledger: Of the survey.
        folder: Of the survey.
        dashboard: Address of Dask's dashboard; "" while workers start.
        workers: How many there are.
    """
    counts, per_second = ledger.counts(), _rate(ledger)
    total, ended = sum(counts[state] for state in STATES), counts["done"] + counts["set aside"]
    left = progress.time_left(counts, per_second)
    rows = Table(title=f"Survey {folder.name}", title_justify="left", show_header=False, box=None)
    rows.add_column(style="bold")
    rows.add_column()
    rows.add_row("pairs", ProgressBar(total=max(total, 1), completed=ended, width=40))
    for state in STATES:
        rows.add_row(state if state != "claimed" else "with workers", f"{counts[state]} of {total}")
    rows.add_row("failed attempts", f"{counts['failures']} of {counts['attempts']}")
    rows.add_row("rate", f"{60 * per_second:.3g} a minute" if per_second else "not known yet")
    rows.add_row("time left", progress.duration(left) if left else "not known yet")
    rows.add_row("workers", f"{workers if workers else 'starting'}; this machine: {_machine()}")
    rows.add_row("dashboard", dashboard or "starting")
    # The last line is empty: a terminal writes ^C behind what stands there, and would begin a line for it that stays.
    return Group(rows, *_failures(ledger.last_errors(_ERRORS)), Text(""))


def _machine() -> str:
    """How busy this machine is."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{cores} cores, load {os.getloadavg()[0]:.1f}"


def _failures(errors: Sequence[tuple[float, str, str]]) -> list[RenderableType]:
    if not errors:
        return []
    lines = [f"{time.strftime('%H:%M:%S', time.localtime(at))} {pair}: {_reason(why)}" for at, pair, why in errors]
    return [Text("last errors", style="bold"), *(Padding(Text(line, overflow="fold"), (0, 0, 0, 2)) for line in lines)]


def _reason(why: str) -> str:
    """An error without the name of the program that scores every pair."""
    return why.removeprefix("planetcd-scene: ")
