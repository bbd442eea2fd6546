"""An image in the corner of a larger array is treated as it is alone: a few programs serve pairs of any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import planetcd_jax as pcd
from planetcd_jax import explain
from planetcd_jax.detection import batch_scores
from planetcd_jax.networks.winograd import serve, why_xla
from planetcd_jax.ops import extents
from planetcd_jax.ops.filters import blur, blur_matrix, blur_weights
from planetcd_jax.runtime import batches, run_detection
from planetcd_jax.runtime.batches import LARGEST_GROWTH, padded_pairs, padded_shapes, padded_side
from planetcd_jax.scores.dcva import change_mask
from planetcd_jax.scores.registered.relief import relief_maps
from tests.test_runtime import Memory, Pair

SIDE = 64
SIZES = ((64, 64), (53, 61), (41, 34))


def enlarged(x, fill=0.0):
    """[h, w(, C)] in the corner of a larger array."""
    return np.pad(x, [(0, SIDE - n) for n in x.shape[:2]] + [(0, 0)] * (x.ndim - 2), constant_values=fill)


def dates(texture, size, bands=()):
    """A pair with a change and some noise."""
    x = texture(max(1, *bands, 1), *size, seed=sum(size)).transpose(1, 2, 0) if bands else texture(1, *size)[0]
    noise = np.random.default_rng(sum(size)).normal(0, 0.02, x.shape)
    y = np.clip(0.9 * np.roll(x, 1, axis=1) + noise, 0, 1).astype(np.float32)
    y[size[0] // 2 :][:9, 12:20] *= 0.4
    return x, y


def same(config, texture, bands, tolerance, sizes=SIZES):
    assert config.score.pads(config.backbone)
    scores = jax.jit(batch_scores, static_argnames="config")
    params = config.backbone.prepare(pcd.load_vgg16())
    pairs = [dates(texture, size, bands) for size in sizes]
    stacks = (np.stack([enlarged(pair[k]) for pair in pairs]) for k in (0, 1))
    index, key = np.arange(len(sizes), dtype=np.uint32), jax.random.key(3)
    found = scores(key, params, *stacks, index, config, size=np.array(sizes, np.int32))
    for n, (x, y) in enumerate(pairs[1:], start=1):
        wanted = scores(key, params, x[None], y[None], index[n : n + 1], config)
        for got, alone in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got[n], alone[0], rtol=tolerance)


@pytest.mark.parametrize(
    ("changes", "bands", "sizes"),
    [
        ({}, (), SIZES),
        ({"shift_fill": "edge", "feature_standardize": True}, (3,), SIZES[::2]),
        ({"shift_fill": "zero", "pooling": "mean", "patch_standardize": True}, (2,), SIZES[::2]),
        ({"shift_fill": "wrap", "activation": "post", "feature_clip": 2.0}, (), SIZES[::2]),
    ],
)
def test_the_papers_score_and_its_null_are_those_of_the_pair_alone(changes, bands, sizes, texture):
    """Of both smaller sizes once, else of the one that fills least of the array: each is a program to compile."""
    same(pcd.PAPER.replace(layer="conv2_1", **changes), texture, bands, 5e-6, sizes)


def test_in_c_plus_plus_too(texture):
    config = pcd.PAPER.replace(layer="conv3_1")
    reason = why_xla(config.backbone)
    if reason:
        pytest.skip(reason)
    same(config.replace(backbone=serve("winograd", config.backbone)), texture, (), 2e-6)


@pytest.mark.slow
def test_the_registered_score_and_its_null_are_those_of_the_pair_alone(texture):
    # Not to 1e-6: two programs for one and the same array differ by 1e-5 already. The size that fills least of the
    # array, since each size alone is a program that takes a dozen seconds to compile.
    same(pcd.ROBUST.replace(layer="conv2_1"), texture, (), 1e-4, SIZES[::2])


@pytest.mark.parametrize("score", ["pooled", "registered"])
def test_whose_statistics_cannot_be_told_apart_is_not_padded_into_larger_arrays(score):
    assert not pcd.AUTHORS_CODE.replace(score=score).score.pads(pcd.AUTHORS_CODE.backbone)
    assert not pcd.PAPER.replace(shift_fill="crop").score.pads(pcd.PAPER.backbone)
    assert not pcd.PAPER.replace(score="rcva").score.pads(pcd.PAPER.backbone)


@pytest.mark.slow
def test_what_is_explained_and_drawn_is_that_of_the_pair_alone(params, texture):
    config = pcd.PAPER.replace(layer="conv2_2")

    @jax.jit
    def told(before, after, size):
        with extents.extent(before.shape, size):
            heat = pcd.pixel_change_map(params, before, after, config)
            curve = explain.rho_by_shift(params, before, after, config, (-4, 4))
            return explain.explain(params, before, after, config), curve, heat, change_mask(heat)

    x, y = dates(texture, SIZES[1])
    *wanted, heat, mask = told(x, y, None)
    *found, large_heat, large_mask = told(enlarged(x, 0.5), enlarged(y, 0.2), np.array(x.shape, np.int32))
    for got, alone in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(got, alone, rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(large_heat[:53, :61], heat, atol=1e-5 * float(heat.max()))
    np.testing.assert_array_equal(large_mask[:53, :61], mask)


@pytest.mark.slow
@pytest.mark.parametrize("config", [pcd.PAPER, pcd.ROBUST])
def test_changed_pixels_and_their_level_are_those_of_the_pair_alone(config, params, texture):
    config = config.replace(layer="conv1_2")

    @jax.jit
    def told(before, after, size):
        with extents.extent(before.shape, size):
            return pcd.pixel_change(jax.random.key(0), params, before, after, config)

    x, y = dates(texture, SIZES[1])
    y = y.copy()
    y[20:30, 24:36] *= 0.4
    wanted, found = told(x, y, None), told(enlarged(x, 0.5), enlarged(y, 0.2), np.array(x.shape, np.int32))
    found = jax.tree.map(lambda z: z if z.ndim == 0 else z[: x.shape[0], : x.shape[1]], found)
    assert wanted.changed.any() or config.score.kind == "pooled"  # noise of a first layer hides this change
    for name in ("size", "level", "signed"):
        got, alone = getattr(found, name), getattr(wanted, name)
        np.testing.assert_allclose(got, alone, rtol=1e-4, atol=1e-4 * float(wanted.size.max()), err_msg=name)
    for name in ("known", "changed"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)


@jax.jit
def blurs_and_waves(x):
    return [blur(x, sigma) for sigma in (1.0, 2.0, 8.0)], relief_maps(x)


@jax.jit
def blurs_and_waves_within(x, size):
    with extents.extent((SIDE, SIDE), size):
        return blurs_and_waves.__wrapped__(x)


@pytest.mark.parametrize("size", SIZES[1:])
def test_blurs_and_waves_end_at_the_border_of_the_image(size):
    x = np.random.default_rng(0).normal(size=size).astype(np.float32)
    found, wanted = blurs_and_waves_within(enlarged(x), np.array(size, np.int32)), blurs_and_waves(x)
    for got, alone, tolerance in zip(found, wanted, (2e-6, 2e-5), strict=True):
        for y, z in zip(got, alone, strict=True):
            np.testing.assert_allclose(y[: size[0], : size[1]], z, atol=tolerance)


@pytest.mark.parametrize(("length", "sigma"), [(32, 8.0), (33, 1.2), (60, 8.0), (64, 2.0)])
def test_weights_for_any_length_are_those_of_the_matrix(length, sigma):
    found = blur_weights(SIDE, sigma, jnp.int32(length))
    np.testing.assert_allclose(found[:length, :length], blur_matrix(length, sigma), atol=1e-7)
    assert (np.asarray(found)[:, length:] == 0).all()


def test_sides_of_larger_arrays_are_few_and_not_much_larger():
    sides = [padded_side(n) for n in range(32, 1000)]
    assert all(n <= side <= 1.5 * n for n, side in zip(range(34, 1000), sides[2:], strict=True))
    assert set(sides) == {32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024}
    shapes = [tuple(n) for n in np.random.default_rng(0).integers(40, 200, (50, 2)).tolist()]
    arrays = padded_shapes(shapes)
    assert len(set(arrays.values())) <= 6
    for shape, sides in arrays.items():
        assert sides[0] >= shape[0] and sides[1] >= shape[1]
        assert sides[0] * sides[1] <= max(128 * 128, LARGEST_GROWTH * padded_side(shape[0]) * padded_side(shape[1]))


def test_what_fills_no_batch_shares_arrays_and_the_rest_keeps_its_shape(texture):
    shapes = [(40, 40)] * 5 + [(41, 37), (45, 60), (20, 40)] + [(40, 40)] * 2
    source = Memory([Pair(texture(1, *shape)[0], texture(1, *shape)[0]) for shape in shapes])
    found = list(batches(source, lambda shape: 5, pads=True))
    assert [batch.before.shape for batch in found] == [(5, 40, 40), (4, 48, 64), (1, 20, 40), (5, 40, 40)]
    assert found[0].size is None and found[1].size[:2].tolist() == [[41, 37], [45, 60]]
    assert sorted(i for batch in found for i in batch.index[: batch.count]) == list(range(10))
    assert {len(batch.before) for batch in batches(source, lambda shape: 5)} == {5, 1}


@pytest.mark.slow
def test_a_set_of_many_sizes_compiles_a_few_programs_and_decides_as_alone(params, texture, monkeypatch):
    sizes = [(32 + 3 * n, 60 - 2 * n) for n in range(9)]
    source = Memory([Pair(*dates(texture, size)) for size in sizes])
    config = pcd.PAPER.replace(layer="conv1_2")
    compiled = []
    lower = jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda *a, **k: compiled.append(1) or lower(*a, **k))
    found = run_detection(jax.random.key(0), params, source, config, progress=False, num_devices=1)
    assert len(compiled) <= 2
    monkeypatch.setattr(type(config.score), "pads", lambda *_: False)
    wanted = run_detection(jax.random.key(0), params, source, config, progress=False, num_devices=1)
    np.testing.assert_allclose(found.rho, wanted.rho, rtol=1e-6)
    np.testing.assert_allclose(found.rho_null, wanted.rho_null, rtol=1e-6)
    assert len(compiled) >= 9


def test_pairs_of_one_shape_are_given_as_they_are():
    one, other = (Pair(np.zeros(shape, np.float32), np.ones(shape, np.float32)) for shape in ((40, 40), (50, 41)))
    assert [size for *_, size in padded_pairs([one, one], True)] == [None, None]
    assert [size for *_, size in padded_pairs([one, other], False)] == [None, None]
    (x, _, first), (_, y, second) = padded_pairs([one, other], True)
    assert x.shape == y.shape == (64, 48) and (first.tolist(), second.tolist()) == ([40, 40], [50, 41])
    assert y.sum() == 50 * 41
