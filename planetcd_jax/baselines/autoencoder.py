"""The convolutional autoencoder whose bottleneck is one of Kerner et al.'s representations.

What was found, in the first author's public autoencoder code (`hannah-rae/convolutional-autoencoder`): three
convolutions of 12, 8 and 3 features, kernels 7, 5 and 3, strides 1, 2 and 2, leaky ReLU of slope 0.2, each image
standardised first, a mirrored decoder, mean squared error, Adam at 0.001. What was assumed: that the autoencoder of the
2019 article is of this kind; it is trained on single patches (both dates of the training pairs, no labels); the
representation of a pair is the difference of the two bottlenecks, enlarged to the size of the patch. Differs in: the
decoder has kernels of its own and a linear end.
"""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from planetcd_jax import constants
from planetcd_jax.types import Array

FEATURES = (12, 8, 3)
KERNELS = (7, 5, 3)
STRIDES = (1, 2, 2)
SLOPE = 0.2


def standardized(x: Array) -> Array:
    """One image [H, W, 1] at zero mean and unit standard deviation; 0 where constant."""
    centred = x - x.mean()
    return centred * jax.lax.rsqrt(jnp.square(centred).mean() + constants.STANDARDIZE_EPSILON)


class Autoencoder(nn.Module):
    """[N, H, W, 1] standardised images to their bottleneck and their reconstruction."""

    def setup(self):
        """Layers of encoder and decoder."""
        down = zip(FEATURES, KERNELS, STRIDES, strict=True)
        self.encoder = [nn.Conv(f, (k, k), (s, s), padding="SAME") for f, k, s in down]
        up = zip((*FEATURES[-2::-1], 1), KERNELS[::-1], STRIDES[::-1], strict=True)
        self.decoder = [nn.ConvTranspose(f, (k, k), (s, s), padding="SAME") for f, k, s in up]

    def encode(self, x: Array) -> Array:
        """[N, H, W, 1] to the bottleneck [N, ceil(H/4), ceil(W/4), 3]."""
        chex.assert_rank(x, 4)
        for layer in self.encoder:
            x = nn.leaky_relu(layer(x), SLOPE)
        return x

    def __call__(self, x: Array) -> Array:
        """[N, H, W, 1] to its reconstruction, of the same shape."""
        z = self.encode(x)
        for layer in self.decoder[:-1]:
            z = nn.leaky_relu(layer(z), SLOPE)
        return self.decoder[-1](z)[:, : x.shape[1], : x.shape[2]]  # odd sizes come back one to three px larger
