"""The examples of docs/jax.md of use inside other JAX code; none needs an edit of the package."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

import planetcd_jax as pcd

QUICK = pcd.PAPER.replace(layer="conv2_1", max_shift=4)


@pytest.fixture
def pairs(texture):
    return texture(4, 32, 32, seed=1), texture(4, 32, 32, seed=2)


@pytest.mark.slow
def test_vmap_over_seeds(params, pairs):
    keys = jax.random.split(jax.random.key(0), 3)
    found = jax.jit(jax.vmap(lambda key: pcd.detect(key, params, *pairs, QUICK)))(keys)
    assert found.tau.shape == (3,)
    assert len(set(np.asarray(found.tau).tolist())) == 3
    np.testing.assert_allclose(found.tau[1], pcd.detect(keys[1], params, *pairs, QUICK).tau, rtol=1e-5)


def test_gradient_by_the_after_patch(params, pairs):
    before, after = pairs[0][0], pairs[1][0]
    rho = jax.jit(lambda y: pcd.change_score(params, before, y, QUICK))
    saliency = jax.grad(rho)(after)
    assert saliency.shape == after.shape and np.isfinite(saliency).all()
    direction = np.random.default_rng(0).standard_normal(after.shape).astype(np.float32)
    direction /= np.linalg.norm(direction)
    step = 1e-3
    numeric = (rho(after + step * direction) - rho(after - step * direction)) / (2 * step)
    np.testing.assert_allclose(jnp.vdot(saliency, direction), numeric, rtol=0.05)
    assert rho(after - 1e-4 * saliency) < rho(after)


def test_donated_buffers(params, pairs):
    donating = jax.jit(partial(pcd.change_scores, config=QUICK), donate_argnums=(1, 2))
    wanted = pcd.change_scores(params, *pairs, QUICK)
    before, after = (jnp.array(x) for x in pairs)
    # The score is smaller than the images, so XLA cannot reuse their memory for it and says so.
    with pytest.warns(UserWarning, match="donated buffers were not usable"):
        got = donating(params, before, after)
    np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_donation_frees_images_that_come_back_changed(params, pairs):
    """A loop that nudges `after` towards `before` in place: the donated image is reused for the new one."""

    @partial(jax.jit, donate_argnums=1)
    def step(before, after):
        rho, slope = jax.value_and_grad(lambda y: pcd.change_score(params, before, y, QUICK))(after)
        return rho, after - 1e-4 * slope

    before, after = (jnp.array(x[0]) for x in pairs)
    first, moved = step(before, after)
    assert after.is_deleted()
    second, _ = step(before, moved)
    assert second < first


def test_shard_map_over_two_host_devices(params, pairs):
    if jax.device_count() < 2:
        pytest.fail("conftest.py asks for four host devices, and JAX started with one")
    mesh = Mesh(np.array(jax.devices()[:2]), ("pairs",))
    split = PartitionSpec("pairs")
    scores = jax.jit(
        jax.shard_map(
            partial(pcd.change_scores, config=QUICK),
            mesh=mesh, in_specs=(PartitionSpec(), split, split), out_specs=split,
        )
    )  # fmt: skip
    got = scores(params, *pairs)
    assert len(got.sharding.device_set) == 2
    np.testing.assert_allclose(got, pcd.change_scores(params, *pairs, QUICK), rtol=1e-5)


def test_the_module_alone_for_features(params, pairs):
    x = (np.stack([pairs[0]] * 3, axis=-1) - np.float32(0.45)) / np.float32(0.23)
    acts = pcd.VGG16("conv3_2").apply({"params": params}, x)
    assert acts["relu1_2"].shape == (4, 32, 32, 64)
    assert acts["conv3_2"].shape == (4, 8, 8, 256)


class Stem(nn.Module):
    """Somebody else's network."""

    @nn.compact
    def __call__(self, x):
        stem = nn.Conv(8, (3, 3), strides=2)(x)
        return {"stem": stem, "head": nn.Conv(16, (3, 3))(nn.gelu(stem))}


def test_another_flax_module_in_place_of_vgg16(pairs):
    module = Stem()
    variables = module.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    backbone = pcd.Custom(layer="head", function=module.apply)
    config = pcd.PAPER.replace(backbone=backbone, max_shift=4)
    found = jax.jit(pcd.detect, static_argnames="config")(jax.random.key(0), variables, *pairs, config)
    x, y = ((np.stack([z[0]] * 3, -1) - backbone.input_mean) / backbone.input_std for z in pairs)
    heads = [module.apply(variables, z[None].astype(np.float32))["head"][0].max((0, 1)) for z in (x, y)]
    np.testing.assert_allclose(found.rho[0], np.abs(heads[1] - heads[0]).sum(), rtol=1e-4)


def test_a_pseudo_unchanged_function_of_ones_own(params, pairs):
    def darker(key, patch):
        return patch * jax.random.uniform(key, minval=0.8, maxval=1.0)

    key = jax.random.key(2)
    found = jax.jit(partial(pcd.detect, config=QUICK.replace(null=pcd.OwnNull(darker))))(key, params, *pairs)
    own = jnp.stack([darker(pcd.patch_key(key, jnp.uint32(i)), x) for i, x in enumerate(pairs[0])])
    np.testing.assert_allclose(found.rho_null, pcd.change_scores(params, pairs[0], own, QUICK), rtol=1e-4)
