"""Local contrast normalisation against a slow NumPy reference."""

import jax.numpy as jnp
import numpy as np
import pytest

from planetcd_jax.baselines.contrast import local_contrast_normalize
from planetcd_jax.errors import ConfigError


def reference(x, radius, window, floor):
    """Pixel by pixel, two passes, weights written out, float64."""
    out = np.zeros(x.shape)
    for r in range(x.shape[0]):
        for c in range(x.shape[1]):
            total, weights, values = 0.0, [], []
            for i in range(max(r - radius, 0), min(r + radius + 1, x.shape[0])):
                for j in range(max(c - radius, 0), min(c + radius + 1, x.shape[1])):
                    distance = ((i - r) ** 2 + (j - c) ** 2) / (radius / 2) ** 2
                    weight = np.exp(-0.5 * distance) if window == "gaussian" else 1.0
                    weights.append(weight)
                    values.append(np.float64(x[i, j]))
                    total += weight
            weights, values = np.array(weights) / total, np.array(values)
            mean = (weights * values).sum()
            spread = np.sqrt((weights * (values - mean) ** 2).sum())
            out[r, c] = (x[r, c] - mean) / max(spread, floor)
    return out


@pytest.mark.parametrize("window", ["gaussian", "box"])
@pytest.mark.parametrize(("shape", "radius"), [((17, 13), 2), ((9, 21), 5)])
def test_equals_the_slow_reference(texture, shape, radius, window):
    x = texture(1, *shape)[0]
    got = local_contrast_normalize(jnp.asarray(x), radius=radius, window=window, floor=0.02)
    np.testing.assert_allclose(got, reference(x, radius, window, 0.02), atol=2e-4)


def test_gain_and_offset_of_an_image_do_not_matter(texture):
    x = jnp.asarray(texture(1, 40, 40)[0])
    one = local_contrast_normalize(x, floor=1e-6)
    np.testing.assert_allclose(local_contrast_normalize(0.4 * x + 0.3, floor=1e-6), one, atol=2e-3)


def test_bands_are_normalised_each_by_itself_and_a_constant_one_is_0(texture):
    x = texture(2, 20, 20)
    stacked = jnp.asarray(np.stack([x[0], np.full_like(x[0], 0.7), x[1]], axis=-1))
    got = np.asarray(local_contrast_normalize(stacked))
    np.testing.assert_allclose(got[..., 2], local_contrast_normalize(jnp.asarray(x[1])), atol=1e-5)
    np.testing.assert_allclose(got[..., 1], 0, atol=1e-4)


@pytest.mark.parametrize(
    ("option", "text"),
    [({"radius": 0}, "radius is 0"), ({"window": "x"}, "window is 'x'"), ({"floor": 0}, "floor is 0")],
)
def test_settings_out_of_their_domain(option, text):
    with pytest.raises(ConfigError, match=text):
        local_contrast_normalize(jnp.zeros((9, 9), jnp.float32), **option)
