"""Patch-level unsupervised change detection on planetary images, as one pure JAX function.

    import planetcd_jax as pcd
    params = pcd.load_vgg16()
    rho = pcd.change_score(params, before, after, pcd.PAPER)

Source: Saha & Zhu, "Patch-level unsupervised planetary change detection", IEEE Geoscience and Remote Sensing
Letters 19, 2022.

Importing this imports nothing else: each name is fetched from its module when it is first used (PEP 562), so that
programs which only want --help, a version or an error class do not wait for JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

from planetcd_jax.version import __version__

if TYPE_CHECKING:  # the same names, for editors and type checkers; tests/test_import.py compares the two
    from planetcd_jax import constants
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
    from planetcd_jax.networks.extraction import extract
    from planetcd_jax.networks.vgg16 import VGG16
    from planetcd_jax.networks.weights_io import Weights, load_vgg16, load_weights
    from planetcd_jax.scores.augment import patch_key, pseudo_unchanged, pseudo_unchanged_pair
    from planetcd_jax.scores.dcva import change_mask, otsu_threshold, pixel_change_map
    from planetcd_jax.scores.pooled import change_score, change_scores, compare, describe
    from planetcd_jax.scores.scoremap import null_score_map, score_map
    from planetcd_jax.thresholds import p_values, threshold
    from planetcd_jax.types import Detection

_NAMES = {
    "scores.augment": (
        "patch_key",
        "pseudo_unchanged",
        "pseudo_unchanged_pair",
    ),
    "config": (
        "AUTHORS_CODE",
        "PAPER",
        "PRESETS",
        "ROBUST",
        "ChangeConfig",
    ),
    "detection": (
        "batch_scores",
        "decide",
        "detect",
        "pair_scores",
    ),
    "errors": (
        "BadPairError",
        "ConfigError",
        "DataError",
        "OutputError",
        "PatchError",
        "PlanetCDError",
        "WeightsError",
    ),
    "networks.extraction": ("extract",),
    "scores.dcva": (
        "change_mask",
        "otsu_threshold",
        "pixel_change_map",
    ),
    "scores.pooled": (
        "change_score",
        "change_scores",
        "compare",
        "describe",
    ),
    "scores.scoremap": (
        "null_score_map",
        "score_map",
    ),
    "thresholds": (
        "p_values",
        "threshold",
    ),
    "types": ("Detection",),
    "networks.vgg16": ("VGG16",),
    "networks.weights_io": (
        "Weights",
        "load_vgg16",
        "load_weights",
    ),
}
"""Public names by their module."""

_HOME = {name: module for module, names in _NAMES.items() for name in names}
_MODULES = ("constants", "networks", "scores", "version")

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


def __getattr__(name: str) -> Any:
    """A public name or module, imported now."""
    if name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    """What `dir` and completion show."""
    return sorted({*globals(), *__all__, *_MODULES})
