"""Measures pixel maps: where pairs are unchanged, where changes are drawn, and where a real block fell.

    python -m scripts.measure_pixel_map --realdata=../shared/realdata --split=test

Prints Markdown tables; those of docs/pixel_map.md come from it. Choices are made with --split=development.
"""

import pathlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from sklearn.metrics import average_precision_score

import planetcd_jax as pcd
from scripts.evaluation.pixel_trials import PixelTrial, scarp, trials

Look = Callable[[jax.Array, np.ndarray, np.ndarray], tuple[jax.Array, jax.Array]]


def with_otsu(key: jax.Array, before: jax.Array, after: jax.Array, **dcva: Any) -> tuple[jax.Array, jax.Array]:
    """DCVA of the dates as they lie, and Otsu's contour: the paper's figure, perhaps with other settings."""
    del key
    heat = pcd.pixel_change_map(pcd.load_vgg16(), before, after, pcd.PAPER, **dcva)
    return heat, pcd.change_mask(heat)


def of_preset(config: pcd.ChangeConfig, key: jax.Array, before: jax.Array, after: jax.Array):
    """Map and contour of a preset's score."""
    found = pcd.pixel_change(key, pcd.load_vgg16(), before, after, config)
    return found.size, found.changed


LOOKS: dict[str, Look] = {
    "robust": partial(of_preset, pcd.ROBUST),
    "paper": partial(of_preset, pcd.PAPER),
    "dcva": with_otsu,
    "dcva-conv3_2": partial(with_otsu, layers=("conv3_2",)),
    "dcva-all-features": partial(with_otsu, keep=1.0),
    "dcva-standardized": partial(with_otsu, scaling="standardize"),
    "rcva": partial(of_preset, pcd.ChangeConfig(score=pcd.Rcva())),
}


def overlap(one: np.ndarray, two: np.ndarray) -> float:
    """Intersection over union."""
    return float((one & two).sum() / max((one | two).sum(), 1))


def measured(trial: PixelTrial, heat: np.ndarray, changed: np.ndarray) -> tuple[float, ...]:
    """Whether there is any contour, overlap, average precision, share of the frame and of the change covered."""
    mask = trial.mask
    if not mask.any():
        return float(changed.any()), np.nan, np.nan, float(changed.mean()), np.nan
    precision = average_precision_score(mask.ravel(), heat.ravel())
    return (
        float((changed & mask).any()), overlap(changed, mask), precision,
        float(changed.mean()), float(changed[mask].mean()),
    )  # fmt: skip


def rows_of(look: Look, pairs: Sequence[PixelTrial], seed: int) -> np.ndarray:
    """[N, 5], what `measured` says of each pair."""
    see, made = jax.jit(look), []
    for i, trial in enumerate(pairs):
        key = jax.random.fold_in(jax.random.key(seed), i)
        made.append(measured(trial, *map(np.asarray, see(key, jnp.asarray(trial.before), jnp.asarray(trial.after)))))
    return np.array(made)


def _print_pairs(name: str, pairs: Sequence[PixelTrial], rows: np.ndarray) -> None:
    changes = np.array([trial.change for trial in pairs])
    families = np.array([trial.family for trial in pairs])
    drawn = np.isin(changes, ("impact", "streak", "boulder"))
    for family in [*dict.fromkeys(families), "all of these"]:
        own = (changes == "none") & ((families == family) | (family == "all of these"))
        print(f"| {name} | unchanged, {family} | {own.sum()} | {100 * rows[own, 0].mean():.1f} % | | |", flush=True)
    for kind in [*sorted(set(changes) - {"none"}), "impact, streak, boulder"]:
        own = changes == kind if kind in changes else drawn
        found, both, precision = rows[own, 0].mean(), np.median(rows[own, 1]), np.nanmedian(rows[own, 2])
        print(f"| {name} | {kind} | {own.sum()} | {100 * found:.0f} % | {both:.2f} | {precision:.2f} |", flush=True)


def main(argv: list[str]) -> None:
    """Prints the tables."""
    del argv
    given = flags.FLAGS
    folder = pathlib.Path(given.realdata)
    print("| map | scarp: frame covered | block covered | overlap | average precision |\n|---|---|---|---|---|")
    for name in given.maps:
        _, both, precision, frame, block = rows_of(LOOKS[name], [scarp(folder)], given.seed)[0]
        print(f"| {name} | {100 * frame:.2f} % | {100 * block:.0f} % | {both:.2f} | {precision:.3f} |", flush=True)
    pairs = list(trials(folder, given.seed, given.terrain, given.split))
    print(
        "\n| map | pairs | number | with a contour | overlap, median | average precision, median |\n" + "|---" * 6 + "|"
    )
    for name in given.maps:
        _print_pairs(name, pairs, rows_of(LOOKS[name], pairs, given.seed))


if __name__ == "__main__":
    flags.DEFINE_string("realdata", None, "Folder of real images.", required=True)
    flags.DEFINE_enum("split", "test", ["test", "development"], "Which sources.")
    flags.DEFINE_list("maps", ["robust", "paper", "dcva"], "Which maps.")
    flags.DEFINE_integer("terrain", 120, "Terrain images with a simulated second date.")
    flags.DEFINE_integer("seed", 0, "Decides every draw.")
    app.run(main)
