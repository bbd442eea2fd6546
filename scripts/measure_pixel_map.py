"""Ranks the pixels of one pair with a known mask by change maps of several kinds: ROC AUC and average precision.

    python scripts/measure_pixel_map.py --before=T1.TIF --after=T2.TIF --mask=MASK.TIF

The mask holds 1 where the ground changed. Both dates are divided by --full_scale.
"""

import warnings
from functools import partial

import jax
import numpy as np
import rasterio
from absl import app, flags
from sklearn.metrics import average_precision_score, roc_auc_score

import planetcd_jax as pcd
from planetcd_jax.scores import rcva


def read_band(path: str) -> np.ndarray:
    """The first band of an image, [H, W]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as image:
            return image.read(1)


def maps(before: np.ndarray, after: np.ndarray) -> dict[str, np.ndarray]:
    """Change maps [H, W] by name: DCVA's default and what departs from it in one respect, and simpler methods."""
    params = pcd.load_vgg16()
    standard = pcd.PAPER.replace(patch_standardize=True)
    kinds = {
        "DCVA, three layers (default)": (pcd.PAPER, {}),
        "the same, patches standardised": (standard, {}),
        "conv3_2 alone": (pcd.PAPER, {"layers": ("conv3_2",)}),
        "three layers, all features": (pcd.PAPER, {"keep": 1.0}),
        "three layers, features standardised": (pcd.PAPER, {"scaling": "standardize"}),
    }
    found = {}
    for name, (config, options) in kinds.items():
        found[name] = jax.jit(partial(pcd.pixel_change_map, config=config, **options))(params, before, after)
    found["RCVA, 5x5"] = rcva.rcva_magnitude(before, after)
    found["absolute difference"] = np.abs(after - before)
    return {name: np.asarray(heat) for name, heat in found.items()}


def main(argv: list[str]) -> None:
    """Prints a Markdown table."""
    del argv
    dates = (flags.FLAGS.before, flags.FLAGS.after)
    before, after = (read_band(path).astype(np.float32) / np.float32(flags.FLAGS.full_scale) for path in dates)
    changed = read_band(flags.FLAGS.mask) == 1
    print(f"{changed.sum()} of {changed.size} pixels changed\n\n| map | ROC AUC | average precision |\n|---|---:|---:|")
    for name, heat in maps(before, after).items():
        figures = roc_auc_score(changed.ravel(), heat.ravel()), average_precision_score(changed.ravel(), heat.ravel())
        print(f"| {name} | {figures[0]:.3f} | {figures[1]:.3f} |")


if __name__ == "__main__":
    for flag in ("before", "after", "mask"):
        flags.DEFINE_string(flag, None, "Path of an image.", required=True)
    flags.DEFINE_float("full_scale", 255.0, "Value that becomes 1.")
    app.run(main)
