"""The C++ engine: the same activations, scores and gradients as XLA's network. Oracle: XLA."""

import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import planetcd_jax as pcd
from planetcd_jax.networks import vgg16, winograd
from planetcd_jax.runtime import chosen_engine, network_engine, run_detection, why_xla, winograd_engine

QUICK = pcd.PAPER.replace(layer="conv2_1", max_shift=4)
compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="needs a C++ compiler: apt-get install g++"
)


class Pair(NamedTuple):
    before: np.ndarray
    after: np.ndarray
    context: np.ndarray | None = None


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Compiled into a new folder, so that what is tested is what is there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@compiler
@pytest.mark.parametrize("layer", winograd.LAYERS)
def test_activations(layer, params):
    config = pcd.PAPER.replace(layer=layer)
    engine = winograd_engine(params, config)
    shapes = [(3, 37, 61), (1, 8, 5)] if layer in ("conv1_1", "conv3_2") else [(2, 23, 30)]
    for shape in shapes:  # sides that are no multiples of a tile or a pooling; fewer and more images than threads
        x = jax.random.normal(jax.random.key(1), (*shape, 3), jnp.float32)
        wanted = jax.jit(vgg16.network(config).apply)({"params": params}, x)
        got = jax.jit(engine.apply)(engine.params, x)
        for name in (layer, layer.replace("conv", "relu")):
            scale = np.abs(wanted[name]).max()
            np.testing.assert_allclose(got[name] / scale, wanted[name] / scale, atol=2e-5)


@compiler
def test_detect_under_jit_vmap_and_loop(params, texture):
    before, after = texture(6, 40, 36, seed=1), texture(6, 40, 36, seed=2)
    engine, key = winograd_engine(params, QUICK), jax.random.key(3)
    run = jax.jit(pcd.detect, static_argnames=("config", "apply", "micro_batch"))
    wanted = run(key, params, before, after, config=QUICK)
    for micro_batch in (None, 4):
        got = run(key, engine.params, before, after, config=QUICK, apply=engine.apply, micro_batch=micro_batch)
        np.testing.assert_allclose(got.rho, wanted.rho, rtol=1e-4)
        np.testing.assert_allclose(got.rho_null, wanted.rho_null, rtol=1e-4)


@compiler
def test_several_devices(params, texture):
    class Memory:
        ids = tuple("abcdefg")

        def __len__(self):
            return 7

        def read(self, i):
            return Pair(before[i], after[i])

    before, after = texture(7, 32, 32, seed=1), texture(7, 32, 32, seed=2)
    engine, key = network_engine("auto", params, QUICK), jax.random.key(0)
    assert engine.apply is not None
    wanted = run_detection(key, params, Memory(), QUICK, num_devices=1, progress=False)
    for devices in (1, 4):
        options = dict(num_devices=devices, apply=engine.apply, progress=False)
        got = run_detection(key, engine.params, Memory(), QUICK, **options)
        np.testing.assert_allclose(got.rho, wanted.rho, rtol=1e-4)
        np.testing.assert_allclose(got.rho_null, wanted.rho_null, rtol=1e-4)


@compiler
def test_score_map(params, texture):
    before, after = texture(2, 60, 72)
    engine = winograd_engine(params, QUICK)
    options = dict(config=QUICK, window=32, stride=8)
    run = jax.jit(pcd.score_map, static_argnames=("config", "window", "stride", "apply"))
    wanted = run(params, before, after, **options)
    np.testing.assert_allclose(run(engine.params, before, after, **options, apply=engine.apply), wanted, rtol=1e-4)


@compiler
def test_reverse_mode_gradient(params, texture):
    before, after = texture(2, 24, 24)
    engine = winograd_engine(params, QUICK)
    wanted = jax.jit(jax.grad(lambda y: pcd.change_score(params, before, y, QUICK)))(after)
    got = jax.jit(jax.grad(lambda y: pcd.change_score(engine.params, before, y, QUICK, apply=engine.apply)))(after)
    np.testing.assert_allclose(got, wanted, atol=1e-3 * np.abs(wanted).max())


@compiler
def test_nan_is_not_lost(params, texture):
    engine = winograd_engine(params, QUICK)
    x = jnp.asarray(texture(1, 24, 24)[0]).at[5, 5].set(jnp.nan)
    assert jnp.isnan(pcd.change_score(engine.params, x, x, QUICK, apply=engine.apply))


@compiler
def test_parameters_cannot_be_mapped(params):
    engine = winograd_engine(params, QUICK)
    many = jax.tree.map(lambda a: jnp.stack([a, a]), engine.params)
    with pytest.raises(jax.errors.JaxRuntimeError, match="do not map over parameters"):
        jax.jit(jax.vmap(engine.apply, (0, None)))(many, jnp.zeros((1, 8, 8, 3)))["conv2_1"].block_until_ready()


def test_what_it_cannot_do_is_refused(params, monkeypatch, tmp_path):
    with pytest.raises(pcd.ConfigError, match="does vgg16 up to conv3_3 in float32, not vgg16 to conv3_2 in bfloat16"):
        winograd_engine(params, pcd.PAPER.replace(precision="bfloat16"))
    with pytest.raises(pcd.ConfigError, match="engine is 'cuda'; choose one of auto, xla, winograd"):
        network_engine("cuda", params, pcd.PAPER)
    assert network_engine("xla", params, pcd.PAPER) == (params, None)
    low = pcd.PAPER.replace(precision="bfloat16")
    assert network_engine("auto", params, low) == (params, None) and "in bfloat16" in why_xla(low)
    assert chosen_engine("auto", low) == chosen_engine("xla", pcd.PAPER) == "xla"
    with pytest.raises(pcd.ConfigError, match="in bfloat16; use the xla engine"):
        chosen_engine("winograd", low)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(pcd.ConfigError, match="needs a C\\+\\+ compiler, and no-such-compiler is not here"):
        winograd.compiled_library(tmp_path)
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(pcd.ConfigError, match="false cannot compile winograd.cc"):
        winograd.compiled_library(tmp_path)
    assert not list(tmp_path.iterdir())
