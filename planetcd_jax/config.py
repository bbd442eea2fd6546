"""The settings of the method as one frozen, validated dataclass, and its named presets."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from planetcd_jax import constants
from planetcd_jax.errors import ConfigError

BACKBONES = ("vgg16", "vgg16_bn", "custom")
ACTIVATIONS = ("pre", "post")
POOLINGS = ("max", "mean")
REDUCTIONS = ("sum", "mean")
SHIFT_FILLS = ("reflect", "edge", "crop", "wrap", "zero")
PRECISIONS = ("float32", "tf32", "bfloat16")
COMPARISONS = ("pooled", "registered")

# Convolutions of VGG-16 (Simonyan & Zisserman 2014, table 1, column D), in order.
VGG16_LAYERS = tuple(f"conv{block}_{i}" for block, n in enumerate((2, 2, 3, 3, 3), start=1) for i in range(1, n + 1))


def _check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}; choose one of {', '.join(choices)}.")


def _check_triple(name: str, value: Any, *, positive: bool = False) -> None:
    ok = isinstance(value, tuple) and len(value) == 3 and all(isinstance(v, int | float) for v in value)
    if not ok or (positive and min(value) <= 0):
        sort = "three positive numbers" if positive else "three numbers"
        raise ConfigError(f"{name} is {value!r}; give a tuple of {sort}, one for each input channel.")


@dataclasses.dataclass(frozen=True)
class ChangeConfig:
    """Everything that decides a change score and its threshold, apart from the weights and the key.

    Hashable, so it can be a static argument of `jax.jit`. Change a field with `dataclasses.replace`.

    Attributes:
        backbone: "vgg16", "vgg16_bn" (batch normalisation with the statistics of each image, as the authors' script
            runs it), or "custom" (the caller passes `apply`; `layer` then names one of its activations).
        layer: Convolution at which the network is cut, "conv1_1" to "conv5_3". Paper: the sixth, "conv3_2".
        activation: "pre" or "post" the ReLU that follows the layer. Not stated in the paper; the authors' script
            cuts before it. With "vgg16_bn", "pre" is also before the batch normalisation.
        input_mean, input_std: Network input is (x - mean) / std in each of three channels, x in [0, 1].
        patch_standardize: Bring each patch to zero mean and unit standard deviation first; the result takes the place
            of the input normalisation. Makes the score blind to gain and offset of a patch.
        feature_clip: None, or the bound at which features are clipped to [-bound, bound].
        feature_standardize: Bring each feature channel of a patch to zero spatial mean and unit spatial standard
            deviation before pooling.
        pooling: "max" or "mean" over all positions.
        reduction: "sum" (paper: L1 norm) or "mean" (authors' script) of the absolute differences over D.
        bands: None, or three band indices to use as R, G, B of a patch with more bands. With None and a band count
            other than 1 and 3, each band is scored by itself and the scores are averaged.
        noise_sigma: Standard deviation of the noise in h, for images in [0, 1].
        max_shift: Largest shift in h, pixels, in each axis and either direction.
        shift_fill: Where h finds the pixels that a shift brings in, when no real context is given: "reflect", "edge"
            (repeat the last row or column), "crop" (no fill: both patches of the pair lose `max_shift` on each side),
            "wrap" and "zero" (both bring in an artificial edge; for comparison only).
        quantile: Share of pseudo-unchanged scores that lie at or below tau, in (0, 1].
        precision: "float32" (true float32 on every device), "tf32" (float32 storage, fast matrix units on GPUs), or
            "bfloat16" (network in bfloat16; pooling and everything after it in float32).
        comparison: "pooled" (paper: each date pooled by itself, then compared) or "registered" (`robust`: laid on each
            other, compared place by place, with a null drawn from the pair's own differences; `pooling`, `reduction`,
            `noise_sigma`, `max_shift` and `shift_fill` are then not used).
        max_misalignment: Largest whole shift that registration looks for, pixels in each axis.
        residual_clip: Robust standard deviations at which differences are cut before the null is drawn from them.
        null_fdr: None, or a false discovery rate in (0, 1): the null scores of pairs that are findings at it
            (Benjamini-Hochberg) do not count for tau and p-values (`thresholds.counted_nulls`), because a null made
            of a changed pair's own differences carries some of the change. Not used for scenes, most of whose ground
            is unchanged and whose windows overlap.

    Raises:
        ConfigError: if a field has a value outside its domain.
    """

    backbone: str = "vgg16"
    layer: str = "conv3_2"
    activation: str = "pre"
    input_mean: tuple[float, float, float] = constants.IMAGENET_MEAN
    input_std: tuple[float, float, float] = constants.IMAGENET_STD
    patch_standardize: bool = False
    feature_clip: float | None = None
    feature_standardize: bool = False
    pooling: str = "max"
    reduction: str = "sum"
    bands: tuple[int, int, int] | None = None
    noise_sigma: float = constants.DEFAULT_NOISE_SIGMA
    max_shift: int = constants.PAPER_MAX_SHIFT
    shift_fill: str = "reflect"
    quantile: float = constants.PAPER_QUANTILE
    precision: str = "float32"
    comparison: str = "pooled"
    max_misalignment: int = constants.LARGEST_MISALIGNMENT
    residual_clip: float = constants.RESIDUAL_CLIP
    null_fdr: float | None = None

    def __post_init__(self):
        _check_choice("backbone", self.backbone, BACKBONES)
        if self.backbone == "custom":
            if not isinstance(self.layer, str) or not self.layer:
                raise ConfigError(f"layer is {self.layer!r}; name an activation that your apply function returns.")
        else:
            _check_choice("layer", self.layer, VGG16_LAYERS)
        _check_choice("activation", self.activation, ACTIVATIONS)
        _check_triple("input_mean", self.input_mean)
        _check_triple("input_std", self.input_std, positive=True)
        for name in ("patch_standardize", "feature_standardize"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; give True or False.")
        if self.feature_clip is not None and not self.feature_clip > 0:
            raise ConfigError(f"feature_clip is {self.feature_clip!r}; give None or a bound above 0.")
        _check_choice("pooling", self.pooling, POOLINGS)
        _check_choice("reduction", self.reduction, REDUCTIONS)
        if self.bands is not None:
            _check_triple("bands", self.bands)
            if not all(isinstance(b, int) and b >= 0 for b in self.bands):
                raise ConfigError(f"bands is {self.bands!r}; give three band indices, counted from 0.")
        if not 0 <= self.noise_sigma <= 1:
            raise ConfigError(f"noise_sigma is {self.noise_sigma!r}; give a value in [0, 1] (images are in [0, 1]).")
        if not isinstance(self.max_shift, int) or self.max_shift < 0:
            raise ConfigError(f"max_shift is {self.max_shift!r}; give a whole number of pixels, 0 or more.")
        _check_choice("shift_fill", self.shift_fill, SHIFT_FILLS)
        if not 0 < self.quantile <= 1:
            raise ConfigError(f"quantile is {self.quantile!r}; give a share in (0, 1], such as 0.95.")
        _check_choice("precision", self.precision, PRECISIONS)
        _check_choice("comparison", self.comparison, COMPARISONS)
        if not isinstance(self.max_misalignment, int) or self.max_misalignment < 0:
            raise ConfigError(
                f"max_misalignment is {self.max_misalignment!r}; give a whole number of pixels, 0 or more."
            )
        if not self.residual_clip > 0:
            raise ConfigError(f"residual_clip is {self.residual_clip!r}; give a number above 0.")
        if self.null_fdr is not None and not 0 < self.null_fdr < 1:
            raise ConfigError(f"null_fdr is {self.null_fdr!r}; give None or a share in (0, 1), such as 0.1.")

    def activation_name(self) -> str:
        """The key of the chosen activation in what the network returns, such as "conv3_2" or "relu3_2"."""
        if self.backbone == "custom" or self.activation == "pre":
            return self.layer
        return self.layer.replace("conv", "relu")


PAPER = ChangeConfig()
"""Saha & Zhu as printed: plain VGG-16 to conv3_2, global max, L1 norm, shift 10 px, 95 % of the null scores."""

AUTHORS_CODE = ChangeConfig(
    backbone="vgg16_bn",
    input_mean=constants.AUTHORS_MEAN,
    input_std=constants.AUTHORS_STD,
    feature_clip=constants.AUTHORS_FEATURE_CLIP,
    feature_standardize=True,
    reduction="mean",
)
"""The authors' public script: vgg16_bn with per-image statistics, 0.5 / 0.15, clip 1, standardised, mean over D.

Its hard-coded threshold is `constants.AUTHORS_TAU`; tau is estimated like the paper's. On plain VGG-16
(`dataclasses.replace(AUTHORS_CODE, backbone="vgg16")`) the clip destroys the score: set `feature_clip=None` too.
"""

ROBUST = ChangeConfig(activation="post", patch_standardize=True, comparison="registered", null_fdr=constants.NULL_FDR)
"""Registered first, compared place by place, with a null matched to each pair. See `robust` and the README."""

PRESETS = {"paper": PAPER, "authors_code": AUTHORS_CODE, "robust": ROBUST}
