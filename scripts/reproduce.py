"""Runs the paper's Tables I and II and its LROC set on the real pairs that are there, and writes docs/reproduction.md.

    python -m scripts.reproduce                                        # Mars-Bench from the hub, weights from the hub
    python -m scripts.reproduce --hirise_dir=... --ctx_dir=... --lroc_dir=...     # your copies, of any layout

A data set that is neither named nor on a hub that answers is replaced by simulated pairs, written as the hub stores a
set; the page then says SIMULATED. The page sets the paper's figure beside ours only where the pairs are the paper's.
AUTHORS_CODE runs with weights of vgg16_bn, decided by its own tau and by the literal threshold of the authors' script.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags

from planetcd_jax.baselines import METHODS
from planetcd_jax.constants import AUTHORS_TAU
from planetcd_jax.errors import DataError, WeightsError
from planetcd_jax.networks.weights_io import load_weights
from planetcd_jax.pairs import DATASETS, open_dataset
from planetcd_jax.pairs.published import is_papers, published_count
from planetcd_jax.report import metrics, results, table
from planetcd_jax.version import __version__
from scripts import stand_ins

ROOT = pathlib.Path(__file__).resolve().parents[1]
AUTHORS_WEIGHTS = "hf:timm/vgg16_bn.tv_in1k"

RUNS = (("hirise_rsl", "test"), ("ctx", "test"), ("ctx", "all"), ("lroc", None))
"""Data sets and splits; all 56 CTX pairs of Mars-Bench too, since its test split has 10."""


class Source(NamedTuple):
    """Where the pairs of one run come from.

    Attributes:
        dataset, split: As on the command line; split None is the default.
        options: Flags that name the data.
        why: Why the pairs are simulated; "" where they are real.
    """

    dataset: str
    split: str | None
    options: tuple[str, ...]
    why: str = ""


class Row(NamedTuple):
    """One system on one set: its title, what the paper prints for the paper's pairs, and the figures of our run."""

    title: str
    paper: str | None
    made: dict[str, Any]


def find_source(dataset: str, split: str | None, folder: str | None, work: pathlib.Path) -> Source:
    """The real pairs that are there, or stand-ins made in the folder `work`.

    Raises:
        DataError: if a folder was named and cannot be read.
    """
    chosen = (f"--split={split}",) if split else ()
    try:
        options = {"data_dir": folder, "source": "real", "split": split}
        open_dataset(dataset, **options).close()
    except DataError as err:
        if folder is not None:
            raise
        made = _stand_in(dataset, work)
        return Source(dataset, split, (f"--data_dir={made}", *chosen), str(err))
    return Source(dataset, split, ((f"--data_dir={folder}",) if folder else ()) + ("--source=real", *chosen))


def run(source: Source, output: pathlib.Path, *extra: str) -> dict[str, Any]:
    """Runs the program and returns its metrics.json.

    Raises:
        RuntimeError: with the program's own line, if it ends with an error.
    """
    command = [sys.executable, "-m", "planetcd_jax.main", f"--dataset={source.dataset}", *source.options, *extra]
    command += [] if any(flag.startswith("--preset=") for flag in extra) else ["--preset=paper"]
    command += ["--figures=0", "--page_pairs=0", "--explain=0", f"--output_dir={output}", "--overwrite"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads((output / "metrics.json").read_text(encoding="utf-8"))


def table_rows(source: Source, names: list[str], work: pathlib.Path) -> list[Row]:
    """A row for each method."""
    rows = []
    for name in names:
        output = work / f"{source.dataset}-{source.split or 'test'}-{name}"
        print(f"{output.name} ...", flush=True)
        made = run(source, output, f"--method={name}", *_training(source, name, work))
        rows.append(Row(METHODS[name].title, METHODS[name].paper_figure(source.dataset), made))
    return rows


def _training(source: Source, name: str, work: pathlib.Path) -> list[str]:
    """Flags of a supervised method: where training goes on after a stop, and stand-ins to train on beside stand-ins."""
    if METHODS[name].kind != "supervised":
        return []
    flags_ = [f"--checkpoint_dir={work / 'checkpoints'}"]
    return [*flags_, f"--train_data_dir={_stand_in('hirise_rsl', work)}"] if source.why else flags_


def _stand_in(dataset: str, work: pathlib.Path) -> pathlib.Path:
    return stand_ins.write(dataset, work / f"stand-in-{dataset}")


def authors_rows(source: Source, weights: str, work: pathlib.Path) -> list[Row]:
    """AUTHORS_CODE with the self-supervised tau, and with the threshold that the script has in its text."""
    output = work / f"{source.dataset}-{source.split or 'test'}-authors_code"
    print(f"{output.name} ...", flush=True)
    made = run(source, output, "--preset=authors_code", f"--weights={weights}")
    scores, _ = results.load_scores(output / "rho.npz")
    changed = np.asarray(scores.rho) > AUTHORS_TAU
    literal = {**made, **metrics.evaluate(scores.labels, scores.rho, changed), "tau": AUTHORS_TAU}
    return [Row("Authors' code, self-supervised tau", None, made), Row("Authors' code, literal tau", None, literal)]


def why_no_weights(weights: str) -> str:
    """Why the authors' code cannot run; "" where its weights are there."""
    try:
        load_weights(weights)
    except WeightsError as err:
        return f"The authors' code was not run: {err}"
    return ""


def same_pairs(made: dict[str, Any]) -> bool:
    """Whether a run was of the pairs that the paper's figures are of."""
    return made["source"] == "real" and is_papers(made["provenance"]) and not made["n_skipped"]


def section(source: Source, rows: list[Row]) -> str:
    """The part of the page for one run."""
    first = rows[0].made
    compared = same_pairs(first)
    lines = [f"## {DATASETS[source.dataset].title}: {first['provenance']['pairs']['title']}", ""]
    if source.why:
        lines += [f"**SIMULATED** pairs in the hub's layout, no figure of the method on real data: {source.why}", ""]
    elif not compared:
        lines += ["The pairs are not the paper's, so its figures are not set beside these; they stand below.", ""]
    header = ["system", *(["paper"] if compared else []), "accuracy %", "95 % interval", "correct", "tau", "ROC AUC"]
    lines += [table.markdown_table(header, [_cells(row, compared) for row in rows]), ""]
    return "\n".join(lines)


def _cells(row: Row, compared: bool) -> list[str]:
    made, counts = row.made, row.made["confusion"]
    correct = f"{counts['true_positive'] + counts['true_negative']} of {made['n_labelled']}" if counts else "-"
    paper = [row.paper or "-"] if compared else []
    interval = table.percent_interval(made["accuracy_interval_95"])
    figures = [table.number(made["tau"], 4), table.number(made["roc_auc"])]
    return [row.title, *paper, table.percent(made["accuracy"]), interval, correct, *figures]


def papers_figures() -> str:
    """What the paper prints, with the pairs that it is of."""
    names = ("hirise_rsl", "ctx", "lroc")
    header = ["system", *(f"{name}, {published_count(DATASETS[name], 'paper', None)} pairs" for name in names)]
    rows = [[m.title, *(m.paper_figure(name) or "-" for name in names)] for m in METHODS.values()]
    text = "Saha & Zhu, Tables I and II and section IV-C; of the paper's own pairs."
    return f"## What the paper prints\n\n{text}\n\n{table.markdown_table(header, rows)}\n"


def page(parts: list[str], command: str) -> str:
    """The whole page."""
    simulated = any("**SIMULATED**" in part for part in parts)
    state = "Some or all of it is SIMULATED: see each heading." if simulated else "All of it is of real pairs."
    head = (
        f"# Reproduction of the paper's tables\n\nMade by `{command}`, planetcd_jax {__version__}. {state} Run it on a "
        "machine with a network, or with folders of the pairs, to replace this page.\n"
    )
    return "\n".join([head, *parts, papers_figures()])


def method_names(text: str) -> list[str]:
    """Names out of --methods: all, unsupervised, or a list."""
    kinds = {"all": list(METHODS), "unsupervised": [n for n, m in METHODS.items() if m.kind == "unsupervised"]}
    return kinds.get(text) or [name.strip() for name in text.split(",")]


def reproduce(folders: dict[str, str | None], names: list[str], weights: str, work: pathlib.Path) -> list[str]:
    """The sections of the page."""
    parts, note = [], why_no_weights(weights)
    for dataset, split in RUNS:
        source = find_source(dataset, split, folders[dataset], work)
        rows = table_rows(source, names, work)
        if not note:
            rows += authors_rows(source, weights, work)
        parts.append(section(source, rows))
    return [*parts, f"{note}\n"] if note else parts


def main(argv: list[str]) -> None:
    """Runs everything and writes the page."""
    del argv
    given = flags.FLAGS
    folders = {"hirise_rsl": given.hirise_dir, "ctx": given.ctx_dir, "lroc": given.lroc_dir}
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(given.work_dir or temporary)
        parts = reproduce(folders, method_names(given.methods), given.authors_weights, work)
    output = pathlib.Path(given.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page(parts, f"python -m scripts.reproduce --methods={given.methods}"), encoding="utf-8")
    print(output)


if __name__ == "__main__":
    for flag in ("hirise_dir", "ctx_dir", "lroc_dir"):
        flags.DEFINE_string(flag, None, "Folder or archive of the real pairs. Default: the hub, else stand-ins.")
    flags.DEFINE_string("methods", "all", "all, unsupervised, or names separated by commas.")
    flags.DEFINE_string("authors_weights", AUTHORS_WEIGHTS, "Weights of vgg16_bn, as planetcd's --weights.")
    flags.DEFINE_string("output", str(ROOT / "docs" / "reproduction.md"), "The page to write.")
    flags.DEFINE_string("work_dir", None, "Folder for the runs, kept. Default: a temporary one.")
    app.run(main)
