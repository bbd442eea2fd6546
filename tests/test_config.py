"""The configuration: presets as the paper and the script state them, and clear errors."""

import dataclasses
import json

import pytest

from planetcd_jax import AUTHORS_CODE, PAPER, ROBUST, ChangeConfig, ConfigError, Custom, Vgg16, records


def test_presets_say_what_their_sources_say():
    backbone, score = PAPER.backbone, PAPER.score
    assert (backbone.kind, backbone.layer, score.pooling, score.reduction) == ("vgg16", "conv3_2", "max", "sum")
    assert (score.null.max_shift, PAPER.decision.quantile, score.feature_clip) == (10, 0.95, None)
    backbone, score = AUTHORS_CODE.backbone, AUTHORS_CODE.score
    assert (backbone.kind, score.reduction, score.feature_clip) == ("vgg16_bn", "mean", 1.0)
    assert backbone.input_mean == (0.5,) * 3 and backbone.input_std == (0.15,) * 3
    assert score.feature_standardize and backbone.activation == "pre"


def test_a_config_is_frozen_and_hashable():
    assert hash(PAPER) == hash(ChangeConfig())
    for part, field in ((PAPER, "backbone"), (PAPER.backbone, "layer"), (ROBUST.score.null, "outlier")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, field, 1)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("backbone", "resnet", r"backbone is 'resnet'; choose one of vgg16, vgg16_bn"),
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


def test_a_bad_value_of_the_registered_score_is_refused():
    for field, value, message in (
        ("max_misalignment", -1, "max_misalignment is -1; give a whole number of pixels, 0 or more"),
        ("residual_clip", 0, "residual_clip is 0; give a number above 0"),
        ("texture_power", 2.0, "texture_power is 2.0"),
        ("score", "best", "score is 'best'; choose one of pooled, registered, rcva"),
        ("decision", 0.95, "decision is 0.95; give a Decision"),
    ):
        with pytest.raises(ConfigError, match=message):
            ROBUST.replace(**{field: value})


def test_fields_are_found_wherever_they_are():
    assert ROBUST.replace(quantile=0.9).decision.quantile == 0.9
    assert ROBUST.replace(max_misalignment=7).score.registration.max_misalignment == 7
    assert ROBUST.replace(**{"null.outlier": 4.0}).score.null.outlier == 4.0
    # Of two fields with one name the outer one is meant; at one depth a path must tell.
    assert AUTHORS_CODE.replace(feature_clip=None).score.feature_clip is None
    with pytest.raises(ConfigError, match=r"outlier is a field of several settings; name one of score\.null"):
        ROBUST.replace(outlier=4.0)
    with pytest.raises(ConfigError, match=r"noise_sigma is no field of these settings; they have layer, "):
        ROBUST.replace(noise_sigma=0.1)
    with pytest.raises(ConfigError, match=r"poling is no field of these settings \(did you mean pooling"):
        PAPER.replace(poling="max")


def test_a_named_backbone_keeps_the_fields_that_it_has():
    plain = AUTHORS_CODE.replace(backbone="vgg16", feature_clip=None)
    assert plain.backbone == Vgg16(input_mean=(0.5,) * 3, input_std=(0.15,) * 3)
    assert plain.score == dataclasses.replace(AUTHORS_CODE.score, feature_clip=None)


def test_every_field_is_written_down_and_every_short_name_finds_its_field():
    for config in (PAPER, AUTHORS_CODE, ROBUST, PAPER.replace(score="rcva")):
        written = records.plain(config)
        assert json.loads(json.dumps(written)) == written
        for name, path in records.short_names(config).items():
            value, inside = records.value_of(config, name), written
            for part in path.split("."):
                inside = inside[part]
            assert inside == records.plain(value), path
            assert config.replace(**{name: value}) == config
    assert written["score"]["kind"] == "rcva"


def test_the_start_of_a_run_shows_what_matters():
    shown = records.summary(ROBUST.replace(border_px=6))
    assert "border_px=6" in shown and "max_misalignment=40" in shown and "usual_cap" not in shown
    assert "noise_sigma" not in shown and "noise_sigma=0.02" in records.summary(PAPER)


def test_activation_names():
    own = Custom(layer="stage4", function=len)
    assert own.activation_name == "stage4"
    assert PAPER.replace(activation="post").backbone.activation_name == "relu3_2"
    with pytest.raises(ConfigError, match="name an activation that the network returns"):
        Custom(layer="", function=len)
    with pytest.raises(ConfigError, match=r"function is None; give function\(params, images\), such as module.apply"):
        Custom(layer="x")


@pytest.mark.parametrize("share", [0.0, 0.5, 1.5])
def test_the_least_share_of_larger_null_scores_is_below_a_half(share):
    with pytest.raises(ConfigError, match=rf"least_null_wins is {share}; give None or a share in \(0, 0\.5\)"):
        PAPER.replace(least_null_wins=share)


def test_prior_pairs_and_the_share_that_is_left_have_bounds():
    with pytest.raises(ConfigError, match=r"prior_pairs is -1; give a whole number, 0 or more"):
        PAPER.replace(prior_pairs=-1)
    with pytest.raises(ConfigError, match=r"least_left is 1; give a share in \(0, 1\)"):
        PAPER.replace(least_left=1)
