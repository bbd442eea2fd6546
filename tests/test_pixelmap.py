"""The pixel map against a slow NumPy reference of all its steps, and Otsu's threshold against scikit-image."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from planetcd_jax import PAPER, Dcva, extract, pixel_change_map
from planetcd_jax.constants import DCVA_LAYERS
from planetcd_jax.errors import ConfigError
from planetcd_jax.scores import dcva
from planetcd_jax.scores.dcva import _percentile

change_mask, otsu_threshold = jax.jit(dcva.change_mask), jax.jit(dcva.otsu_threshold)


def chosen_reference(difference, count):
    rows, columns, features = difference.shape
    chosen = set()
    for r in (slice(0, rows // 2), slice(rows // 2, rows)):
        for c in (slice(0, columns // 2), slice(columns // 2, columns)):
            spread = [difference[r, c, d].astype(np.float64).std() for d in range(features)]
            chosen |= set(np.argsort(spread)[::-1][:count].tolist())
    return sorted(chosen)


def scaled_reference(feature, scaling):
    feature = feature.astype(np.float64)
    if scaling == "standardize":
        return (feature - feature.mean()) / feature.std() if feature.std() else feature * 0
    if scaling == "saturate":
        low, high = feature.min(), np.percentile(feature, 95)
        return np.minimum((feature - low) / (high - low), 1) if high > low else feature * 0
    return feature


def bilinear(image, shape):
    """Half-pixel centres, edges repeated."""
    out = image
    for axis, size in enumerate(shape):
        place = np.clip((np.arange(size) + 0.5) * image.shape[axis] / size - 0.5, 0, image.shape[axis] - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, image.shape[axis] - 1)
        weight = (place - low).reshape([-1, 1] if axis == 0 else [1, -1])
        out = np.take(out, low, axis) * (1 - weight) + np.take(out, high, axis) * weight
    return out


def reference(params, before, after, layers, keep, scaling):
    squares = np.zeros(before.shape)
    for layer in layers:
        config = PAPER.replace(layer=layer)
        one, two = (np.asarray(jax.jit(extract, static_argnums=2)(params, x, config)[0]) for x in (before, after))
        share = keep or (0.05 if one.shape[-1] >= 256 else 0.10)
        for d in chosen_reference(two - one, int(share * one.shape[-1] + 1e-9)):
            difference = scaled_reference(two[..., d], scaling) - scaled_reference(one[..., d], scaling)
            squares += bilinear(difference, before.shape) ** 2
    return np.sqrt(squares)


@pytest.mark.parametrize(
    ("layers", "keep", "scaling"),
    [(DCVA_LAYERS, None, "saturate"), (("conv3_2",), 0.3, "standardize"), (("conv1_2", "conv3_1"), 1.0, "none")],
)
def test_equals_the_slow_reference(params, texture, layers, keep, scaling):
    before, after = texture(2, 36, 44)
    run = partial(pixel_change_map, config=PAPER, layers=layers, keep=keep, scaling=scaling)
    got = jax.jit(run)(params, before, after)
    wanted = reference(params, before, after, layers, keep, scaling)
    np.testing.assert_allclose(got, wanted, atol=1e-3 * wanted.max())


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 2, 2), (7, 6, 3), (30, 41, 3)])
def test_percentile_equals_numpy(shape):
    """Of both signs, with many ties, all negative, and constant."""
    rng = np.random.default_rng(4)
    kinds = (rng.normal(size=shape), rng.integers(-2, 3, shape), -np.abs(rng.normal(size=shape)), np.zeros(shape))
    for percent in (95.0, 50.0):
        find = jax.jit(partial(_percentile, percent=percent))
        for values in kinds:
            values = values.astype(np.float32)
            expected = np.percentile(values, percent, axis=(0, 1))
            np.testing.assert_allclose(find(jnp.asarray(values)), expected, rtol=1e-6, atol=1e-7)


def test_choice_of_features_by_hand():
    difference = np.zeros((4, 6, 5), np.float32)
    difference[0, 0, 3] = 1  # upper left
    difference[3, 5, 1] = 1  # lower right
    difference[:, :, 4] = 9  # large, but the same everywhere
    got = Dcva(keep=0.2).chosen_features(jnp.asarray(difference))  # one feature for each quadrant
    assert np.flatnonzero(got).tolist() == [0, 1, 3]  # where all are alike, the first
    assert tuple(map(Dcva().kept_share, (64, 128, 256))) == (0.10, 0.10, 0.05)


def test_the_map_is_0_without_change_and_largest_at_one(params, texture):
    before = texture(1, 64, 64)[0] * np.float32(0.6)
    after = before.copy()
    after[40:48, 8:16] += 0.4
    run = jax.jit(lambda x, y: pixel_change_map(params, x, y, PAPER, layers=("conv1_2", "conv3_1")))
    assert float(run(before, before).max()) == 0
    heat = np.asarray(run(before, after))
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert 36 <= row < 52 and 4 <= column < 20
    mask = np.asarray(change_mask(jnp.asarray(heat)))
    assert mask[42:46, 10:14].all() and mask.mean() < 0.3


def test_bands_of_any_number(params, texture):
    before, after = np.moveaxis(texture(4, 24, 24).reshape(2, 2, 24, 24), 1, -1)
    heat = jax.jit(partial(pixel_change_map, config=PAPER, layers=("conv1_1",)))(params, before, after)
    assert heat.shape == (24, 24) and float(heat.min()) >= 0


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"scaling": "x"}, "scaling is 'x'"),
        ({"keep": 0}, "keep is 0"),
        ({"layers": ()}, "layers is empty"),
        ({"layers": ("conv9",)}, "layer is 'conv9'"),
    ],
)
def test_settings_out_of_their_domain(params, option, text):
    x = jnp.zeros((16, 16), jnp.float32)
    with pytest.raises(ConfigError, match=text):
        pixel_change_map(params, x, x, PAPER, **option)


@pytest.mark.parametrize("seed", range(6))
def test_otsu_equals_scikit_image(seed):
    from skimage.filters import threshold_otsu

    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(2, 0.4, 700), rng.gamma(3, 1 + seed, 300) + seed]).astype(np.float32) ** 2
    values = values.reshape(40, 25)
    bin_width = float(np.ptp(values)) / 256
    assert float(otsu_threshold(jnp.asarray(values))) == pytest.approx(
        float(threshold_otsu(values)), abs=1e-3 * bin_width
    )


def test_otsu_of_equal_values_and_of_nan():
    equal = jnp.full((5, 5), 3.0, jnp.float32)
    assert float(otsu_threshold(equal)) == 3 and not change_mask(equal).any()
    assert np.isnan(otsu_threshold(equal.at[0, 0].set(jnp.nan)))


def test_a_real_rock_fall_is_ranked_far_above_chance(params, realdata):
    """A quarter of the pair, to save time; docs/diary.md has the figures of the whole."""
    rasterio = pytest.importorskip("rasterio")
    from sklearn.metrics import roc_auc_score

    def read(name):
        with rasterio.open(realdata / "mars-polar-scarp" / f"{name}_MY2934_6_4195.TIF") as file:
            return file.read(1)[7:135, 27:155]

    before, after = ((read(date) / 255).astype(np.float32) for date in ("T1", "T2"))
    truth = read("mask") == 1
    assert truth.sum() > 100
    heat = np.asarray(jax.jit(partial(pixel_change_map, config=PAPER))(params, before, after))
    assert roc_auc_score(truth.ravel(), heat.ravel()) > 0.93
