"""Equal ground scores 0 whatever the size, the mask, the type and the preset: properties, over drawn images."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import planetcd_jax as pcd
from planetcd_jax.images.reading import Image
from planetcd_jax.images.stretch import stretched
from planetcd_jax.networks.vgg16 import Vgg16Bn

FEW = hypothesis.settings(max_examples=6, deadline=None, derandomize=True, database=None)
MANY = hypothesis.settings(max_examples=80, deadline=None, derandomize=True, database=None)

SIZES = ((41, 53), (62, 47))
"""Each is compiled once; none is a multiple of 4."""

DTYPES = ("uint8", "uint16", "int16", "uint32", "int32", "int64", "float32", "float64")


def ground(seed, shape, kind):
    """[H, W] in [0, 1]: noise, a smooth slope with a few spots, a flat border, or one value but for a spot."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    image = rng.random(shape)
    if kind == "slope":
        image = 0.2 + 0.6 * (rows + cols) / (sum(shape) - 2)
    elif kind == "border":
        image[:, : shape[1] // 2] = 0
    elif kind == "spot":
        image = np.full(shape, 0.4)
    spot = rng.integers(0, shape[0] - 3), rng.integers(0, shape[1] - 3)
    image[spot[0] : spot[0] + 3, spot[1] : spot[1] + 3] = rng.random()
    return image


def stored(image, dtype):
    """Values as a file of a type has them."""
    if np.dtype(dtype).kind == "f":
        return (1e3 * image - 200).astype(dtype)
    info = np.iinfo(dtype)
    return (image * min(info.max, 2**31) * 0.99).astype(dtype)


def mask(seed, shape):
    """[H, W] bool: a rectangle and some pixels are missing."""
    rng = np.random.default_rng(seed)
    valid = rng.random(shape) > rng.choice([0.0, 0.0005])
    top, left = rng.integers(0, shape[0]), rng.integers(0, shape[1])
    valid[top : top + rng.integers(0, 20), left : left + rng.integers(0, 20)] = False
    return valid


grounds = st.builds(
    ground,
    st.integers(0, 2**20),
    st.sampled_from(SIZES),
    st.sampled_from(("noise", "slope", "border", "spot")),
)


@MANY
@hypothesis.given(
    seed=st.integers(0, 2**20),
    shape=st.tuples(st.integers(4, 90), st.integers(4, 90)),
    kind=st.sampled_from(("noise", "slope", "border", "spot")),
    dtype=st.sampled_from(DTYPES),
    stretch=st.sampled_from(("auto", "percentile", "each")),
    bands=st.sampled_from((1, 3)),
)
def test_equal_files_are_equal_after_the_stretch(seed, shape, kind, dtype, stretch, bands):
    values, valid = stored(ground(seed, shape, kind), dtype), mask(seed, shape)
    hypothesis.assume(valid.any())
    values = values if bands == 1 else np.stack([values] * bands, -1)
    image = Image(values, valid, values.dtype)
    before, after = stretched(image, image, stretch)
    np.testing.assert_array_equal(before, after)
    assert before.min() >= 0 and before.max() <= 1 and not before[~valid].any()


def config_of(preset):
    """The preset on the two first convolutions, which is fast."""
    return pcd.PRESETS[preset].replace(layer="conv1_2")


@pytest.fixture(scope="module")
def scores(params, bn_params):
    """`scores(preset)(before, after)`: rho of a pair, compiled once for each size."""
    compiled = {}

    def of(preset):
        config = config_of(preset)
        weights = bn_params if isinstance(config.backbone, Vgg16Bn) else params
        if preset not in compiled:
            compiled[preset] = jax.jit(lambda x, y: pcd.change_score(weights, x, y, config))
        return compiled[preset]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("preset", sorted(pcd.PRESETS))
def test_a_patch_against_itself_is_0(scores, preset):
    @FEW
    @hypothesis.given(image=grounds, dtype=st.sampled_from(DTYPES))
    def check(image, dtype):
        values = stored(image, dtype)
        date = Image(values, np.ones(values.shape, bool), values.dtype)
        before, after = (jnp.asarray(x) for x in stretched(date, date, "auto"))
        assert float(scores(preset)(before, after)) == 0.0

    check()


@pytest.mark.parametrize("preset", ["paper", pytest.param("robust", marks=pytest.mark.slow)])
def test_windows_of_a_scene_against_itself_are_0(params, preset):
    config, shape = config_of(preset), (101, 118)

    @jax.jit
    def rho(image, valid):
        return pcd.score_map(params, image, image, config, window=32, stride=24, valid=valid)

    @FEW
    @hypothesis.given(seed=st.integers(0, 2**20), kind=st.sampled_from(("noise", "slope", "border", "spot")))
    def check(seed, kind):
        found = np.asarray(rho(jnp.asarray(ground(seed, shape, kind), jnp.float32), jnp.asarray(mask(seed, shape))))
        known = np.isfinite(found)
        assert known.any() and (found[known] == 0).all()

    check()
