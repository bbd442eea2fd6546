"""The configuration: presets as the paper and the script state them, and clear errors."""

import dataclasses

import pytest

from planetcd_jax import AUTHORS_CODE, PAPER, ChangeConfig, ConfigError


def test_presets_say_what_their_sources_say():
    assert (PAPER.backbone, PAPER.layer, PAPER.pooling, PAPER.reduction) == ("vgg16", "conv3_2", "max", "sum")
    assert (PAPER.max_shift, PAPER.quantile, PAPER.feature_clip) == (10, 0.95, None)
    assert (AUTHORS_CODE.backbone, AUTHORS_CODE.reduction, AUTHORS_CODE.feature_clip) == ("vgg16_bn", "mean", 1.0)
    assert AUTHORS_CODE.input_mean == (0.5,) * 3 and AUTHORS_CODE.input_std == (0.15,) * 3
    assert AUTHORS_CODE.feature_standardize and AUTHORS_CODE.activation == "pre"


def test_a_config_is_frozen_and_hashable():
    assert hash(PAPER) == hash(ChangeConfig())
    with pytest.raises(dataclasses.FrozenInstanceError):
        PAPER.layer = "conv1_1"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("backbone", "resnet", r"backbone is 'resnet'; choose one of vgg16, vgg16_bn, custom"),
        ("layer", "conv6_1", r"layer is 'conv6_1'; choose one of conv1_1, "),
        ("activation", "both", r"activation is 'both'; choose one of pre, post"),
        ("input_mean", 0.5, r"input_mean is 0.5; give a tuple of three numbers"),
        ("input_std", (0.1, 0.0, 0.1), r"give a tuple of three positive numbers"),
        ("patch_standardize", 1, r"patch_standardize is 1; give True or False"),
        ("feature_clip", 0.0, r"feature_clip is 0.0; give None or a bound above 0"),
        ("pooling", "median", r"pooling is 'median'; choose one of max, mean"),
        ("reduction", "l2", r"reduction is 'l2'; choose one of sum, mean"),
        ("bands", (0, 1), r"bands is \(0, 1\); give a tuple of three"),
        ("bands", (0, 1, -1), r"give three band indices, counted from 0"),
        ("noise_sigma", 5.0, r"noise_sigma is 5.0; give a value in \[0, 1\]"),
        ("max_shift", -1, r"max_shift is -1; give a whole number of pixels"),
        ("max_shift", 2.5, r"max_shift is 2.5; give a whole number of pixels"),
        ("shift_fill", "roll", r"shift_fill is 'roll'; choose one of reflect, edge, crop, wrap, zero"),
        ("quantile", 95, r"quantile is 95; give a share in \(0, 1\]"),
        ("quantile", 0.0, r"quantile is 0.0; give a share in \(0, 1\]"),
        ("precision", "float64", r"precision is 'float64'; choose one of float32, tf32, bfloat16"),
    ],
)
def test_a_bad_value_is_refused_with_its_remedy(field, value, message):
    with pytest.raises(ConfigError, match=message):
        PAPER.replace(**{field: value})


def test_custom_backbone_needs_an_activation_name():
    with pytest.raises(ConfigError, match="name an activation that your apply function returns"):
        ChangeConfig(backbone="custom", layer="")
    assert ChangeConfig(backbone="custom", layer="stage4", activation="post").activation_name() == "stage4"
    assert PAPER.replace(activation="post").activation_name() == "relu3_2"


@pytest.mark.parametrize("rate", [0.0, 1.0, 1.5])
def test_a_false_discovery_rate_of_the_null_is_a_share(rate):
    with pytest.raises(ConfigError, match=rf"null_fdr is {rate}; give None or a share in \(0, 1\)"):
        ChangeConfig(null_fdr=rate)
