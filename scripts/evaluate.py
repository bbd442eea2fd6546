"""Measures how well each preset ranks and decides, on pairs whose truth is known. See docs/evaluation.md.

    python -m scripts.evaluate --realdata=../shared/realdata --output_dir=evaluation

Seeded and resumable: trials and scores are kept in the output folder, and a second start goes on where the first ended.
"""

import functools
import hashlib
import json
import pathlib
import sys
import time
from collections.abc import Sequence
from functools import partial

import jax
import numpy as np
from tqdm import tqdm

import planetcd_jax
from planetcd_jax import batch_scores, load_vgg16
from planetcd_jax.config import PRESETS, ChangeConfig
from planetcd_jax.errors import PlanetCDError
from planetcd_jax.networks.winograd import why_xla, with_engine
from scripts.evaluation import backgrounds, measures, page, sets
from scripts.evaluation.backgrounds import split_of
from scripts.evaluation.page import ONE_CLASS, SEASONS, UNCHANGED
from scripts.evaluation.trials import SIDE, Trials

BATCH = 8
CHUNK = 5
"""Batches after which scores are saved."""
DRAWS = 5
"""Draws of the null of each pair: rates at tau are averaged over them."""


def configuration(name: str) -> ChangeConfig:
    """A preset; that of the authors without its clip and on the shipped plain network, whose weights are here."""
    preset = PRESETS[name]
    return preset.replace(backbone="vgg16", feature_clip=None) if name == "authors_code" else preset


def _kept_trials(path: pathlib.Path, make) -> Trials:
    if not path.exists():
        made = make()
        partial = path.with_suffix(".partial.npz")
        np.savez_compressed(partial, **made._asdict())
        partial.rename(path)
    with np.load(path, allow_pickle=False) as file:
        return Trials(*(file[name] for name in Trials._fields))


KINDS = ("simulated", "inserted", "real change")


DEVELOPMENT_SEED = 1000
"""What the seed of simulated pairs is moved by on the development split, so that the splits share none."""


def build(
    folder: pathlib.Path,
    realdata: pathlib.Path | None,
    seed: int,
    scale: float,
    kinds: Sequence[str] = KINDS,
    *,
    split: str = "test",
    mars_bench: Sequence[str] = (),
) -> dict[str, Trials]:
    """The trials of each kind, made once and kept in the folder; of the kind inserted, those of the split."""
    per_level, count = max(2, 2 * round(6 * scale)), max(4, round(120 * scale))
    drawn = seed + (DEVELOPMENT_SEED if split == "development" else 0)
    asked = _digest(repr((seed, scale, tuple(mars_bench))).encode())
    # Read only where trials are made anew.
    published = functools.cache(
        lambda: [pair for path in mars_bench for pair in backgrounds.mars_bench(pathlib.Path(path), seed, count)]
    )
    makers = {
        "simulated": (f"simulated-{split}-{asked}", lambda: sets.simulated(drawn, per_level)),
        "inserted": (f"inserted-{asked}", lambda: sets.inserted(realdata, seed, count, published())),
        "real change": (f"real_change-{asked}", lambda: sets.real_change(realdata, published())),
    }
    if realdata is None:
        print("no --realdata: kind 1 only, all figures are SIMULATED")
        kinds = ("simulated",)
    made = {kind: _kept_trials(folder / f"{makers[kind][0]}.npz", makers[kind][1]) for kind in kinds}
    if "inserted" in made:
        made["inserted"] = of_split(made["inserted"], split)
    return made


def _program() -> str:
    """Digest of the method's code and of JAX's version: scores that other code made are not used again."""
    package = pathlib.Path(planetcd_jax.__file__).parent
    rooms = [package / room for room in ("networks", "ops", "runtime", "scores")]
    inside = [path for room in rooms for path in room.rglob("*") if path.suffix in (".py", ".cc")]
    paths = sorted([*package.glob("*.py"), *inside])
    return _digest(jax.__version__.encode(), *(path.read_bytes() for path in paths))


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()[:10]


def score(path: pathlib.Path, name: str, trials: Trials, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """rho [N] and rho_null [N, DRAWS] of every trial, from the file as far as they are there.

    Digests of the trials and of the code are put into the file's name.
    """
    made_of = _digest(trials.before.tobytes(), trials.after.tobytes(), str(seed).encode())
    path = path.with_name(f"{path.stem}-{made_of}-{_program()}.npy")
    done = np.zeros((0, 1 + DRAWS), np.float32)
    if path.exists():
        done = np.load(path)
    config = with_engine(configuration(name), "auto")
    params = config.backbone.prepare(load_vgg16())
    keys = [jax.random.key(seed + 10_000 * k) for k in range(DRAWS)]
    scorer = jax.jit(lambda key, b, a, i: batch_scores(key, params, b, a, i, config, micro_batch=4))
    total = len(trials.label)
    with tqdm(total=total, initial=len(done), desc=path.stem, unit="pair", dynamic_ncols=True) as bar:
        while len(done) < total:
            rows = []
            for start in range(len(done), min(total, len(done) + BATCH * CHUNK), BATCH):
                index = np.minimum(np.arange(start, start + BATCH), total - 1)
                pairs = trials.before[index], trials.after[index], index.astype(np.uint32)
                drawn = [scorer(key, *pairs) for key in keys]
                found = (drawn[0][0], *(null for _, null in drawn))
                rows.append(np.stack([np.asarray(x) for x in found], axis=-1)[: total - start])
                bar.update(len(rows[-1]))
            done = np.concatenate([done, *rows])
            np.save(path, done)
    return done[:, 0], done[:, 1:]


def of_split(trials: Trials, split: str) -> Trials:
    """Trials whose source belongs to a split. Apollo's overlapping patches would outnumber the rest: every third."""
    mine = np.array([split_of(str(source)) == split for source in trials.source])
    strip = trials.family == "apollo15"
    thin = np.ones(len(mine), bool)
    thin[strip] = (np.arange(strip.sum()) // 2) % 3 == 0
    return trials.take(mine & thin)


def _with_intervals(trials: Trials, rho: np.ndarray, null: np.ndarray, config: ChangeConfig) -> dict:
    """Figures, and the intervals of the chief ones."""

    def figures(index):
        return measures.figures(
            trials.label[index], rho[index], measures.taus(rho[index], null[index], config.decision), trials.size[index]
        )

    made = figures(np.arange(len(rho)))
    names, sizes = ("roc_auc", "accuracy_at_tau", "accuracy_best", "detected_at_5"), made.get("by_size", {})

    def of(index):
        found = figures(index)
        by_size = found.get("by_size", {})
        return [found.get(name, np.nan) for name in names] + [
            by_size.get(size, {}).get("detected_at_5", np.nan) for size in sizes
        ]

    spans = measures.intervals(of, trials.source)
    made["interval"] = dict(zip(names, spans, strict=False))
    for size, span in zip(sizes, spans[len(names) :], strict=True):
        made["by_size"][size]["interval"] = span
    return made


def _by_difficulty(trials: Trials, rho: np.ndarray, null: np.ndarray, config: ChangeConfig) -> dict[str, dict]:
    """Figures of each level of each difficulty, at the thresholds of the whole set."""
    made, tau = {}, measures.taus(rho, null, config.decision)
    for what in dict.fromkeys(zip(trials.difficulty.tolist(), trials.level.tolist(), strict=True)):
        keep = (trials.difficulty == what[0]) & (trials.level == what[1])
        label, scores = trials.label[keep], rho[keep]
        row = measures.figures(label, scores, tau)
        each = np.arange(len(label)).astype(str)
        spans = measures.intervals(lambda i, y=label, x=scores: [measures.auc(y[i], x[i])], each, draws=200)
        made[f"{what[0]} {what[1]:g}"] = {**row, "interval": {"roc_auc": spans[0]}}
    return made


def _called(trials: Trials, rho: np.ndarray, null: np.ndarray, config: ChangeConfig) -> dict:
    """Shares called changed at the nominal rates, with intervals, of pairs that all changed or all did not."""

    def measured(i):
        return [measures.rate_above(rho[i], tau) for tau in measures.taus(rho[i], null[i], config.decision).values()]

    names = [f"{rate:g}" for rate in measures.RATES]
    rates = dict(zip(names, measured(np.arange(len(rho))), strict=True))
    spans = dict(zip(names, measures.intervals(measured, trials.source), strict=True))
    tau = measures.taus(rho, null, config.decision)
    drawn = {name: [float((rho > t).mean()) for t in tau[rate]] for name, rate in zip(names, tau, strict=True)}
    return {"pairs": len(rho), "called": rates, "interval": spans, "by_draw": drawn}


def _parts(data: dict[str, Trials]) -> dict[str, tuple[str, np.ndarray]]:
    """What figures are told of: the kind of data and which of its trials, by title."""
    parts = {kind: (kind, np.ones(len(trials.label), bool)) for kind, trials in data.items()}
    if "real change" in data:
        parts["real change, polar scarp alone"] = "real change", data["real change"].source == "scarp"
    if "inserted" in data:
        trials = data["inserted"]
        large = (trials.label == 0) | (trials.size >= 8)
        parts["inserted, 8 px and more"] = "inserted", large
        parts["inserted into real pairs, 8 px and more"] = "inserted", trials.real & large
    return parts


def evaluate(data: dict[str, Trials], scores: dict[str, dict]) -> dict:
    """Every figure, by kind of data and preset."""

    def told(of, kind: str, keep: np.ndarray) -> dict:
        pairs = scores[kind].items()
        return {
            name: of(data[kind].take(keep), rho[keep], null[keep], configuration(name)) for name, (rho, null) in pairs
        }

    made: dict = {title: told(_with_intervals, *part) for title, part in _parts(data).items()}
    if "simulated" in data:
        made["by difficulty"] = told(_by_difficulty, "simulated", np.ones(len(data["simulated"].label), bool))
    if "inserted" in data:
        made[UNCHANGED] = told(_called, "inserted", data["inserted"].real & (data["inserted"].label == 0))
    if "real change" in data:
        made[SEASONS] = told(_called, "real change", data["real change"].source == "spider")
    return made


def _print(made: dict) -> None:
    for title, rows in made.items():
        if title == "by difficulty":
            continue
        print(f"\n{title}")
        for name, row in rows.items():
            alarms = " ".join(f"{100 * v:.1f}" for v in row.get("false_alarms", {}).values())
            if title in ONE_CLASS:
                called = " ".join(f"{100 * v:.1f}" for v in row["called"].values())
                spans = " ".join(f"[{100 * a:.1f}, {100 * b:.1f}]" for a, b in row["interval"].values())
                print(f"  {name:14s} {row['pairs']} pairs; called changed at 1, 5, 10 %: {called}  {spans}")
                continue
            low, high = row["interval"]["roc_auc"]
            print(
                f"  {name:14s} AUC {row['roc_auc']:.3f} [{low:.3f}, {high:.3f}]  AP {row['average_precision']:.3f}  "
                f"accuracy {row['accuracy_at_tau']:.3f} (best {row['accuracy_best']:.3f})  "
                f"found at 5 % {row.get('detected_at_5', float('nan')):.2f}  false alarms at 1, 5, 10 %: {alarms}"
            )


def run(
    output_dir: str,
    realdata: str | None,
    seed: int,
    presets: Sequence[str],
    split: str,
    scale: float = 1.0,
    kinds: Sequence[str] = KINDS,
    mars_bench: Sequence[str] = (),
) -> dict:
    """The whole evaluation.

    Args:
        output_dir: Folder for trials, scores, figures, curves and the page; what is there is used again.
        realdata: Folder of real images, or None for simulated pairs only.
        seed: Decides every draw.
        presets: Names of presets.
        split: "test", or "development" for choices.
        scale: Share of the full number of pairs.
        kinds: Which of `KINDS`.
        mars_bench: Folders in the Mars-Bench layout, whose pairs join the real ones.
    """
    folder = pathlib.Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    real = None if realdata is None else pathlib.Path(realdata)
    data = build(folder, real, seed, scale, kinds, split=split, mars_bench=mars_bench)
    scores: dict = {kind: {} for kind in data}
    for kind, trials in reversed(data.items()):
        for name in presets:
            path = folder / f"{kind.replace(' ', '_')}-{split}-{name}.npy"
            scores[kind][name] = score(path, name, trials, seed)
    made = evaluate(data, scores)
    (folder / f"figures-{split}.json").write_text(json.dumps(made, indent=1))
    picture = folder / f"curves-{split}.png"
    page.draw(picture, {k: (data[k], scores[k]) for k in data}, made)
    page.write(folder / f"evaluation-{split}.html", picture, made, split=split, seed=seed)
    _print(made)
    print(f"\nopen {folder / f'evaluation-{split}.html'}")
    return made


def cost(side: int = SIDE, pairs: int = 32, rounds: int = 7) -> list[str]:
    """What a pair costs under `robust` and under `paper`, in turn, by engine: medians and their ratio, as lines."""
    rng = np.random.default_rng(0)
    before, after = rng.random((2, pairs, side, side), np.float32)
    index, key, lines = np.arange(pairs, dtype=np.uint32), jax.random.key(0), []
    for name in ("xla", "winograd"):
        if name == "winograd" and why_xla(PRESETS["paper"].backbone) is not None:
            continue
        runs = {}
        for preset in ("paper", "robust"):
            config = with_engine(PRESETS[preset], name)
            scorer = jax.jit(partial(batch_scores, config=config, micro_batch=4))
            runs[preset] = partial(scorer, key, config.backbone.prepare(load_vgg16()), before, after, index)
            jax.block_until_ready(runs[preset]())
        seconds: dict[str, list[float]] = {preset: [] for preset in runs}
        for _ in range(rounds):
            for preset, run_once in runs.items():
                start = time.perf_counter()
                jax.block_until_ready(run_once())
                seconds[preset].append((time.perf_counter() - start) / pairs)
        ratios = np.divide(seconds["robust"], seconds["paper"])
        paper, robust = (1e3 * np.median(seconds[preset]) for preset in runs)
        lines.append(
            f"{name}: paper {paper:.1f} ms, robust {robust:.1f} ms for a pair of {side} px; ratio "
            f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
        )
    return lines


if __name__ == "__main__":
    from absl import app, flags

    flags.DEFINE_string("output_dir", "runs/evaluation", "Folder of trials, scores, figures and curves.")
    flags.DEFINE_string("realdata", None, "Folder of real images. Default: none, simulated pairs only.")
    flags.DEFINE_list("mars_bench", [], "Folders in the Mars-Bench layout, whose pairs join the real ones.")
    flags.DEFINE_integer("seed", 0, "Decides every draw.")
    flags.DEFINE_list("presets", ["paper", "authors_code", "robust"], "Presets to compare.")
    flags.DEFINE_enum("split", "test", ["test", "development"], "Which sources; choices are made on development.")
    flags.DEFINE_list("kinds", list(KINDS), "Kinds of data.")
    flags.DEFINE_bool("cost", False, "Only measure what a pair costs under robust and under paper.")
    flags.DEFINE_float("scale", 1.0, "Share of the full number of pairs.")

    def main(_):
        """Reads the flags and runs."""
        f = flags.FLAGS
        if f.cost:
            print("\n".join(cost()))
            return
        try:
            run(f.output_dir, f.realdata, f.seed, f.presets, f.split, f.scale, f.kinds, f.mars_bench)
        except PlanetCDError as error:
            sys.exit(f"evaluate: {error}")

    app.run(main)
