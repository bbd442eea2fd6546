"""H: the shift takes true pixels, the noise has its sigma, and a patch's draw is its own."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import planetcd_jax as pcd
from planetcd_jax.scores.null import NoiseAndShift, draw_shift

h = jax.jit(pcd.pseudo_unchanged, static_argnames=("null", "batched"))
detect = jax.jit(pcd.detect, static_argnames="config")
QUIET = NoiseAndShift(noise_sigma=0.0, max_shift=5)
PAPER = pcd.PAPER.score.null


def shift_of(key, index, null):
    """The shift that a patch gets, from the documented use of keys."""
    return np.asarray(draw_shift(jax.random.split(pcd.patch_key(key, jnp.uint32(index)))[0], null.max_shift))


@pytest.mark.parametrize(
    ("fill", "mode", "bands"),
    [
        ("reflect", "reflect", ()),
        ("reflect", "reflect", (3,)),
        ("edge", "edge", ()),
        ("wrap", "wrap", (3,)),
        ("zero", "constant", ()),
    ],
)
def test_shift_and_fill_agree_with_numpy(fill, mode, bands):
    x = np.random.default_rng(0).random((20, 30, *bands)).astype(np.float32)
    cfg = dataclasses.replace(QUIET, shift_fill=fill)
    for seed in range(5):
        key = jax.random.key(seed)
        rows, columns = shift_of(key, 0, cfg)
        padded = np.pad(x, [(5, 5), (5, 5)] + [(0, 0)] * len(bands), mode=mode)
        wanted = padded[5 + rows : 25 + rows, 5 + columns : 35 + columns]
        np.testing.assert_array_equal(h(key, x, cfg), wanted)


def test_context_gives_true_pixels():
    large = np.random.default_rng(0).random((30, 40)).astype(np.float32)
    key = jax.random.key(3)
    rows, columns = shift_of(key, 0, QUIET)
    got = h(key, large[5:25, 5:35], QUIET, context=large)
    np.testing.assert_array_equal(got, large[5 + rows : 25 + rows, 5 + columns : 35 + columns])


def test_crop_gives_the_common_area_of_both():
    x = np.random.default_rng(0).random((30, 40)).astype(np.float32)
    cfg = dataclasses.replace(QUIET, shift_fill="crop")
    key = jax.random.key(8)
    kept, moved = cfg.pair(key, x)
    np.testing.assert_array_equal(kept, x[5:-5, 5:-5])
    rows, columns = (int(v) for v in draw_shift(jax.random.split(key)[0], 5))
    np.testing.assert_array_equal(moved, x[5 + rows : 25 + rows, 5 + columns : 35 + columns])


def steepest_step(image):
    return max(np.abs(np.diff(image, axis=axis)).max() for axis in (0, 1))


@pytest.mark.parametrize("fill", ["reflect", "edge", "crop"])
def test_the_shift_brings_in_no_seam(fill):
    """On a ramp every step is 0.01 or 0.02; rolling it would put a step of most of the range into the patch."""
    rows, columns = np.mgrid[:32, :32].astype(np.float32)
    ramp = (0.01 * rows + 0.02 * columns).astype(np.float32)
    keys = [jax.random.key(seed) for seed in range(8)]
    cfg = dataclasses.replace(QUIET, shift_fill=fill)
    assert max(steepest_step(h(key, ramp, cfg)) for key in keys) <= steepest_step(ramp) + 1e-6
    rolled = dataclasses.replace(QUIET, shift_fill="wrap")
    assert max(steepest_step(h(key, ramp, rolled)) for key in keys) > 10 * steepest_step(ramp)


def test_default_fill_gives_a_lower_null_than_rolling(params, texture):
    """On a slope of light, the artificial edge of a roll is what max pooling finds."""
    rows, columns = np.mgrid[:40, :40] / 40.0
    slopes = np.stack([rows, columns, 1 - rows, 1 - columns, (rows + columns) / 2, (1 + rows - columns) / 2])
    patches = (0.9 * slopes + 0.1 * texture(6, 40, 40)).astype(np.float32)
    mean = {}
    for fill in ("reflect", "wrap"):
        cfg = pcd.PAPER.replace(layer="conv2_1", noise_sigma=0.0, shift_fill=fill)
        mean[fill] = float(detect(jax.random.key(0), params, patches, patches, config=cfg).rho_null.mean())
    assert PAPER.shift_fill == "reflect"
    assert mean["reflect"] < 0.7 * mean["wrap"]


def test_shift_is_uniform_up_to_its_bound():
    shifts = np.asarray(jax.vmap(lambda k: draw_shift(k, 10))(jax.random.split(jax.random.key(0), 21_000)))
    counts = np.stack([np.bincount(shifts[:, axis] + 10, minlength=21) for axis in (0, 1)])
    assert counts.shape == (2, 21)
    assert (np.abs(counts - 1000) < 6 * np.sqrt(1000)).all()  # six standard deviations of a Poisson count
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 0.05


def test_noise_has_its_sigma():
    cfg = NoiseAndShift(max_shift=0, noise_sigma=0.03)
    flat = jnp.full((200, 200), 0.5)
    noise = np.asarray(h(jax.random.key(0), flat, cfg)) - 0.5
    assert abs(noise.std() / 0.03 - 1) < 0.02
    assert abs(noise.mean()) < 0.001


def test_no_noise_and_no_shift_change_nothing(texture):
    x = texture(3, 20, 20)
    cfg = NoiseAndShift(max_shift=0, noise_sigma=0.0)
    np.testing.assert_array_equal(h(jax.random.key(0), x, cfg), x)


class DrawTest(chex.TestCase):
    """A patch's draw depends on the key and its own index alone."""

    @chex.variants(with_jit=True, without_jit=True)
    def test_batch_is_patch_by_patch_whatever_is_beside_it(self):
        x = np.random.default_rng(0).random((6, 24, 24), np.float32)
        key = jax.random.key(11)
        draw = self.variant(lambda x, index: pcd.pseudo_unchanged(key, x, PAPER, index=index))
        together = draw(x, jnp.arange(6, dtype=jnp.uint32))
        backwards = draw(x[::-1], jnp.arange(6, dtype=jnp.uint32)[::-1])
        np.testing.assert_allclose(backwards[::-1], together, atol=1e-6)
        for i in range(6):
            alone = h(key, x[i], PAPER, index=jnp.uint32(i))
            np.testing.assert_allclose(alone, together[i], atol=1e-6)
        assert not np.allclose(together[0] - x[0], together[1] - x[1])


def test_three_axes_are_told_apart_by_the_last():
    key = jax.random.key(0)
    colour, batch = np.ones((20, 20, 3), np.float32), np.ones((3, 20, 20), np.float32)
    assert h(key, colour, PAPER).shape == (20, 20, 3)
    own = [h(key, x, PAPER, index=jnp.uint32(i)) for i, x in enumerate(batch)]
    np.testing.assert_allclose(h(key, batch, PAPER), np.stack(own), rtol=1e-6)
    bands = np.ones((20, 20, 18), np.float32)
    as_patch = h(key, bands, PAPER, batched=False)
    assert not np.allclose(as_patch, h(key, bands, PAPER, batched=True))


def test_errors_name_the_remedy():
    key = jax.random.key(0)
    with pytest.raises(pcd.PatchError, match=r"10x10 px is too small to reflect 10 px .* lower max_shift below 10"):
        h(key, np.ones((10, 10), np.float32), PAPER)
    with pytest.raises(pcd.PatchError, match=r"nothing left after 10 px are cropped"):
        h(key, np.ones((20, 20), np.float32), NoiseAndShift(shift_fill="crop"))
    with pytest.raises(pcd.PatchError, match=r"context has shape \(30, 30\); with max_shift=10 it must be \(40, 40\)"):
        h(key, np.ones((20, 20), np.float32), PAPER, context=np.ones((30, 30), np.float32))
    with pytest.raises(pcd.PatchError, match=r"before has shape \(20,\); give \[H, W\]"):
        h(key, np.ones(20, np.float32), PAPER)
