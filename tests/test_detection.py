"""The whole method as one function: against its parts, and for what must not change it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import planetcd_jax as pcd

QUICK = pcd.PAPER.replace(layer="conv1_2", max_shift=4)
STATIC = ("config", "micro_batch")
h = jax.jit(pcd.pseudo_unchanged, static_argnames="null")
scores = jax.jit(pcd.change_scores, static_argnames="config")
detect_jit = jax.jit(pcd.detect, static_argnames=STATIC)


@pytest.fixture
def pairs(texture):
    return texture(7, 32, 32, seed=1), texture(7, 32, 32, seed=2)


@pytest.mark.parametrize("fill", ["reflect", "crop"])
def test_detect_is_the_sum_of_its_parts(fill, params, pairs):
    before, after = pairs
    cfg, key = QUICK.replace(shift_fill=fill), jax.random.key(4)
    found = detect_jit(key, params, before, after, cfg)
    rho = scores(params, before, after, cfg)
    kept = before if fill == "reflect" else before[:, 4:-4, 4:-4]
    rho_null = scores(params, kept, h(key, before, cfg.score.null), cfg)
    np.testing.assert_allclose(found.rho, rho, rtol=1e-5)
    np.testing.assert_allclose(found.rho_null, rho_null, rtol=1e-5)
    np.testing.assert_allclose(found.tau, pcd.threshold(rho_null, cfg.decision), rtol=1e-5)
    np.testing.assert_array_equal(found.changed, np.asarray(found.rho) > found.tau)
    np.testing.assert_allclose(found.p_value, pcd.p_values(found.rho, found.rho_null), rtol=1e-6)
    chex.assert_type(found.rho, jnp.float32)
    chex.assert_shape([found.rho, found.rho_null, found.changed, found.p_value], (7,))


@pytest.mark.parametrize("micro_batch", [1, 3, 50, "auto"])
def test_micro_batches_change_nothing(micro_batch, params, pairs):
    key = jax.random.key(0)
    whole = detect_jit(key, params, *pairs, QUICK)
    split = detect_jit(key, params, *pairs, QUICK, micro_batch=micro_batch)
    chex.assert_trees_all_close(split, whole, rtol=1e-5)


def test_padding_is_inert(params, pairs):
    key = jax.random.key(0)
    whole = detect_jit(key, params, *pairs, QUICK)
    padded = [np.concatenate([x, np.full((3, 32, 32), 7.0, np.float32)]) for x in pairs]
    found = detect_jit(key, params, *padded, QUICK, valid=np.arange(10) < 7)
    np.testing.assert_allclose(found.tau, whole.tau, rtol=1e-6)
    for field in ("rho", "rho_null", "changed", "p_value"):
        np.testing.assert_allclose(getattr(found, field)[:7], getattr(whole, field), rtol=1e-6)
    assert np.isnan(found.rho[7:]).all() and not found.changed[7:].any()


def test_before_goes_through_the_network_once(params, pairs):
    """Three passes for each pair (before, after, h(before)), not four: counted in the traced program."""
    calls = []

    def apply(params, x):
        calls.append(x.shape)
        return {"mean": x}

    cfg = QUICK.replace(backbone=pcd.Custom(layer="mean", function=apply))
    jax.eval_shape(lambda key: pcd.detect(key, None, *pairs, cfg), jax.random.key(0))
    assert len(calls) == 3


def test_context_is_used(params, texture):
    large = texture(4, 48, 48)
    before = large[:, 4:-4, 4:-4]
    cfg, key = QUICK.replace(noise_sigma=0.0), jax.random.key(1)
    found = detect_jit(key, params, before, before, cfg, context=large)
    shifted = h(key, before, cfg.score.null, context=large)
    np.testing.assert_allclose(found.rho_null, scores(params, before, shifted, cfg), rtol=1e-5)
    np.testing.assert_array_equal(found.rho, np.zeros(4))


def test_compiles_once_for_a_shape(params, texture):
    run = jax.jit(chex.assert_max_traces(lambda key, params, x, y: pcd.detect(key, params, x, y, QUICK), n=1))
    for seed in range(3):
        run(jax.random.key(seed), params, texture(5, 32, 32, seed=seed), texture(5, 32, 32, seed=seed + 9))


def test_keys_decide_the_null_alone(params, pairs):
    first, again, other = (detect_jit(jax.random.key(k), params, *pairs, QUICK) for k in (0, 0, 1))
    chex.assert_trees_all_equal(first, again)
    np.testing.assert_array_equal(first.rho, other.rho)
    assert not np.allclose(first.rho_null, other.rho_null)


def test_errors_name_the_remedy(params, pairs):
    before, after = pairs
    with pytest.raises(pcd.PatchError, match=r"give two \[N, H, W\(, C\)\] batches and \[N\] numbers"):
        pcd.detect(jax.random.key(0), params, before, after[:3], QUICK)
    with pytest.raises(pcd.PatchError, match=r"pseudo-unchanged patch has shape .*keep the shape"):
        pcd.detect(jax.random.key(0), params, before, after, QUICK.replace(null=pcd.OwnNull(lambda key, x: x[2:])))
    custom = QUICK.replace(backbone=pcd.Custom(layer="mine", function=lambda params, x: {"stem": x}))
    with pytest.raises(pcd.ConfigError, match=r"no activation named 'mine'; it has stem"):
        pcd.detect(jax.random.key(0), params, before, after, custom)


@pytest.mark.parametrize("micro_batch", [None, 1, 2, 4, "auto"])
def test_a_micro_batch_is_compiled_once_and_the_rest_is_dropped(micro_batch, params, texture):
    """Seven pairs in loops of two and four: the last loop is filled up, and what filled it is not seen."""
    calls = []

    def apply(params, x):
        calls.append(x.shape)
        return {"mean": x.mean(axis=(1, 2), keepdims=True) + 0 * params}

    cfg = pcd.PAPER.replace(backbone=pcd.Custom(layer="mean", function=apply))
    before, after = texture(7, 24, 24, seed=1), texture(7, 24, 24, seed=2)
    found = jax.jit(lambda b, a: pcd.detect(jax.random.key(0), jnp.float32(0), b, a, cfg, micro_batch=micro_batch))
    wanted = np.abs(after.mean((1, 2)) - before.mean((1, 2))) / 0.229  # by hand, of the first channel
    scales = np.sum([0.229 / s for s in cfg.backbone.input_std])
    np.testing.assert_allclose(found(before, after).rho, wanted * scales, rtol=1e-3, atol=1e-4)
    assert len(calls) == 3
