"""Score maps against windows scored one by one, and the arithmetic of halos and masks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from planetcd_jax import Custom, extract, scoremap
from planetcd_jax.config import AUTHORS_CODE, PAPER
from planetcd_jax.errors import ConfigError, PatchError
from planetcd_jax.networks.backbone import prepared
from planetcd_jax.ops import windows
from planetcd_jax.scores.features import shared_features, usable_cells
from planetcd_jax.scores.null import draw_shift

STANDARD = PAPER.replace(feature_standardize=True)
WINDOW, STRIDE, HALO = 48, 12, 16


@pytest.fixture(scope="module")
def images():
    """Two smooth random images [112, 124] that differ in a square."""
    rng = np.random.default_rng(7)
    base = np.cumsum(np.cumsum(rng.normal(size=(112, 124)), axis=0), axis=1)
    base = (base - base.min()) / (base.max() - base.min()) + 0.05 * rng.normal(size=base.shape)
    after = base + 0.02 * rng.normal(size=base.shape)
    after[60:72, 70:84] += 0.5
    return np.float32(np.clip(base, 0, 1)), np.float32(np.clip(after, 0, 1))


@functools.partial(jax.jit, static_argnums=(3,), static_argnames=("window", "stride", "min_valid", "margin", "tile"))
def score_map(params, before, after, config, **options):
    """Compiled: faster than operation by operation, even for one call."""
    return scoremap.score_map(params, before, after, config, **options)


@functools.partial(jax.jit, static_argnums=(3,), static_argnames=("window", "stride", "min_valid"))
def null_score_map(key, params, before, config, **options):
    """The same for the null."""
    return scoremap.null_score_map(key, params, before, config, **options)


@functools.cache
def network(backbone):
    """Features as the network gives them, compiled once for all scores that take them."""
    return jax.jit(functools.partial(extract, config=PAPER.replace(backbone=backbone)))


def one_by_one(params, before, after, config, valid=None, window=WINDOW, stride=STRIDE):
    """Oracle: each window cut out with its own halo, put through the network alone, and pooled in NumPy.

    Only windows whose halo lies inside the image are scored; the others are NaN.
    """
    phi = network(config.backbone)
    step, side = config.backbone.stride, config.backbone.receptive_field
    reach = (side - step) // 2
    halo = -(-reach // step) * step
    valid = np.ones(before.shape[:2], bool) if valid is None else valid
    rows, cols = scoremap.map_shape(*before.shape[:2], window, stride)
    out = np.full((rows, cols), np.nan)
    for r in range(rows):
        for c in range(cols):
            top, left = r * stride - halo, c * stride - halo
            bottom, right = top + window + 2 * halo, left + window + 2 * halo
            if top < 0 or left < 0 or bottom > before.shape[0] or right > before.shape[1]:
                continue
            cut = (slice(top, bottom), slice(left, right))
            inner = slice(halo // step, (halo + window) // step)
            usable = np.zeros((window // step,) * 2, bool)
            for i in range(usable.shape[0]):
                for j in range(usable.shape[1]):
                    y, x = top + halo + step * i - reach, left + halo + step * j - reach
                    usable[i, j] = valid[y : y + side, x : x + side].all()
            if not usable.any():
                continue
            pooled = []
            for image in (before, after):
                cells = np.asarray(phi(params, jnp.asarray(image[cut])), np.float64)[:, inner, inner]
                cells = cells[:, usable]  # [G, K, D]
                if config.score.feature_clip is not None:
                    cells = np.clip(cells, -config.score.feature_clip, config.score.feature_clip)
                if config.score.feature_standardize:
                    cells = (cells - cells.mean(1, keepdims=True)) / np.sqrt(cells.var(1, keepdims=True) + 1e-8)
                pooled.append(cells.max(1) if config.score.pooling == "max" else cells.mean(1))
            difference = np.abs(pooled[1] - pooled[0])
            reduced = difference.sum(-1) if config.score.reduction == "sum" else difference.mean(-1)
            out[r, c] = reduced.mean()
    return out


@pytest.mark.parametrize(
    "config",
    [
        PAPER,
        STANDARD,
        PAPER.replace(pooling="mean", reduction="mean"),
        STANDARD.replace(feature_clip=3.0, activation="post"),
        PAPER.replace(layer="conv2_2"),
    ],
    ids=["paper", "standardised", "mean", "clipped", "conv2_2"],
)
def test_map_equals_windows_scored_one_by_one_with_their_context(params, images, config):
    expected = one_by_one(params, *images, config)
    found = np.asarray(score_map(params, *map(jnp.asarray, images), config, window=WINDOW, stride=STRIDE))
    assert found.shape == scoremap.map_shape(112, 124, WINDOW, STRIDE) == (6, 7)
    inside = np.isfinite(expected)
    assert inside.sum() >= 6
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-4)


def test_map_with_a_mask_equals_windows_scored_one_by_one(params, images):
    valid = np.random.default_rng(1).random((112, 124)) > 0.0004
    valid[20:30, 90:124] = False
    assert 3 < (~valid).sum() < 400
    expected = one_by_one(params, *images, STANDARD, valid)
    found = score_map(
        params, *map(jnp.asarray, images), STANDARD, window=WINDOW, stride=STRIDE, valid=jnp.asarray(valid),
        min_valid=0.0,
    )  # fmt: skip
    inside = np.isfinite(expected)
    assert inside.sum() >= 6
    np.testing.assert_allclose(np.asarray(found)[inside], expected[inside], rtol=1e-4)


def test_scores_do_not_depend_on_where_the_arrays_were_cut(params, images):
    before, after = map(jnp.asarray, images)
    whole = np.asarray(score_map(params, before, after, STANDARD, window=WINDOW, stride=STRIDE))
    row, col = 2, 3  # windows from here, with the halo as margin
    top, left = row * STRIDE - HALO, col * STRIDE - HALO
    cut = (slice(top, top + 2 * HALO + WINDOW + STRIDE), slice(left, left + 2 * HALO + WINDOW + STRIDE))
    part = score_map(params, before[cut], after[cut], STANDARD, window=WINDOW, stride=STRIDE, margin=HALO)
    np.testing.assert_allclose(np.asarray(part), whole[row : row + 2, col : col + 2], rtol=1e-5)


@pytest.mark.parametrize("config", [PAPER, STANDARD.replace(feature_clip=2.0)], ids=["paper", "clipped"])
def test_tiles_change_no_score(params, images, config):
    """28 cells a side go into tiles of 9 (the last one short), into 14, and into one."""
    options = {"window": WINDOW, "stride": STRIDE, "margin": HALO}
    maps = [np.asarray(score_map(params, *map(jnp.asarray, images), config, tile=t, **options)) for t in (36, 64, None)]
    assert np.isfinite(maps[0]).all() and maps[0].size >= 6
    for other in maps[1:]:
        np.testing.assert_allclose(other, maps[0], rtol=1e-5)


def test_feature_maps_are_those_of_the_whole_image_where_its_border_is_not_seen(params, images):
    """Oracle: the network with zero padding over the whole image, which differs in the outer four cells alone."""
    both = jnp.asarray(np.stack(images))
    found = jax.jit(lambda p, x: shared_features(prepared(PAPER.backbone, p), x, tile=48))(params, both)
    expected = jax.jit(jax.vmap(functools.partial(extract, config=PAPER), in_axes=(None, 0)))(params, both)
    assert found.shape == expected.shape == (2, 1, 28, 31, 256)
    inner = (..., slice(4, -4), slice(4, -4), slice(None))
    np.testing.assert_allclose(np.asarray(found[inner]), np.asarray(expected[inner]), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "config",
    [PAPER, STANDARD, PAPER.replace(pooling="mean"), STANDARD.replace(feature_clip=0.7)],
    ids=["max", "standardised", "mean", "clipped"],
)
@pytest.mark.parametrize("side, stride", [(5, 2), (6, 3), (2, 4)], ids=["with a rest", "whole blocks", "with gaps"])
def test_window_descriptors_against_numpy(config, side, stride):
    """Oracle: each window's usable cells by themselves, in float64. A large mean would show lost digits."""
    rng = np.random.default_rng(5)
    maps = (rng.normal(size=(2, 1, 17, 20, 3)) + 40 * (config.score.feature_clip is None)).astype(np.float32)
    usable = rng.random((17, 20)) > 0.3
    usable[:6, :6] = False
    rows, cols = ((n - side) // stride + 1 for n in usable.shape)
    options = {"largest": config.score.pooling == "max", "standardize": config.score.feature_standardize}
    pool = jax.jit(functools.partial(windows.summaries, side=side, stride=stride, shape=(rows, cols), **options))
    bound = config.score.feature_clip
    clipped = maps if bound is None else np.clip(maps, -bound, bound)  # done before, by the score
    found, share = map(np.asarray, pool(jnp.asarray(clipped), jnp.asarray(usable)))
    assert found.shape == (2, 1, rows, cols, 3) and np.isfinite(found).all()
    for r in range(rows):
        for c in range(cols):
            cut = (slice(r * stride, r * stride + side), slice(c * stride, c * stride + side))
            inside = usable[cut]
            assert float(share[r, c]) == pytest.approx(inside.mean())
            if not inside.any():
                continue
            cells = maps.astype(np.float64)[(..., *cut, slice(None))][:, :, inside]  # [2, 1, K, 3]
            if config.score.feature_clip is not None:
                cells = np.clip(cells, -config.score.feature_clip, config.score.feature_clip)
            if config.score.feature_standardize:
                cells = (cells - cells.mean(2, keepdims=True)) / np.sqrt(cells.var(2, keepdims=True) + 1e-8)
            expected = cells.max(2) if config.score.pooling == "max" else cells.mean(2)
            np.testing.assert_allclose(found[:, :, r, c], expected, rtol=2e-4, atol=1e-5)
    assert (share == 0).any()


@pytest.mark.parametrize("bad", [0.0, 1e4, np.nan], ids=["zero", "huge", "nan"])
def test_masked_pixels_decide_nothing(params, images, bad):
    before, after = (x.copy() for x in images)
    valid = np.ones(before.shape, bool)
    valid[40:52, 30:50] = False
    clean = score_map(
        params, *map(jnp.asarray, images), PAPER, window=WINDOW, stride=STRIDE, valid=jnp.asarray(valid), min_valid=0.0
    )
    before[~valid], after[~valid] = bad, -bad
    found = score_map(
        params, jnp.asarray(before), jnp.asarray(after), PAPER, window=WINDOW, stride=STRIDE,
        valid=jnp.asarray(valid), min_valid=0.0,
    )  # fmt: skip
    assert np.isfinite(np.asarray(clean)).all()
    np.testing.assert_array_equal(np.asarray(found), np.asarray(clean))
    unmasked = score_map(params, *map(jnp.asarray, images), PAPER, window=WINDOW, stride=STRIDE)
    assert not np.allclose(np.asarray(unmasked), np.asarray(clean))  # else the mask did nothing


@pytest.mark.parametrize("layer", ["conv1_2", "conv2_1", "conv3_2"])
def test_usable_cells_are_those_that_a_pixel_cannot_reach(params, layer):
    """Oracle: the network itself; change one pixel and see which cells change."""
    config = PAPER.replace(layer=layer)
    rng = np.random.default_rng(3)
    image = rng.random((72, 80)).astype(np.float32)
    other = image.copy()
    row, col = 37, 34
    other[row, col] = 1.0 - other[row, col] + 3.0
    features = jax.jit(lambda p, x: shared_features(prepared(config.backbone, p), x))
    first, second = np.asarray(features(params, np.stack([image, other])))
    changed = np.abs(first - second).max(axis=(0, 3)) > 0
    valid = np.ones(image.shape, bool)
    valid[row, col] = False
    usable = np.asarray(usable_cells(jnp.asarray(valid), config.backbone))
    edge = scoremap.halo(config) // config.backbone.stride
    inner = (slice(edge, -edge), slice(edge, -edge))
    assert changed[inner].any()
    assert not (changed & usable).any()
    side, step = config.backbone.receptive_field, config.backbone.stride
    assert (~usable[inner]).sum() <= (side // step + 1) ** 2
    assert not usable[0].any() and not usable[:, -1].any()  # what lies beyond the array is not known


def test_windows_with_too_little_valid_ground_are_not_scored(params, images):
    valid = np.ones(images[0].shape, bool)
    valid[:, :70] = False
    arguments = (params, *map(jnp.asarray, images), PAPER)
    options = {"window": WINDOW, "stride": STRIDE, "valid": jnp.asarray(valid)}
    half = np.asarray(score_map(*arguments, **options, min_valid=0.5))
    none = np.asarray(score_map(*arguments, **options, min_valid=0.0))
    assert np.isnan(half[:, 0]).all() and np.isnan(none[:, 0]).all()  # wholly masked: never scored
    assert np.isnan(half).sum() > np.isnan(none).sum()
    both = np.isfinite(half)
    np.testing.assert_array_equal(half[both], none[both])


@pytest.mark.slow
def test_same_images_score_zero_and_jit_vmap_and_grad_work(params, images):
    # Four windows around the change and an early layer: without optimisation, gradients of convolutions take long.
    before, after = (jnp.asarray(x[36:100, 48:112]) for x in images)
    config = PAPER.replace(layer="conv1_2")

    def rho(x, params):
        return scoremap.score_map(params, before, x, config, window=WINDOW, stride=STRIDE, min_valid=0.0)

    compiled = jax.jit(rho)
    np.testing.assert_array_equal(np.asarray(compiled(before, params)), 0.0)
    direct = np.asarray(compiled(after, params))
    assert direct.shape == (2, 2)
    mapped = jax.jit(jax.vmap(rho, in_axes=(0, None)))(jnp.stack([before, after]), params)
    np.testing.assert_allclose(np.asarray(mapped)[1], direct, rtol=1e-5)
    slope = np.asarray(jax.jit(jax.grad(lambda x, params: rho(x, params).sum()))(after, params))
    assert np.isfinite(slope).all() and np.abs(slope).max() > 0


@pytest.mark.slow
def test_colour_and_many_bands_are_scored_as_patches_are(params, images):
    rgb = [np.stack([x, x[::-1], x[:, ::-1]], axis=-1) for x in images]
    for config, bands in ((PAPER, 3), (PAPER, 2), (PAPER.replace(bands=(2, 0, 1)), 3)):
        chosen = [x[..., :bands] for x in rgb]
        expected = one_by_one(params, *chosen, config, window=64, stride=16)
        found = score_map(params, *map(jnp.asarray, chosen), config, window=64, stride=16)
        inside = np.isfinite(expected)
        np.testing.assert_allclose(np.asarray(found)[inside], expected[inside], rtol=1e-4)


def test_null_map_shifts_over_real_ground_and_takes_the_mask_along(params, images):
    config = PAPER.replace(noise_sigma=0.0, max_shift=6)
    m, key = 6, jax.random.key(11)
    before = jnp.asarray(images[0])
    shift = np.asarray(draw_shift(jax.random.split(key)[0], m))
    assert shift.any()
    valid = np.ones(before.shape, bool)
    valid[50:54, 60:64] = False
    found = null_score_map(
        key, params, before, config, window=WINDOW, stride=STRIDE, valid=jnp.asarray(valid), min_valid=0.0
    )
    # By hand: the same ground, cut out twice.
    here = (slice(m, -m), slice(m, -m))
    there = tuple(slice(m + s, n - m + s) for s, n in zip(shift, before.shape, strict=True))
    expected = score_map(
        params, before[here], before[there], config, window=WINDOW, stride=STRIDE,
        valid=jnp.asarray(valid[here] & valid[there]), min_valid=0.0,
    )  # fmt: skip
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-5)
    noisy = null_score_map(key, params, before, config.replace(noise_sigma=0.05), window=WINDOW, stride=STRIDE)
    assert np.nanmean(np.asarray(noisy)) > np.nanmean(np.asarray(found))


@pytest.mark.parametrize(
    "config, options, text",
    [
        (AUTHORS_CODE, {}, "backbone is 'vgg16_bn', and windows cannot share its feature maps"),
        (PAPER.replace(backbone=Custom(layer="x", function=len)), {}, "its stride and receptive field are not stated"),
        (PAPER.replace(patch_standardize=True), {}, "patch_standardize is True, and windows that share"),
        (PAPER, {"window": 50}, "window is 50 px; give a multiple of 4 px, the step of conv3_2."),
        (PAPER, {"stride": 6}, "stride is 6 px; give a multiple of 4 px"),
        (PAPER, {"stride": 0}, "stride is 0 px"),
        (PAPER, {"margin": 3}, "margin is 3 px; give a multiple of 4 px, 0 or more."),
        (PAPER.replace(layer="conv4_1"), {"window": 44}, "window is 44 px; give a multiple of 8 px"),
    ],
)
def test_settings_that_cannot_share_feature_maps_are_refused(params, images, config, options, text):
    with pytest.raises(ConfigError, match=text.replace("(", r"\(")):
        scoremap.score_map(params, *map(jnp.asarray, images), config, **{"window": WINDOW, "stride": STRIDE, **options})


def test_arrays_that_do_not_fit_are_refused(params, images):
    before, after = map(jnp.asarray, images)
    with pytest.raises(PatchError, match="112x124 px with a margin of 16 px, and a window is 100 px"):
        scoremap.score_map(params, before, after, PAPER, margin=16)
    with pytest.raises(PatchError, match="after"):
        scoremap.score_map(params, before, after[:100], PAPER)
    with pytest.raises(PatchError, match="valid is float32"):
        scoremap.score_map(params, before, after, PAPER, valid=before)
    with pytest.raises(PatchError, match="10 px on each side for the shift"):
        scoremap.null_score_map(jax.random.key(0), params, before, PAPER)


def test_halo_is_the_reach_of_the_layer_in_whole_cells():
    """By hand: conv3_2 sees 32 px and steps by 4, so 14 px beyond a cell, or four cells."""
    assert scoremap.halo(PAPER) == 16
    assert scoremap.halo(PAPER.replace(layer="conv1_1")) == 1
    assert scoremap.halo(PAPER.replace(layer="conv2_2")) == 6  # sees 14, steps by 2: 6
