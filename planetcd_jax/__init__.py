"""Patch-level unsupervised change detection on planetary images, as one pure JAX function.

    import planetcd_jax as pcd
    params = pcd.load_vgg16()
    rho = pcd.change_score(params, before, after, pcd.PAPER)

Source: Saha & Zhu, "Patch-level unsupervised planetary change detection", IEEE Geoscience and Remote Sensing
Letters 19, 2022.
"""

from planetcd_jax import constants
from planetcd_jax.augment import patch_key, pseudo_unchanged, pseudo_unchanged_pair
from planetcd_jax.config import AUTHORS_CODE, PAPER, PRESETS, ROBUST, ChangeConfig
from planetcd_jax.detection import batch_scores, decide, detect, pair_scores
from planetcd_jax.errors import (
    BadPairError,
    ConfigError,
    DataError,
    OutputError,
    PatchError,
    PlanetCDError,
    WeightsError,
)
from planetcd_jax.extraction import extract
from planetcd_jax.pixelmap import change_mask, otsu_threshold, pixel_change_map
from planetcd_jax.score import change_score, change_scores, compare, describe
from planetcd_jax.scoremap import null_score_map, score_map
from planetcd_jax.thresholds import p_values, threshold
from planetcd_jax.types import Detection
from planetcd_jax.version import __version__
from planetcd_jax.vgg import VGG16
from planetcd_jax.weights_io import Weights, load_vgg16, load_weights

__all__ = [
    "AUTHORS_CODE",
    "PAPER",
    "PRESETS",
    "ROBUST",
    "VGG16",
    "BadPairError",
    "ChangeConfig",
    "ConfigError",
    "DataError",
    "Detection",
    "OutputError",
    "PatchError",
    "PlanetCDError",
    "Weights",
    "WeightsError",
    "__version__",
    "batch_scores",
    "change_mask",
    "change_score",
    "change_scores",
    "compare",
    "constants",
    "decide",
    "describe",
    "detect",
    "extract",
    "load_vgg16",
    "load_weights",
    "null_score_map",
    "otsu_threshold",
    "p_values",
    "pair_scores",
    "patch_key",
    "pixel_change_map",
    "pseudo_unchanged",
    "pseudo_unchanged_pair",
    "score_map",
    "threshold",
]
