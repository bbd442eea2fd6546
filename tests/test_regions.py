"""Connected ground, against SciPy's labels, fillings and distances."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from planetcd_jax.ops import regions

EIGHT = np.ones((3, 3))


def blobs(seed, share=0.55):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(60, 70)), 1.5)
    return field > np.quantile(field, share)


@pytest.mark.parametrize("seed", range(4))
def test_reached_ground_is_that_of_labels(seed):
    domain = blobs(seed)
    start = np.random.default_rng(seed + 10).random(domain.shape) < 0.002
    label, _ = ndimage.label(domain, EIGHT)
    wanted = np.isin(label, np.unique(label[start & domain])) & domain if (start & domain).any() else domain & False
    np.testing.assert_array_equal(regions.reached(jnp.asarray(start), jnp.asarray(domain)), wanted)


@pytest.mark.parametrize("seed", range(3))
def test_highest_seed_of_each_part(seed):
    domain, values = blobs(seed), np.random.default_rng(seed).random((60, 70)).astype(np.float32)
    start = values > 0.97
    found = np.asarray(regions.highest_reached(*map(jnp.asarray, (values, start, domain))))
    label, count = ndimage.label(domain, EIGHT)
    for number in range(1, count + 1):
        own = label == number
        wanted = values[own & start].max() if (own & start).any() else -np.inf
        assert (found[own] == wanted).all()
    assert (found[~domain] == -np.inf).all()


def test_holes_are_filled_as_scipy_fills_them():
    mask = np.zeros((30, 30), bool)
    mask[5:20, 5:20], mask[9:14, 9:14], mask[0:4, 0:4], mask[1, 1] = True, False, True, False
    np.testing.assert_array_equal(regions.without_holes(jnp.asarray(mask)), ndimage.binary_fill_holes(mask))


def test_widening_grows_with_the_part():
    """A disc of radius 12 grows by about a quarter of that; a line of 2 px not at all."""
    rows, columns = np.mgrid[:90, :90]
    disc, line = np.hypot(rows - 30, columns - 30) <= 12, (abs(rows - 75) < 1) & (abs(columns - 40) < 30)
    found = np.asarray(regions.widened(jnp.asarray(disc | line), 0.25, 16))
    radius = np.sqrt(found[:60].sum() / np.pi)
    assert 14 <= radius <= 16.5
    np.testing.assert_array_equal(found[66:], line[66:])
