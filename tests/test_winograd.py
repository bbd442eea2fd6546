"""The C++ engine: the same activations, scores and gradients as XLA's network. Oracle: XLA."""

import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import planetcd_jax as pcd
from planetcd_jax import with_engine
from planetcd_jax.networks import winograd
from planetcd_jax.networks.winograd import engine_of, serve, why_xla
from planetcd_jax.runtime import run_detection

QUICK = pcd.PAPER.replace(layer="conv2_1", max_shift=4)
compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++", "c++"))), reason="needs a C++ compiler: apt-get install g++"
)


class Pair(NamedTuple):
    before: np.ndarray
    after: np.ndarray
    context: np.ndarray | None = None


@compiler
@pytest.mark.parametrize("layer", winograd.LAYERS)
def test_activations(layer, params):
    config = pcd.PAPER.replace(layer=layer)
    backbone = with_engine(config).backbone
    packed = backbone.prepare(params)
    shapes = [(3, 37, 61), (1, 8, 5)] if layer in ("conv1_1", "conv3_2") else [(2, 23, 30)]
    for shape in shapes:  # sides that are no multiples of a tile or a pooling; fewer and more images than threads
        x = jax.random.normal(jax.random.key(1), (*shape, 3), jnp.float32)
        wanted = jax.jit(config.backbone.apply)(params, x)
        got = jax.jit(backbone.apply)(packed, x)
        for name in (layer, layer.replace("conv", "relu")):
            scale = np.abs(wanted[name]).max()
            np.testing.assert_allclose(got[name] / scale, wanted[name] / scale, atol=2e-5)


@compiler
def test_detect_under_jit_vmap_and_loop(params, texture):
    before, after = texture(6, 40, 36, seed=1), texture(6, 40, 36, seed=2)
    config, key = with_engine(QUICK), jax.random.key(3)
    run = jax.jit(pcd.detect, static_argnames=("config", "micro_batch"))
    wanted = run(key, params, before, after, config=QUICK)
    packed = config.backbone.prepare(params)
    # Plain parameters are packed inside the program, in 32 bits; prepared ones, in 64, are taken as they are.
    for micro_batch, given in ((None, params), (4, packed), ("auto", params)):
        got = run(key, given, before, after, config=config, micro_batch=micro_batch)
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
    config, key = with_engine(QUICK, "auto"), jax.random.key(0)
    assert engine_of(config.backbone) == "winograd"
    wanted = run_detection(key, params, Memory(), QUICK, num_devices=1, progress=False)
    for devices in (1, 4):
        got = run_detection(key, params, Memory(), config, num_devices=devices, progress=False)
        np.testing.assert_allclose(got.rho, wanted.rho, rtol=1e-4)
        np.testing.assert_allclose(got.rho_null, wanted.rho_null, rtol=1e-4)


@compiler
def test_score_map(params, texture):
    before, after = texture(2, 60, 72)
    options = dict(window=32, stride=8)
    run = jax.jit(pcd.score_map, static_argnames=("config", "window", "stride"))
    wanted = run(params, before, after, config=QUICK, **options)
    np.testing.assert_allclose(run(params, before, after, config=with_engine(QUICK), **options), wanted, rtol=1e-4)


@compiler
def test_reverse_mode_gradient(params, texture):
    before, after = texture(2, 24, 24)

    def slope(config):
        return jax.jit(jax.grad(lambda y: pcd.change_score(params, before, y, config)))(after)

    wanted = slope(QUICK)
    np.testing.assert_allclose(slope(with_engine(QUICK)), wanted, atol=1e-3 * np.abs(wanted).max())


@compiler
def test_nan_is_not_lost(params, texture):
    x = jnp.asarray(texture(1, 24, 24)[0]).at[5, 5].set(jnp.nan)
    assert jnp.isnan(pcd.change_score(params, x, x, with_engine(QUICK)))


@compiler
def test_parameters_cannot_be_mapped(params):
    backbone = with_engine(QUICK).backbone
    many = jax.tree.map(lambda a: jnp.stack([a, a]), backbone.prepare(params))
    with pytest.raises(jax.errors.JaxRuntimeError, match="do not map over parameters"):
        jax.jit(jax.vmap(backbone.apply, (0, None)))(many, jnp.zeros((1, 8, 8, 3)))["conv2_1"].block_until_ready()


def test_what_it_cannot_do_is_refused(monkeypatch, tmp_path):
    low = pcd.PAPER.replace(precision="bfloat16")
    with pytest.raises(pcd.ConfigError, match="does vgg16 up to conv3_3 in float32, not vgg16 to conv3_2 in bfloat16"):
        with_engine(low)
    with pytest.raises(pcd.ConfigError, match="does vgg16 up to conv3_3 in float32, not custom; use the xla engine"):
        with_engine(pcd.PAPER.replace(backbone=pcd.Custom(layer="x", function=len)))
    with pytest.raises(pcd.ConfigError, match="engine is 'cuda'; choose one of auto, xla, winograd"):
        with_engine(pcd.PAPER, "cuda")
    assert serve("xla", pcd.PAPER.backbone) is pcd.PAPER.backbone
    assert serve("auto", low.backbone) is low.backbone and "in bfloat16" in why_xla(low.backbone)
    assert engine_of(low.backbone) == "xla"
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(pcd.ConfigError, match="needs a C\\+\\+ compiler, and no-such-compiler is not here"):
        winograd.compiled_library(tmp_path)
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(pcd.ConfigError, match="false cannot compile winograd.cc"):
        winograd.compiled_library(tmp_path)
    assert not list(tmp_path.iterdir())


@compiler
def test_a_pixel_map_of_several_layers_is_that_of_the_plain_network(params, texture):
    before, after = texture(2, 40, 44)
    config = pcd.PAPER.replace(layer="conv2_2")
    mapped = jax.jit(pcd.pixel_change_map, static_argnames="config")
    wanted = mapped(params, before, after, config=config)
    found = mapped(params, before, after, config=with_engine(config))
    np.testing.assert_allclose(found, wanted, atol=1e-5 * float(wanted.max()))
