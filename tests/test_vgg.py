"""The network against PyTorch (stored), a plain NumPy version, and its own algebra."""

import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from absl.testing import absltest, parameterized

from planetcd_jax import PAPER, config, constants, errors, extract
from planetcd_jax.networks import vgg16

GOLDENS = pathlib.Path(__file__).parent / "goldens"
SEED = 20210927


def golden_image():
    return np.random.default_rng(SEED).standard_normal((12, 16, 3)).astype(np.float32)


def worst(got, wanted):
    """Largest absolute error over the largest value: one bad channel shows."""
    return np.abs(np.asarray(got) - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize(("name", "batch_norm"), [("vgg16", False), ("vgg16_bn", True)])
def test_activations_agree_with_pytorch(name, batch_norm, params, bn_params):
    with np.load(GOLDENS / f"{name}_activations.npz") as golden:
        used = bn_params if batch_norm else params
        acts = jax.jit(vgg16.VGG16("conv3_3", batch_norm=batch_norm).apply)({"params": used}, golden_image()[None])
        compared = [key for key in golden.files if key != "about"]
        assert len(compared) == (14 if batch_norm else 7)
        for key in compared:
            assert acts[key].shape == (1, *golden[key].shape)
            assert worst(acts[key][0], golden[key]) < 1e-4, key


@pytest.mark.parametrize("batch_norm", [False, True])
def test_activations_agree_with_numpy(batch_norm, params, bn_params):
    x = golden_image()[:, :13]  # an odd width: pooling drops a column
    used = bn_params if batch_norm else params
    acts = jax.jit(vgg16.VGG16("conv3_3", batch_norm=batch_norm).apply)({"params": used}, x[None])
    wanted = reference.activations(used, x, batch_norm=batch_norm)
    for key, value in wanted.items():
        assert worst(acts[key][0], value) < 1e-5, key


@pytest.mark.parametrize("layer", constants.VGG16_LAYERS)
def test_every_layer_is_a_place_to_cut(layer):
    module = vgg16.VGG16(layer)
    shapes = jax.eval_shape(module.init_with_output, jax.random.key(0), jnp.zeros((2, 32, 48, 3)))
    acts, made = shapes[0], shapes[1]["params"]
    step = vgg16.stride_of(layer)
    assert acts[layer].shape == (2, 32 // step, 48 // step, vgg16.CHANNELS[vgg16.block_of(layer)])
    assert next(reversed(acts)) == layer.replace("conv", "relu")
    layers = constants.VGG16_LAYERS[: constants.VGG16_LAYERS.index(layer) + 1]
    assert {f"{name}/{part}": made[name][part].shape for name in made for part in made[name]} == (
        vgg16.parameter_shapes(layers)
    )


@pytest.mark.parametrize(("layer", "side", "step"), [("conv1_1", 3, 1), ("conv3_2", 32, 4), ("conv3_3", 40, 4)])
def test_receptive_field_is_what_the_gradient_reaches(layer, side, step, params):
    assert vgg16.receptive_field_of(layer) == side
    assert vgg16.stride_of(layer) == step

    def centre(x):
        feature = vgg16.VGG16(layer).apply({"params": params}, x[None])[layer][0]
        return jnp.abs(feature[feature.shape[0] // 2, feature.shape[1] // 2]).sum()

    noise = np.random.default_rng(0).standard_normal((96, 96, 3), np.float32)
    reached = np.abs(jax.jit(jax.grad(centre))(noise)).sum(-1) > 0
    rows = np.flatnonzero(reached.any(axis=1))
    # ReLU and pooling may cut a border row or two off for one image, so that only an upper bound is exact.
    assert side - 4 <= rows[-1] - rows[0] + 1 <= side


class ImageNormTest(chex.TestCase):
    """Per-image statistics, with and without jit."""

    @chex.variants(with_jit=True, without_jit=True)
    def test_a_batch_is_its_images_one_by_one(self):
        x = np.random.default_rng(0).normal(3, 2, (5, 7, 9, 4)).astype(np.float32)
        norm = {"params": {"scale": jnp.arange(1.0, 5.0), "bias": jnp.ones(4)}}
        apply = self.variant(vgg16.ImageNorm().apply)
        together = apply(norm, x)
        for i in range(5):
            wanted = reference.image_norm(x[i].astype(np.float64), np.arange(1.0, 5.0), np.ones(4))
            np.testing.assert_allclose(together[i], wanted, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(together[i], apply(norm, x[i : i + 1])[0], rtol=1e-5, atol=1e-5)


class FoldTest(parameterized.TestCase):
    """Three equal channels folded into two planes: the same features, borders too."""

    @parameterized.parameters(
        (constants.IMAGENET_MEAN, constants.IMAGENET_STD), (constants.AUTHORS_MEAN, constants.AUTHORS_STD)
    )
    def test_folding_is_exact_at_borders(self, mean, std):
        from planetcd_jax import load_vgg16

        params = load_vgg16()
        x = np.random.default_rng(1).random((17, 19), np.float32)
        cfg = PAPER.replace(layer="conv1_1", input_mean=mean, input_std=std)
        folded = extract(params, x, cfg)[0]
        colour = np.stack([x] * 3, axis=-1)
        full = extract(params, colour, cfg)[0]
        assert folded.shape == (17, 19, 64)
        assert worst(folded, np.asarray(full)) < 1e-5
        assert worst(folded[0], np.asarray(full)[0]) < 1e-5


def test_missing_parameters_are_named(params):
    cfg = PAPER.replace(layer="conv4_1")
    with pytest.raises(errors.WeightsError, match=r"needs the parameters of conv4_1, .* conv1_1 to conv3_3.*choose"):
        extract(params, jnp.ones((32, 32)), cfg)
    with pytest.raises(errors.WeightsError, match=r"needs the parameters of bn1_1.*without batch normalisation"):
        extract(params, jnp.ones((32, 32)), config.AUTHORS_CODE)


if __name__ == "__main__":
    absltest.main()
