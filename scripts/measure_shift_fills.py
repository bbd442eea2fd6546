"""Compares the ways to fill what a shift brings in with true context, on the images of a folder.

    python scripts/measure_shift_fills.py --images=FOLDER --limit=200

From the middle of each image a patch is cut, with `max_shift` true pixels around it. The null scores of each fill are
set beside those with true context, same draws: a fill is good if its scores follow those with context.
"""

import pathlib
from functools import partial

import jax
import numpy as np
import rasterio
import scipy.stats
from absl import app, flags

import planetcd_jax as pcd
from planetcd_jax.scores.null import SHIFT_FILLS


def read_centres(folder: pathlib.Path, side: int, limit: int) -> np.ndarray:
    """Middle [N, side, side] float32 in [0, 1] of each 8-bit image of a folder that is large enough, by name."""
    centres = []
    for path in sorted(folder.rglob("*.[jp][pn]g"))[:limit]:
        with rasterio.open(path) as image:
            grey = image.read(1)
        row, column = (grey.shape[0] - side) // 2, (grey.shape[1] - side) // 2
        if min(row, column) >= 0 and grey.std() > 0:
            centres.append(grey[row : row + side, column : column + side].astype(np.float32) / 255)
    return np.stack(centres)


def run(folder: pathlib.Path, side: int, limit: int, config: pcd.ChangeConfig) -> str:
    """A Markdown table: for each fill, tau, median, and rank correlation with the scores of true context."""
    m = config.score.null.max_shift
    large = read_centres(folder, side + 2 * m, limit)
    before = large[:, m:-m, m:-m]
    params, key = pcd.load_vgg16(), jax.random.key(0)
    null = {}
    for fill in ("context", *SHIFT_FILLS):
        cfg = config.replace(shift_fill="reflect" if fill == "context" else fill)
        context = large if fill == "context" else None
        detect = jax.jit(partial(pcd.detect, config=cfg, micro_batch=4))
        null[fill] = np.asarray(detect(key, params, before, before, context=context).rho_null)
    lines = ["| fill | tau | median | rank correlation with context |", "|---|---:|---:|---:|"]
    for fill, scores in null.items():
        tau = float(pcd.threshold(scores, config.decision))
        correlation = scipy.stats.spearmanr(scores, null["context"]).statistic
        lines.append(f"| {fill} | {tau:.4g} | {np.median(scores):.4g} | {correlation:.3f} |")
    noise = config.score.null.noise_sigma
    return "\n".join([f"{len(before)} patches of {side}x{side} px, {config.backbone.layer}, noise {noise}", *lines])


def main(argv: list[str]) -> None:
    """Prints the table for each preset-like configuration."""
    del argv
    standardized = pcd.PAPER.replace(patch_standardize=True, feature_standardize=True, reduction="mean")
    for config in (pcd.PAPER, standardized):
        config = config.replace(noise_sigma=flags.FLAGS.noise_sigma)
        print(run(pathlib.Path(flags.FLAGS.images), flags.FLAGS.side, flags.FLAGS.limit, config), "\n")


if __name__ == "__main__":
    flags.DEFINE_string("images", None, "Folder with 8-bit PNG or JPEG images.", required=True)
    flags.DEFINE_integer("side", 100, "Side of a patch, pixels.")
    flags.DEFINE_integer("limit", 200, "Images to use at most.")
    flags.DEFINE_float("noise_sigma", 0.0, "Noise, images in [0, 1]; 0 shows the shift alone.")
    app.run(main)
