"""The settings of the method as one record of three, and its named presets."""

import dataclasses
from typing import Any

from planetcd_jax import constants, records
from planetcd_jax.errors import ConfigError
from planetcd_jax.networks.backbone import Backbone
from planetcd_jax.networks.vgg16 import Vgg16, Vgg16Bn
from planetcd_jax.scores.base import Score
from planetcd_jax.scores.pooled import Pooled
from planetcd_jax.scores.rcva import Rcva
from planetcd_jax.scores.registered.score import Registered
from planetcd_jax.thresholds import Decision


@dataclasses.dataclass(frozen=True)
class ChangeConfig:
    """Everything that decides a change score and its threshold, apart from the weights and the key.

    Hashable, so it can be a static argument of `jax.jit`.

    Attributes:
        backbone: The network (`networks`).
        score: What rho is and how its null is made (`scores`).
        decision: How tau is found.

    Example:
        >>> PAPER.replace(layer="conv3_3", quantile=0.99).backbone.layer
        'conv3_3'
    """

    backbone: Backbone = Vgg16()
    score: Score = Pooled()
    decision: Decision = Decision()

    def __post_init__(self):
        for name, kind in (("backbone", Backbone), ("score", Score), ("decision", Decision)):
            if not isinstance(getattr(self, name), kind):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; give a {kind.__name__}.")

    def replace(self, **changes: Any) -> "ChangeConfig":
        """These settings with other values in some fields, wherever inside they are.

        Args:
            changes: Values by the name of a field ("quantile") or record ("score", "null"); `records.replaced` takes
                paths too. `backbone` and `score` may be names of `BACKBONES` and `SCORES`; a named backbone keeps
                the values of the fields that it has.

        Raises:
            ConfigError: if a name is not there or stands for several fields, or a value is outside its domain.
        """
        named = dict(changes)
        if isinstance(named.get("backbone"), str):
            records.check_choice("backbone", named["backbone"], tuple(BACKBONES))
            named["backbone"] = records.as_kind(BACKBONES[named["backbone"]], self.backbone)
        if isinstance(named.get("score"), str):
            records.check_choice("score", named["score"], tuple(SCORES))
            named["score"] = SCORES[named["score"]]
        return records.replaced(self, named)


PAPER = ChangeConfig()
"""Saha & Zhu as printed: plain VGG-16 to conv3_2, global max, L1 norm, shift 10 px, 95 % of the null scores."""

AUTHORS_CODE = ChangeConfig(
    Vgg16Bn(input_mean=constants.AUTHORS_MEAN, input_std=constants.AUTHORS_STD),
    Pooled(reduction="mean", feature_clip=constants.AUTHORS_FEATURE_CLIP, feature_standardize=True),
)
"""The authors' public script: vgg16_bn with per-image statistics, 0.5 / 0.15, clip 1, standardised, mean over D.

Its hard-coded threshold is `constants.AUTHORS_TAU`; tau is estimated like the paper's. On plain VGG-16 the clip
destroys the score: `AUTHORS_CODE.replace(backbone="vgg16", feature_clip=None)`.
"""

ROBUST = ChangeConfig(
    Vgg16(layer="conv2_2", activation="post", patch_standardize=True),
    Registered(),
    Decision(least_null_wins=constants.LEAST_NULL_WINS),
)
"""Registered first, compared place by place, with a null matched to each pair. See `Registered` and docs/method.md."""

PRESETS = {"paper": PAPER, "authors_code": AUTHORS_CODE, "robust": ROBUST}

BACKBONES = {"vgg16": Vgg16, "vgg16_bn": Vgg16Bn}
"""Networks by name, for --backbone."""

SCORES = {"pooled": Pooled(), "registered": Registered(), "rcva": Rcva()}
"""Scores by name, for --score."""
