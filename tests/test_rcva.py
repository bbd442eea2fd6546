"""RCVA against a slow NumPy reference, and the properties that its definition promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from planetcd_jax import PAPER, detect
from planetcd_jax.errors import ConfigError
from planetcd_jax.scores.rcva import Rcva


def reference(before, after, w, comparison):
    """Pixel by pixel, band by band, as the docstring of `Rcva.differences` says it."""
    before, after = (x[..., None] if x.ndim == 2 else x for x in (before, after))
    rows, columns, bands = before.shape
    magnitude = np.zeros((rows, columns))
    for r in range(rows):
        for c in range(columns):
            window = np.s_[max(r - w, 0) : r + w + 1, max(c - w, 0) : c + w + 1]
            for band in range(bands):
                a = after[r, c, band] - before[window][..., band]
                b = before[r, c, band] - after[window][..., band]
                if comparison == "signed":
                    a, b = np.clip(a, 0, None), np.clip(b, 0, None)
                else:
                    a, b = np.abs(a), np.abs(b)
                magnitude[r, c] += max(a.min(), b.min()) ** 2
    return np.sqrt(magnitude)


@pytest.mark.parametrize("comparison", ["signed", "absolute"])
@pytest.mark.parametrize(("shape", "window"), [((11, 14), 0), ((11, 14), 1), ((9, 8), 3), ((7, 9, 4), 2), ((3, 4), 5)])
def test_equals_the_slow_reference(shape, window, comparison):
    before, after = np.random.default_rng(0).uniform(size=(2, *shape)).astype(np.float32)
    got = Rcva(window=window, comparison=comparison).magnitude(jnp.asarray(before), jnp.asarray(after))
    np.testing.assert_allclose(got, reference(before, after, window, comparison), atol=1e-6)


def test_window_0_is_plain_change_vector_analysis(texture):
    before, after = texture(2, 12, 12)
    got = Rcva(window=0).magnitude(jnp.asarray(before), jnp.asarray(after))
    np.testing.assert_allclose(got, np.abs(after - before), atol=1e-7)  # by hand: one band


@pytest.mark.parametrize("comparison", ["signed", "absolute"])
def test_a_shift_within_the_window_is_no_change(texture, comparison):
    image = jnp.asarray(texture(1, 40, 40)[0])
    before, after = image[4:36, 4:36], image[6:38, 3:35]  # 2 rows, -1 column
    inside = np.s_[2:-2, 2:-2]  # at the border the matching pixel is outside
    assert float(Rcva(window=2, comparison=comparison).magnitude(before, after)[inside].max()) == 0
    assert float(Rcva(window=0, comparison=comparison).magnitude(before, after)[inside].max()) > 0.01


def test_swapping_the_dates_keeps_rho_and_equal_patches_score_0(texture):
    before, after = (jnp.asarray(x) for x in texture(2, 20, 20))
    assert float(Rcva().rho(None, before, after)) == float(Rcva().rho(None, after, before)) > 0
    assert float(Rcva().rho(None, before, before)) == 0


def test_the_shared_detect_runs_it_and_finds_a_bright_change(texture):
    before = texture(12, 32, 32) * np.float32(0.5)
    after = before.copy()
    after[3, 10:20, 10:20] += 0.5
    out = jax.jit(detect, static_argnames="config")(
        jax.random.key(0), {}, jnp.asarray(before), jnp.asarray(after), PAPER.replace(score=Rcva())
    )
    assert np.flatnonzero(out.changed).tolist() == [3]
    assert float(out.rho_null.min()) > 0


def test_a_nan_pixel_gives_nan(texture):
    before, after = texture(2, 12, 12)
    after[5, 5] = np.nan
    assert np.isnan(Rcva().rho(None, jnp.asarray(before), jnp.asarray(after)))


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ({"window": -1}, r"window is -1; give the half-width"),
        ({"comparison": "x"}, r"comparison is 'x'; choose one of"),
    ],
)
def test_settings_out_of_their_domain(option, text):
    with pytest.raises(ConfigError, match=text):
        Rcva(**option)
