"""How well tau decides the windows of scenes of which nothing, some or a fifth of the ground has changed.

    python -m scripts.measure_scene_decision --realdata=../shared/realdata --split=test

Prints the Markdown table of docs/decision.md. Scenes are mosaics of the Moon with a simulated second date, and Apollo
frames of two orbits. Round spots of 8, 16 and 40 px (soft and hard, dark and bright) are drawn into the second date
until the share of the ground is reached; a pixel is changed where its brightness differs by more than 3 %. A window is
changed if 16 of its pixels are, unchanged if none is; others are not counted. tau is that of a scene: all windows of
pseudo-unchanged draws of it count.
"""

import itertools
import pathlib
import warnings
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import planetcd_jax as pcd
from scripts.evaluation import backgrounds, insertions
from scripts.evaluation.backgrounds import Background
from scripts.evaluation.measures import best_accuracy
from scripts.evaluation.pixel_trials import draw_blob

SHARES = (0.0, 0.001, 0.01, 0.05, 0.2)
SIZES_PX = (8.0, 16.0, 40.0)
SIDE, WINDOW, STRIDE = 368, 100, 24
DRAWS = 4
"""Pseudo-unchanged draws of each scene; a draw has 144 windows."""

_CHANGED = 0.03
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


def changed_pixels(factor: np.ndarray) -> np.ndarray:
    """Changed pixels of each window, [R, S]."""
    cut = np.lib.stride_tricks.sliding_window_view(np.abs(factor - 1) > _CHANGED, (WINDOW, WINDOW))
    return cut[::STRIDE, ::STRIDE].sum(axis=(2, 3))


def scored(
    config: pcd.ChangeConfig, found: list[Background], seed: int, share: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each scene: changed pixels and rho of its windows, [R, S] each, and its null scores, [N]."""
    config = pcd.with_engine(config, "auto")
    params, options = config.backbone.prepare(pcd.load_vgg16()), {"window": WINDOW, "stride": STRIDE}
    score = jax.jit(lambda params, x, y: pcd.score_map(params, x, y, config, **options))
    null = jax.jit(lambda key, params, x, y: pcd.null_score_map(key, params, x, config, after=y, **options))
    for i, ground in enumerate(found):
        factor = drawn(np.random.default_rng([seed, i, round(1000 * share)]), share)
        before, after = ground.before, insertions.insert(ground.after, factor)
        draws = [np.asarray(null(jax.random.key(k), params, before, after)).ravel() for k in range(DRAWS)]
        yield changed_pixels(factor), np.asarray(score(params, before, after)), np.concatenate(draws)


def row(config: pcd.ChangeConfig, scenes: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> str:
    """Cells of one share: false alarms / found / accuracy (best) at 5 %, and the same at 1 %; means over scenes."""
    cells = []
    for quantile in (0.95, 0.99):
        made = []
        for pixels, rho, null in scenes:
            tau = float(pcd.threshold(jnp.asarray(null), config.replace(quantile=quantile).decision))
            still, moved = rho[pixels == 0], rho[pixels >= _COUNTS]
            label, values = np.repeat([0, 1], [still.size, moved.size]), np.concatenate([still, moved])
            shares = [(part > tau).mean() if part.size else np.nan for part in (still, moved)]
            made.append((*shares, ((values > tau) == label).mean(), best_accuracy(label, values)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # no window of a share is changed, or none unchanged
            alarm, hit, right, best = 100 * np.nanmean(made, axis=0)
        cells.append(f"{alarm:.1f} / {'-' if np.isnan(hit) else f'{hit:.0f}'} / {right:.1f} ({best:.1f})")
    return " | ".join(cells)


def main(argv: list[str]) -> None:
    """Prints the table."""
    del argv
    f = flags.FLAGS
    config = pcd.PRESETS[f.preset]
    found = grounds(pathlib.Path(f.realdata), f.seed, f.split, f.count)
    families = [sum(g.family == name for g in found) for name in ("lunar-nac-ce4", "apollo15")]
    print(f"{families[0]} scenes of the Moon and {families[1]} of Apollo frames, {SIDE} px, {f.split} split:\n")
    print("| ground changed | nominal rate 5 % | nominal rate 1 % |\n|---|---|---|")
    for share in SHARES:
        print(f"| {100 * share:g} % | {row(config, list(scored(config, found, f.seed, share)))} |", flush=True)


if __name__ == "__main__":
    flags.DEFINE_string("realdata", None, "Folder of real images.", required=True)
    flags.DEFINE_enum("split", "development", ["development", "test"], "Which sources.")
    flags.DEFINE_enum("preset", "robust", list(pcd.PRESETS), "Settings.")
    flags.DEFINE_integer("count", 8, "Scenes of each family.")
    flags.DEFINE_integer("seed", 0, "Decides every draw.")
    app.run(main)
