"""Rho against a plain NumPy version, and the properties that it must have."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from absl.testing import parameterized

import planetcd_jax as pcd
from planetcd_jax import constants

LAYERS = constants.VGG16_LAYERS[:7]
score_jit = jax.jit(pcd.change_score, static_argnames="config")
scores_jit = jax.jit(pcd.change_scores, static_argnames="config")


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("activation", ["pre", "post"])
def test_paper_agrees_with_numpy_at_every_layer(layer, activation, params, texture):
    before, after = texture(2, 24, 28)
    cfg = pcd.PAPER.replace(layer=layer, activation=activation)
    wanted = reference.rho(
        params, before, after, layer=layer, mean=constants.IMAGENET_MEAN, std=constants.IMAGENET_STD,
        activation=activation,
    )  # fmt: skip
    np.testing.assert_allclose(score_jit(params, before, after, cfg), wanted, rtol=1e-4)


@pytest.mark.parametrize("layer", LAYERS)
def test_authors_code_agrees_with_numpy_at_every_layer(layer, bn_params, texture):
    before, after = texture(2, 24, 28, seed=1)
    cfg = pcd.AUTHORS_CODE.replace(layer=layer)
    wanted = reference.rho(
        bn_params, before, after, layer=layer, mean=(0.5,) * 3, std=(0.15,) * 3, batch_norm=True, clip=1.0,
        standardize=True, l1_mean=True,
    )  # fmt: skip
    np.testing.assert_allclose(score_jit(bn_params, before, after, cfg), wanted, rtol=1e-4)


def test_colour_agrees_with_numpy(params, texture):
    before, after = (np.moveaxis(texture(3, 24, 24, seed=s), 0, -1) for s in (2, 3))
    wanted = reference.rho(
        params, before, after, layer="conv3_2", mean=constants.IMAGENET_MEAN, std=constants.IMAGENET_STD
    )
    np.testing.assert_allclose(score_jit(params, before, after, pcd.PAPER), wanted, rtol=1e-4)


CONFIGS = {
    "paper": pcd.PAPER,
    "standardized": pcd.PAPER.replace(patch_standardize=True, feature_standardize=True),
    "mean": pcd.PAPER.replace(pooling="mean", reduction="mean"),
    "post": pcd.PAPER.replace(activation="post", layer="conv2_2"),
}


class PropertiesTest(chex.TestCase):
    """What holds for any score of this family."""

    def setUp(self):
        super().setUp()
        self.params = pcd.load_vgg16()
        rng = np.random.default_rng(5)
        self.before, self.after = rng.random((2, 3, 32, 36), np.float32)

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.named_parameters(CONFIGS.items())
    def test_batch_is_loop_swap_keeps_and_same_is_zero(self, cfg):
        scores = self.variant(lambda b, a: pcd.change_scores(self.params, b, a, cfg))
        together = scores(self.before, self.after)
        chex.assert_shape(together, (3,))
        chex.assert_type(together, jnp.float32)
        one_by_one = [score_jit(self.params, b, a, cfg) for b, a in zip(self.before, self.after, strict=True)]
        np.testing.assert_allclose(together, np.stack(one_by_one), rtol=1e-5)
        np.testing.assert_allclose(scores(self.after, self.before), together, rtol=1e-5)
        # A maximum of the same numbers is the same number; sums may be taken in another order.
        same = np.asarray(scores(self.before, self.before))
        assert (same <= (0 if cfg.score.pooling == "max" else 1e-6) * np.asarray(together)).all()
        assert (np.asarray(together) > 0).all()


def test_one_band_is_a_grey_image(params, texture):
    before, after = texture(2, 32, 32)
    plain = score_jit(params, before, after, pcd.PAPER)
    banded = score_jit(params, before[..., None], after[..., None], pcd.PAPER)
    repeated = score_jit(params, *(np.stack([x] * 3, axis=-1) for x in (before, after)), pcd.PAPER)
    np.testing.assert_allclose(banded, plain, rtol=1e-6)
    np.testing.assert_allclose(repeated, plain, rtol=1e-5)


def test_other_band_counts_are_averaged_or_a_triple_is_chosen(params, texture):
    before, after = (np.moveaxis(texture(5, 32, 32, seed=s), 0, -1) for s in (1, 2))
    each = [score_jit(params, before[..., i], after[..., i], pcd.PAPER) for i in range(5)]
    np.testing.assert_allclose(score_jit(params, before, after, pcd.PAPER), np.mean(each), rtol=1e-5)
    triple = pcd.PAPER.replace(bands=(4, 0, 2))
    wanted = score_jit(params, before[..., [4, 0, 2]], after[..., [4, 0, 2]], pcd.PAPER)
    np.testing.assert_allclose(score_jit(params, before, after, triple), wanted, rtol=1e-5)


def test_standardizing_removes_gain_and_offset(params, texture):
    (before,) = texture(1, 48, 48)
    cfg = CONFIGS["standardized"]
    changed = score_jit(params, before, texture(1, 48, 48, seed=9)[0], cfg)
    assert score_jit(params, before, 0.6 * before + 0.2, cfg) < 1e-3 * changed
    assert score_jit(params, before, 0.6 * before + 0.2, pcd.PAPER) > 0


def test_constant_patches_are_finite_and_nan_stays_nan(params, bn_params):
    flat, other = jnp.full((32, 32), 0.5), jnp.full((32, 32), 0.25)
    for cfg, used in ((pcd.PAPER, params), (pcd.AUTHORS_CODE, bn_params), (CONFIGS["standardized"], params)):
        assert np.isfinite(score_jit(used, flat, other, cfg))
        assert np.isnan(score_jit(used, flat, flat.at[20, 20].set(jnp.nan), cfg))


def test_bfloat16_is_near_float32(params, texture):
    before, after = texture(2, 64, 64)
    low = score_jit(params, before, after, pcd.PAPER.replace(precision="bfloat16"))
    full = score_jit(params, before, after, pcd.PAPER)
    assert low.dtype == jnp.float32
    assert 0 < abs(float(low / full) - 1) < 0.03


def test_compiles_once_for_a_shape(params, texture):
    scores = jax.jit(chex.assert_max_traces(lambda b, a: pcd.change_scores(params, b, a, pcd.PAPER), n=1))
    for seed in range(3):
        scores(texture(2, 32, 32, seed=seed), texture(2, 32, 32, seed=seed + 10))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (np.ones((8, 8), np.uint8), np.ones((8, 8), np.uint8), r"before has dtype uint8; give floats in \[0, 1\]"),
        (np.ones((2, 8, 8, 3)), np.ones((2, 8, 8, 3)), r"shape \(2, 8, 8, 3\); give one patch, .*change_scores"),
        (np.ones((8, 8)), np.ones((8, 9)), r"before has shape \(8, 8\) and after \(8, 9\); crop or resample"),
        (np.ones((3, 50)), np.ones((3, 50)), r"before is 3x50 px, and conv3_2 needs at least 4 px.*larger patches"),
        (np.ones((8, 8, 0)), np.ones((8, 8, 0)), r"so no band; give at least one"),
    ],
)
def test_what_is_no_pair_is_refused(before, after, message, params):
    with pytest.raises(pcd.PatchError, match=message):
        pcd.change_score(params, before, after, pcd.PAPER)


def test_missing_bands_and_uneven_batches_are_refused(params):
    with pytest.raises(pcd.PatchError, match=r"without all of the bands \(0, 1, 7\)"):
        pcd.change_score(params, np.ones((8, 8, 5)), np.ones((8, 8, 5)), pcd.PAPER.replace(bands=(0, 1, 7)))
    with pytest.raises(pcd.PatchError, match=r"give two \[N, H, W\(, C\)\] batches"):
        pcd.change_scores(params, np.ones((2, 8, 8)), np.ones((3, 8, 8)), pcd.PAPER)
