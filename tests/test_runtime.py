"""Batches, devices and the loop: nothing of them shows in the results."""

from typing import NamedTuple

import jax
import numpy as np
import pytest

import planetcd_jax as pcd
from planetcd_jax.runtime import batches, choose_devices, make_plan, run_detection

QUICK = pcd.PAPER.replace(layer="conv1_2", max_shift=4)


class Pair(NamedTuple):
    before: np.ndarray
    after: np.ndarray
    context: np.ndarray | None = None


class Memory:
    """Pairs that are there already; None stands for a bad one."""

    def __init__(self, pairs):
        self.pairs = pairs
        self.ids = tuple(f"pair{i}" for i in range(len(pairs)))

    def __len__(self):
        return len(self.pairs)

    def read(self, i):
        if self.pairs[i] is None:
            raise pcd.BadPairError(f"{self.ids[i]}.png is constant; leave it out.")
        return self.pairs[i]


@pytest.fixture
def source(texture):
    return Memory([Pair(x, y) for x, y in zip(texture(9, 24, 24, seed=1), texture(9, 24, 24, seed=2), strict=True)])


def run(source, params, **options):
    return run_detection(jax.random.key(3), params, source, QUICK, progress=False, **options)


def test_the_loop_is_detect(source, params):
    got = run(source, params)
    before, after = (np.stack([getattr(p, name) for p in source.pairs]) for name in ("before", "after"))
    found = jax.jit(pcd.detect, static_argnames="config")(jax.random.key(3), params, before, after, config=QUICK)
    for field in ("rho", "rho_null", "tau", "changed", "p_value"):
        np.testing.assert_allclose(getattr(got, field), getattr(found, field), rtol=1e-5)
    assert got.compile_seconds > 0 and got.seconds > 0 and got.pairs_per_second > 0


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(dict(batch_size=1), marks=pytest.mark.slow),
        dict(batch_size=7),
        pytest.param(dict(batch_size=64), marks=pytest.mark.slow),
        pytest.param(dict(num_devices=4), marks=pytest.mark.slow),
        dict(num_devices=4, batch_size=7),
    ],
)
def test_batch_size_and_devices_change_nothing(options, source, params):
    one = run(source, params, num_devices=1, batch_size=64)
    other = run(source, params, **({"num_devices": 1} | options))
    for field in ("rho", "rho_null", "tau", "p_value"):
        np.testing.assert_allclose(getattr(other, field), getattr(one, field), rtol=1e-5)
    np.testing.assert_array_equal(other.index, np.arange(9))
    assert len(other.devices) == options.get("num_devices", 1)


def test_shapes_are_grouped_and_order_is_kept(params, texture):
    small, large = texture(3, 24, 24), texture(2, 32, 28, seed=5)
    colour = np.moveaxis(texture(3, 24, 24, seed=4), 0, -1)
    pairs = [Pair(small[0], small[1]), Pair(large[0], large[1]), Pair(colour, colour * 0.5), Pair(small[1], small[2])]
    got = run(Memory(pairs), params, batch_size=2, num_devices=1)
    score = jax.jit(pcd.change_score, static_argnames="config")
    wanted = [score(params, p.before, p.after, config=QUICK) for p in pairs]
    np.testing.assert_allclose(got.rho, wanted, rtol=1e-5)


def test_real_context_reaches_the_null(params, texture):
    large = texture(3, 32, 32)
    source = Memory([Pair(x[4:-4, 4:-4], x[4:-4, 4:-4], x) for x in large])
    cfg = QUICK.replace(noise_sigma=0.0)
    got = run_detection(jax.random.key(0), params, source, cfg, progress=False, num_devices=1)
    draw = jax.jit(pcd.pseudo_unchanged, static_argnames="null")
    h = draw(jax.random.key(0), large[:, 4:-4, 4:-4], cfg.score.null, context=large)
    wanted = jax.jit(pcd.change_scores, static_argnames="config")(params, large[:, 4:-4, 4:-4], h, config=cfg)
    np.testing.assert_allclose(got.rho_null, wanted, rtol=1e-5)


def test_batches_are_padded_to_one_size(source):
    made = list(batches(source, lambda shape: 4))
    assert [b.count for b in made] == [4, 4, 1]
    assert {b.before.shape for b in made} == {(4, 24, 24)}
    np.testing.assert_array_equal(np.concatenate([b.index[: b.count] for b in made]), np.arange(9))
    assert next(batches(source, lambda shape: 100, multiple=4)).before.shape[0] == 12


def test_a_bad_pair_stops_or_is_skipped(source, params):
    broken = Memory([*source.pairs[:3], None, *source.pairs[3:]])
    with pytest.raises(pcd.BadPairError, match="pair3.png is constant"):
        run(broken, params)
    got = run(broken, params, on_bad_pair="skip")
    assert got.skipped == [("pair3", "pair3.png is constant; leave it out.")]
    np.testing.assert_array_equal(got.index, [0, 1, 2, 4, 5, 6, 7, 8, 9])
    with pytest.raises(pcd.DataError, match="no pair could be scored; the first of 2: pair0.png is constant"):
        run(Memory([None, None]), params, on_bad_pair="skip")
    with pytest.raises(pcd.DataError, match="holds no pair; check the path"):
        run(Memory([]), params)
    with pytest.raises(pcd.ConfigError, match="on_bad_pair is 'ignore'; choose one of error, skip"):
        run(source, params, on_bad_pair="ignore")


def test_plans_fit_the_device():
    assert make_plan((100, 100), num_devices=1).micro_batch == 4
    assert make_plan((100, 100), num_devices=4, batch_size=7).batch_size == 8
    with pytest.raises(pcd.ConfigError, match="batch_size is 0; give a number of pairs"):
        make_plan((100, 100), batch_size=0)
    with pytest.raises(pcd.ConfigError, match=r"num_devices is 99, and this machine has 4 \(cpu\)"):
        choose_devices(99)
