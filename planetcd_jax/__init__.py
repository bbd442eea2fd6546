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
    from planetcd_jax.detection import (
        batch_scores,
        change_score,
        change_scores,
        decide,
        detect,
        extract,
        pair_scores,
        pixel_change,
        pixel_change_map,
    )
    from planetcd_jax.errors import (
        BadPairError,
        ConfigError,
        DataError,
        OutputError,
        PatchError,
        PlanetCDError,
        WeightsError,
    )
    from planetcd_jax.networks.backbone import Backbone
    from planetcd_jax.networks.custom import Custom
    from planetcd_jax.networks.vgg16 import VGG16, Vgg16, Vgg16Bn
    from planetcd_jax.networks.weights_io import Weights, load_vgg16, load_weights
    from planetcd_jax.networks.winograd import with_engine
    from planetcd_jax.scoremap import null_score_map, score_layers, score_map
    from planetcd_jax.scores.base import Score
    from planetcd_jax.scores.dcva import Dcva, change_mask, otsu_threshold
    from planetcd_jax.scores.null import NoiseAndShift, OwnNull, patch_key, pseudo_unchanged
    from planetcd_jax.scores.pixel_level import PixelChange
    from planetcd_jax.scores.pooled import Pooled
    from planetcd_jax.scores.rcva import Rcva
    from planetcd_jax.scores.registered.score import Registered
    from planetcd_jax.thresholds import Decision, p_values, threshold
    from planetcd_jax.types import Detection

_NAMES = {
    "config": (
        "AUTHORS_CODE",
        "PAPER",
        "PRESETS",
        "ROBUST",
        "ChangeConfig",
    ),
    "detection": (
        "batch_scores",
        "change_score",
        "change_scores",
        "decide",
        "detect",
        "extract",
        "pair_scores",
        "pixel_change",
        "pixel_change_map",
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
    "networks.backbone": ("Backbone",),
    "networks.custom": ("Custom",),
    "networks.vgg16": (
        "VGG16",
        "Vgg16",
        "Vgg16Bn",
    ),
    "networks.weights_io": (
        "Weights",
        "load_vgg16",
        "load_weights",
    ),
    "networks.winograd": ("with_engine",),
    "scoremap": (
        "null_score_map",
        "score_layers",
        "score_map",
    ),
    "scores.base": ("Score",),
    "scores.dcva": (
        "Dcva",
        "change_mask",
        "otsu_threshold",
    ),
    "scores.null": (
        "NoiseAndShift",
        "OwnNull",
        "patch_key",
        "pseudo_unchanged",
    ),
    "scores.pixel_level": ("PixelChange",),
    "scores.pooled": ("Pooled",),
    "scores.rcva": ("Rcva",),
    "scores.registered.score": ("Registered",),
    "thresholds": (
        "Decision",
        "p_values",
        "threshold",
    ),
    "types": ("Detection",),
}
"""Public names by their module."""

_HOME = {name: module for module, names in _NAMES.items() for name in names}
_MODULES = ("constants", "explain", "networks", "records", "scoremap", "scores", "version")

__all__ = [
    "AUTHORS_CODE",
    "PAPER",
    "PRESETS",
    "ROBUST",
    "VGG16",
    "Backbone",
    "BadPairError",
    "ChangeConfig",
    "ConfigError",
    "Custom",
    "DataError",
    "Dcva",
    "Decision",
    "Detection",
    "NoiseAndShift",
    "OutputError",
    "OwnNull",
    "PatchError",
    "PixelChange",
    "PlanetCDError",
    "Pooled",
    "Rcva",
    "Registered",
    "Score",
    "Vgg16",
    "Vgg16Bn",
    "Weights",
    "WeightsError",
    "__version__",
    "batch_scores",
    "change_mask",
    "change_score",
    "change_scores",
    "constants",
    "decide",
    "detect",
    "extract",
    "load_vgg16",
    "load_weights",
    "null_score_map",
    "otsu_threshold",
    "p_values",
    "pair_scores",
    "patch_key",
    "pixel_change",
    "pixel_change_map",
    "pseudo_unchanged",
    "score_layers",
    "score_map",
    "threshold",
    "with_engine",
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
