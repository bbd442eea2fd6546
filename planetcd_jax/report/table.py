"""Tables as text: aligned for a terminal, Markdown and CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SIMULATED = "SIMULATED"


class ComparisonRow(NamedTuple):
    """One system in a comparison table.

    Attributes:
        system: The name in the paper's table, such as "Proposed (k-Means clustering)".
        method: The value of `--method` that runs it.
        paper: Accuracy as the paper prints it, "94.1 %" or "9 of 10"; None where it prints nothing, or ours is of other
            pairs than the paper's.
        correct, labelled: Our correct pairs, and all pairs with a label; None, 0 without labels.
        accuracy: Ours, in [0, 1], or None.
        interval: 95 % interval of ours, two numbers in [0, 1], or None.
        roc_auc: In [0, 1], or None.
        seconds_per_pair: Seconds of scoring for each pair, without compiling and training; or None.
        source: "real" or "simulated".
        note: What a reader must know to read the row (weights, training set, size of a network); or "".
    """

    system: str
    method: str
    paper: str | None
    correct: int | None
    labelled: int
    accuracy: float | None
    interval: Sequence[float] | None
    roc_auc: float | None
    seconds_per_pair: float | None
    source: str
    note: str = ""


def source_word(source: str) -> str:
    """How a source is written wherever a reader sees it: "real data" or "SIMULATED"."""
    return SIMULATED if source == "simulated" else "real data"


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits, or a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as percent, or a dash for None."""
    return "-" if value is None else f"{100 * value:.{digits}f}"


def percent_interval(interval: Sequence[float] | None) -> str:
    """Two shares in [0, 1] as "low-high" in percent, or a dash for None."""
    return "-" if interval is None else f"{percent(interval[0])} to {percent(interval[1])}"


def _is_number(text: str) -> bool:
    words = text.replace(" to ", " ").replace(" of ", " ").removesuffix(" %").split()
    return all(word == "-" or word.replace(".", "", 1).isdigit() for word in words)


def aligned_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain text with columns of equal width; columns that hold only numbers stand to the right.

    Args:
        header: A title for each column.
        rows: Cells as text, as many in each row as in the header.

    Returns:
        Lines joined by newlines, without one at the end and without spaces at line ends.
    """
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [len(column) > 1 and all(map(_is_number, column[1:])) for column in columns]

    def line(cells):
        padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
        return "  ".join(padded).rstrip()

    return "\n".join([line(header), "  ".join("-" * w for w in widths), *map(line, rows)])


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same as a GitHub-flavoured Markdown table; a bar inside a cell is escaped."""
    columns = list(zip(header, *rows, strict=True))
    rule = ["---:" if len(c) > 1 and all(map(_is_number, c[1:])) else "---" for c in columns]
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in (header, rule, *rows))
    return "\n".join("| " + " | ".join(row) + " |" for row in escaped)


def csv_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """The same as CSV with a newline at the end; None becomes an empty cell."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    return stream.getvalue()


def _notes(rows: Sequence[ComparisonRow]) -> list[str]:
    """The notes of a table, each once, in the order of the rows."""
    return list(dict.fromkeys(row.note for row in rows if row.note))


def footnotes(rows: Sequence[ComparisonRow]) -> str:
    """What stands below a comparison table: its notes, numbered, a line each; "" without any."""
    return "\n".join(f"({i}) {note}" for i, note in enumerate(_notes(rows), start=1))


def comparison_cells(rows: Sequence[ComparisonRow]) -> tuple[list[str], list[list[str]]]:
    """Header and text cells of a comparison table, for `aligned_table` and `markdown_table`; notes as numbers.

    The paper's figures have a column only where a row has one: where it was measured on the same pairs. The column
    `our data` says whether ours are of real or simulated pairs.
    """
    simulated = any(row.source == "simulated" for row in rows)
    compared = any(row.paper for row in rows)
    ours = f"ours %, {SIMULATED}" if simulated else "ours %"
    header = ["system", *(["paper, the same pairs"] if compared else [])]
    header += [ours, "95 % interval", "correct", "ROC AUC", "ms/pair", "our data", "--method", "note"]
    notes = _notes(rows)
    cells = [
        [
            row.system,
            *([row.paper or "-"] if compared else []),
            percent(row.accuracy),
            percent_interval(row.interval),
            "-" if row.correct is None else f"{row.correct} of {row.labelled}",
            number(row.roc_auc),
            number(None if row.seconds_per_pair is None else 1000 * row.seconds_per_pair, 1),
            source_word(row.source),
            row.method,
            f"({notes.index(row.note) + 1})" if row.note else "",
        ]
        for row in rows
    ]
    return header, cells


def comparison_csv(rows: Sequence[ComparisonRow]) -> str:
    """A comparison table as CSV with full digits; shares in percent, `source` "real" or "SIMULATED"."""
    header = ["system", "method", "paper", "accuracy_percent", "interval_low_percent", "interval_high_percent"]
    header += ["correct", "labelled", "roc_auc", "seconds_per_pair", "source", "note"]
    cells = []
    for row in rows:
        low, high = row.interval if row.interval is not None else (None, None)
        shares = [None if v is None else 100 * v for v in (row.accuracy, low, high)]
        source = SIMULATED if row.source == "simulated" else row.source
        counts = [row.correct, row.labelled, row.roc_auc, row.seconds_per_pair]
        cells.append([row.system, row.method, row.paper, *shares, *counts, source, row.note])
    return csv_table(header, cells)


def _figure_rows(metrics: Mapping[str, Any]) -> dict[str, str]:
    """What a summary says of one method, by line; without what needs labels where no pair has one."""
    rows = {"changed": str(metrics["n_changed"]), "tau": number(metrics["tau"], 4)}
    if metrics["n_labelled"]:
        rows |= {
            "accuracy %": f"{percent(metrics['accuracy'])}  ({percent_interval(metrics['accuracy_interval_95'])})",
            "precision %": percent(metrics["precision"]),
            "recall %": percent(metrics["recall"]),
            "F1 %": percent(metrics["f1"]),
            "false alarms %": percent(metrics["false_alarm_rate"]),
            "ROC AUC": number(metrics["roc_auc"]),
            "average precision": number(metrics["average_precision"]),
        }
    if metrics["seconds"] is not None:
        rows["scoring time, s"] = number(metrics["seconds"] + (metrics["compile_seconds"] or 0.0), 1)
    return rows


def summary_table(*runs: Mapping[str, Any], names: Sequence[str] = ()) -> str:
    """The table that ends a run: what is true of the pairs, then a column for each method.

    Args:
        runs: metrics.json of each method, on the same pairs; n_pairs, n_changed, tau, source, seconds,
            compile_seconds and what `metrics.evaluate` returns are used.
        names: Name of each; needed where there are several.

    Returns:
        Aligned text; figures that need labels are left out where no pair has one.
    """
    first = runs[0]
    shared = [("data", source_word(first["source"])), ("pairs", str(first["n_pairs"]))]
    which = first.get("provenance", {}).get("pairs")
    shared[1:1] = [("which pairs", which["title"])] if which else []
    shared += [("left out", str(first["n_skipped"]))] if first.get("n_skipped") else []
    shared += [("labelled pairs", str(first["n_labelled"]))] if first["n_labelled"] else []
    columns = [_figure_rows(run) for run in runs]
    lines = [["", *names]] if len(runs) > 1 else []
    lines += [[name, *(column.get(name, "-") for column in columns)] for name in columns[0]]
    first_width = max(len(row[0]) for row in [*shared, *lines])
    widths = [max(len(line[k]) for line in lines) for k in range(1, len(runs) + 1)]
    text = [f"{name.ljust(first_width)}  {value}" for name, value in shared]
    for name, *cells in lines:
        padded = "   ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        text.append(f"{name.ljust(first_width)}  {padded}".rstrip())
    return "\n".join(text)
