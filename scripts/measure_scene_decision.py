"""How well tau decides the windows of scenes of which nothing, some or a fifth of the ground has changed.

    python -m scripts.measure_scene_decision --realdata=../shared/realdata --split=test

Prints the Markdown table of docs/decision.md. Scenes are mosaics of the Moon with a simulated second date, and Apollo
frames of two orbits. Round spots of 8, 16 and 40 px (soft and hard, dark and bright) are drawn into the second date
until the share of the ground is reached; a pixel is changed where its brightness differs by more than 3 %. A window is
changed if 16 of its pixels are, and unchanged if nothing changed in it and up to three standard deviations of the
score's coarsest blur from it, since so far a change is seen; others are not counted. tau is that of a scene, from the
null scores that count (`thresholds.counted_nulls`). Figures are of the windows of all scenes together.
"""

import itertools
import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from scipy import ndimage

import planetcd_jax as pcd
from planetcd_jax import thresholds
from planetcd_jax.scenes import null_scores
from planetcd_jax.scenes.null_scores import NullScores
from scripts.evaluation import backgrounds, insertions
from scripts.evaluation.backgrounds import Background
from scripts.evaluation.measures import best_accuracy
from scripts.evaluation.pixel_trials import draw_blob

SHARES = (0.0, 0.001, 0.01, 0.05, 0.2)
SIZES_PX = (8.0, 16.0, 40.0)
SIDE, WINDOW, STRIDE = 368, 100, 24
DRAWS = 4
"""Pseudo-unchanged draws of each scene; a draw has 144 windows."""

_CHANGED, _TOUCHED = 0.03, 0.003
_COUNTS = 16  # changed pixels from where on a window is changed


def grounds(folder: pathlib.Path, seed: int, split: str, count: int) -> list[Background]:
    """Unchanged scenes of one split, [SIDE, SIDE]: up to `count` of the Moon, and up to as many of Apollo's frames."""
    rng, moons = np.random.default_rng([seed, 2]), sorted((folder / "lunar-nac-ce4").glob("*.png"))
    made = []
    for i in range(3 * count):
        path = moons[i % len(moons)]
        row, column = rng.integers(20, 780 - SIDE, 2)
        if backgrounds.split_of(path.stem) == split:
            dates = backgrounds.second_date(rng, backgrounds.read_grey(path), row, column, SIDE)
            made.append(Background(*dates, "lunar-nac-ce4", path.stem, False))
    apollo = [g for g in backgrounds.apollo15(folder / "apollo15", SIDE) if backgrounds.split_of(g.source) == split]
    step = max(1, len(apollo) // count)
    return [*made[:count], *itertools.islice(apollo, 0, step * count, step)]


def drawn(rng: np.random.Generator, share: float) -> np.ndarray:
    """Factor [SIDE, SIDE] of changes that cover a share of the ground."""
    factor, wider = np.ones((SIDE, SIDE)), SIDE * 3 // 2
    inside = slice((wider - SIDE) // 2, (wider - SIDE) // 2 + SIDE)
    while (lack := share - (np.abs(factor - 1) > _CHANGED).mean()) > 0:
        fitting = [size for size in SIZES_PX if size**2 < 1.5 * lack * SIDE**2] or [SIZES_PX[0]]
        blob, _ = draw_blob(rng, (wider, wider), float(rng.choice(fitting)))
        factor *= blob[inside, inside]
    return factor


def labels(factor: np.ndarray, reach_px: float) -> np.ndarray:
    """For each window, [R, S]: 1 changed, 0 unchanged, -1 neither; reach_px: how far a change is seen."""
    away = ndimage.distance_transform_edt(np.abs(factor - 1) <= _TOUCHED) if (factor != 1).any() else np.inf * factor
    changed, away = (
        np.lib.stride_tricks.sliding_window_view(x, (WINDOW, WINDOW))[::STRIDE, ::STRIDE]
        for x in (np.abs(factor - 1) > _CHANGED, away)
    )
    return np.where(changed.sum(axis=(2, 3)) >= _COUNTS, 1, np.where(away.min(axis=(2, 3)) > reach_px, 0, -1))


def scored(
    config: pcd.ChangeConfig, found: list[Background], seed: int, share: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each scene: labels and rho of its windows, [R, S] each, and its null scores, [DRAWS, R, S]."""
    config = pcd.with_engine(config, "auto")
    params, options = config.backbone.prepare(pcd.load_vgg16()), {"window": WINDOW, "stride": STRIDE}
    score = jax.jit(lambda params, x, y: pcd.score_map(params, x, y, config, **options))
    null = jax.jit(lambda key, params, x, y: pcd.null_score_map(key, params, x, config, after=y, **options))
    reach = 3 * config.score.brightness.coarse_px if isinstance(config.score, pcd.Registered) else 0
    for i, ground in enumerate(found):
        factor = drawn(np.random.default_rng([seed, i, round(1000 * share)]), share)
        before, after = ground.before, insertions.insert(ground.after, factor)
        draws = [np.asarray(null(jax.random.key(k), params, before, after)) for k in range(DRAWS)]
        yield labels(factor, reach), np.asarray(score(params, before, after)), np.stack(draws)


def tau_of(config: pcd.ChangeConfig, rho: np.ndarray, null: np.ndarray) -> float:
    """tau of a scene whose windows have the scores rho, [R, S], and null scores, [DRAWS, R, S]."""
    every = np.tile(np.arange(rho.size), len(null))
    clean = null_scores.counted(NullScores(null.ravel(), np.zeros_like(every), every), rho, config.decision)
    return float(thresholds.threshold(jnp.asarray(clean.rho), config.decision))


def row(config: pcd.ChangeConfig, scenes: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> str:
    """Cells of one share: false alarms / found / accuracy at tau (best) at 5 %, and the same at 1 %."""
    cells = []
    for quantile in (0.95, 0.99):
        taken, said, best = [], [], []
        for label, rho, null in scenes:
            known = label >= 0
            taken.append(label[known])
            said.append(rho[known] > tau_of(config.replace(quantile=quantile), rho, null))
            best.append(best_accuracy(label[known], rho[known]) * known.sum())
        label, called = np.concatenate(taken), np.concatenate(said)
        alarm, hit = (f"{100 * called[label == k].mean():.1f}" if (label == k).any() else "-" for k in (0, 1))
        cells.append(f"{alarm} / {hit} / {100 * (called == label).mean():.1f} ({100 * sum(best) / len(label):.1f})")
    return " | ".join(cells)


def main(argv: list[str]) -> None:
    """Prints the table."""
    del argv
    f = flags.FLAGS
    config = pcd.PRESETS[f.preset]
    found = grounds(pathlib.Path(f.realdata), f.seed, f.split, f.count)
    families = [sum(g.family == name for g in found) for name in ("lunar-nac-ce4", "apollo15")]
    print(f"{families[0]} scenes of the Moon and {families[1]} of Apollo frames, {SIDE} px, {f.split} split:\n")
    print("| ground changed | windows unchanged, changed | nominal rate 5 % | nominal rate 1 % |\n|---|---|---|---|")
    for share in SHARES:
        scenes = list(scored(config, found, f.seed, share))
        still, moved = (sum((label == k).sum() for label, _, _ in scenes) for k in (0, 1))
        print(f"| {100 * share:g} % | {still}, {moved} | {row(config, scenes)} |", flush=True)


if __name__ == "__main__":
    flags.DEFINE_string("realdata", None, "Folder of real images.", required=True)
    flags.DEFINE_enum("split", "development", ["development", "test"], "Which sources.")
    flags.DEFINE_enum("preset", "robust", list(pcd.PRESETS), "Settings.")
    flags.DEFINE_integer("count", 8, "Scenes of each family.")
    flags.DEFINE_integer("seed", 0, "Decides every draw.")
    app.run(main)
