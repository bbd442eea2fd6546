"""Runs what README.md and docs/ show and puts figures, tables and pictures back into them.

    python scripts/regenerate_readme.py                      # simulated sets, where there are no real data
    python scripts/regenerate_readme.py --hirise_dir=... --ctx_dir=... --lroc_dir=...

Each block between `<!-- begin NAME -->` and `<!-- end NAME -->` is replaced by what its run printed or
wrote, as soon as it has ended; with --work_dir, trainings that were cut off go on. Every run is seeded. The supervised
networks are small on a CPU; the tables say how small.
"""

import contextlib
import csv
import itertools
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from absl import app, flags

from scripts.evaluation.page import ONE_CLASS

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
README, EVALUATION = ROOT / "README.md", DOCS / "evaluation.md"

# Rows of the evaluation's first table that the README repeats, for the presets `paper` and `robust`.
SHORT = (
    "real, changes of 8 px and more drawn into half",
    "real change: polar scarp, Planet Four",
    "real change: polar scarp alone",
    "unchanged real pairs",
)
SETS = ("hirise_rsl", "ctx", "lroc")

# Another draw of the simulated sets than seed 0, on which the settings of the small supervised training were tried.
TABLE_SEED = 1


def program(*arguments: str) -> str:
    """What the program prints with these arguments; its progress goes to this terminal."""
    command = [sys.executable, "-m", "planetcd_jax.main", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def replaced(text: str, name: str, block: str) -> str:
    """A document with the block of that name replaced.

    Raises:
        ValueError: if it has no such block.
    """
    pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the document has no block <!-- begin {name} --> ... <!-- end {name} -->; add it.")
    return pattern.sub(lambda found: found[1] + block.strip("\n") + "\n" + found[2], text)


def put(document: pathlib.Path, **blocks: str) -> None:
    """Puts blocks by name (with _ for -) into README.md or EVALUATION."""
    text = document.read_text(encoding="utf-8")
    for name, block in blocks.items():
        text = replaced(text, name if name.startswith("table-") else name.replace("_", "-"), block)
    document.write_text(text, encoding="utf-8")


def first_picture(folder: pathlib.Path) -> pathlib.Path:
    """Picture of the highest-ranked pair, which the README shows: it must be a correct finding.

    Raises:
        ValueError: if that pair is not labelled changed, or not drawn.
    """
    with open(folder / "results.csv", newline="") as file:
        first = next(csv.DictReader(file))
    pictures = list((folder / "figures").glob("01_*.png"))
    if first["label"] != "1" or first["changed"] != "1" or not pictures:
        raise ValueError(f"{folder}: the highest-ranked pair {first['id']} is no correct finding, or is not drawn.")
    return pictures[0]


def first_run(work: pathlib.Path, options: list[str]) -> None:
    """Puts the printed output and the picture of the first command into the README."""
    output = work / "ctx"
    printed = program("--dataset=ctx", f"--output_dir={output}", "--overwrite", *options)
    shutil.copy(first_picture(output), DOCS / "pair.png")
    shutil.copy(output / "histogram.png", DOCS / "histogram.png")
    # As it reads without --output_dir.
    printed = printed.replace(f"results in {output}", f"results in {output}  (also runs/latest)")
    printed = printed.replace(str(output), "runs/ctx-<time>").strip("\n")
    put(README, first_run=f"```\n{printed}\n```")


def tables(work: pathlib.Path, folders: dict[str, list[str]]) -> None:
    """Puts the comparison of all systems on each data set into the evaluation."""
    for name in SETS:
        output = work / f"{name}-all"
        # One folder of checkpoints: the supervised systems are trained once and used on all three sets.
        program(
            f"--dataset={name}", "--method=all", "--figures=0", f"--seed={TABLE_SEED}", *folders[name],
            f"--output_dir={output}", "--overwrite", f"--checkpoint_dir={work / 'checkpoints'}",
        )  # fmt: skip
        put(EVALUATION, **{f"table-{name}": (output / "comparison.md").read_text(encoding="utf-8")})
        shutil.copy(output / "comparison.csv", DOCS / f"comparison_{name}.csv")
        curves = output / "methods" / "inception_absolute" / "curves.png"
        if name == "hirise_rsl" and curves.is_file():
            shutil.copy(curves, DOCS / "curves.png")


def _evaluation_rows(made: dict) -> list[str]:
    """The chief figures of an evaluation as a Markdown table."""
    lines = [
        "| pairs of the test split | preset | ROC AUC | average precision | accuracy at tau (best) | found at 5 % | "
        "false alarms at 1, 5, 10 % |",
        "|---|---|---|---|---|---|---|",
    ]
    sets = {
        "real, changes of 8 px and more drawn into half": "inserted, 8 px and more",
        "the same, both dates real images": "inserted into real pairs, 8 px and more",
        "real, all sizes from 4 px": "inserted",
        "one difficulty at a time, SIMULATED": "simulated",
        "real change: polar scarp, Planet Four": "real change",
        "real change: polar scarp alone": "real change, polar scarp alone",
    }
    for title, key in sets.items():
        for name, row in made[key].items():
            low, high = row["interval"]["roc_auc"]
            alarms = ", ".join(f"{100 * v:.1f}" for v in row["false_alarms"].values())
            lines.append(
                f"| {title} ({row['pairs']}) | {name} | {row['roc_auc']:.3f} ({low:.3f} to {high:.3f}) | "
                f"{row['average_precision']:.3f} | {100 * row['accuracy_at_tau']:.1f} % "
                f"({100 * row['accuracy_best']:.1f} %) | {100 * row['detected_at_5']:.0f} % | {alarms} |"
            )
    for title, what in ONE_CLASS.items():
        for name, row in made[title].items():
            spans = row["interval"].values()
            rates = ", ".join(
                f"{100 * v:.1f} ({100 * a:.1f} to {100 * b:.1f})"
                for v, (a, b) in zip(row["called"].values(), spans, strict=True)
            )
            lines.append(f"| {title} ({row['pairs']}), {what} | {name} | | | | | {rates} |")
    return lines


def short_results() -> None:
    """Puts the rows of `SHORT` out of the evaluation into the README, so that figures stand in one place."""
    lines = EVALUATION.read_text(encoding="utf-8").partition("<!-- begin robust-figures -->\n")[2].splitlines()
    kept = [
        "| pairs of the test split | preset | ROC AUC | found at 5 % | false alarms for 5 %, % |",
        "|---|---|---|---|---|",
    ]
    for line in itertools.takewhile(lambda line: line.startswith("|"), lines[2:]):
        title, preset, auc, _, _, found, alarms = (cell.strip() for cell in line.strip("|").split("|"))
        if title.startswith(SHORT) and preset in ("paper", "robust"):
            alarm = alarms.split(", ")[1].split(" (")[0]
            kept.append(f"| {title} | {preset} | {auc} | {found} | {alarm} |")
    put(README, short_results="\n".join(kept))


def robust(work: pathlib.Path, realdata: str) -> None:
    """The figures of the presets on the test split, and what each part of `robust` is worth."""
    folder = work / "evaluation"
    common = [f"--realdata={realdata}", f"--output_dir={folder}"]
    subprocess.run([sys.executable, "-m", "scripts.evaluate", *common], cwd=ROOT, check=True)
    made = json.loads((folder / "figures-test.json").read_text())
    if not (folder / "ablation.md").exists():
        subprocess.run([sys.executable, "-m", "scripts.ablate", *common], cwd=ROOT, check=True)
    ablation = (folder / "ablation.md").read_text(encoding="utf-8")
    put(EVALUATION, robust_figures="\n".join(_evaluation_rows(made)), robust_ablation=ablation)
    short_results()
    shutil.copyfile(folder / "curves-test.png", DOCS / "evaluation.png")


def main(argv: list[str]) -> None:
    """Replaces all blocks, or those that --only names."""
    del argv
    started = time.perf_counter()
    given = {"hirise_rsl": flags.FLAGS.hirise_dir, "ctx": flags.FLAGS.ctx_dir, "lroc": flags.FLAGS.lroc_dir}
    folders = {}
    for name in SETS:
        folders[name] = [f"--data_dir={given[name]}"] if given[name] else ["--source=simulated"]
        if given["hirise_rsl"] and name != "hirise_rsl":
            folders[name].append(f"--train_data_dir={given['hirise_rsl']}")
    DOCS.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(flags.FLAGS.work_dir or stack.enter_context(tempfile.TemporaryDirectory()))
        if "first-run" in flags.FLAGS.only:
            first_run(work, [f"--data_dir={given['ctx']}"] if given["ctx"] else [])
        if "tables" in flags.FLAGS.only:
            tables(work, folders)
        if "short" in flags.FLAGS.only:
            short_results()
        if "robust" in flags.FLAGS.only:
            if flags.FLAGS.realdata is None:
                raise app.UsageError("--only=robust needs --realdata, the folder of real images; see docs/diary.md.")
            robust(work, flags.FLAGS.realdata)
    print(f"README.md and docs/ made anew in {(time.perf_counter() - started) / 60:.1f} minutes")


if __name__ == "__main__":
    for flag in ("hirise_dir", "ctx_dir", "lroc_dir"):
        flags.DEFINE_string(flag, None, "Folder of the real data set. Default: the simulated one.")
    flags.DEFINE_multi_enum(
        "only", ["first-run", "tables"], ["first-run", "tables", "robust", "short"], "Blocks to replace."
    )
    flags.DEFINE_string("realdata", None, "Folder of real images, for the block robust. Default: none.")
    flags.DEFINE_string("work_dir", None, "Folder for the runs, kept. Default: a temporary one.")
    app.run(main)
