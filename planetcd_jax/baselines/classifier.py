"""Inception-v3 as a classifier of pairs: its head, its loss, its training, its logits."""

import dataclasses
import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax.baselines import autoencoder, inception, representations, training
from planetcd_jax.baselines.inception_weights import InceptionWeights
from planetcd_jax.baselines.initial import initial_variables
from planetcd_jax.baselines.systems import Method
from planetcd_jax.errors import ConfigError
from planetcd_jax.extras import brought_by
from planetcd_jax.types import Array

with brought_by("supervised"):
    import optax

PREDICT_BATCH = 32

_SCALE_PAIRS = 256
"""Training pairs from which the scale of the bottleneck differences is taken."""


class Encoder(NamedTuple):
    """Parameters of the autoencoder, and the standard deviation of its bottleneck differences, [3]."""

    params: Any
    scale: Array


class InceptionFit(NamedTuple):
    """A trained network.

    Attributes:
        network: `ChangeClassifier`.
        variables: Its variables, of the best epoch.
        encoder: For "bottleneck", else None.
        history: Loss curves by training ("autoencoder", "classifier").
    """

    network: Any
    variables: Any
    encoder: Encoder | None
    history: dict[str, Any]


class GreyPairs(NamedTuple):
    """[N, H, W] float32 before and after, [N] int32 labels."""

    before: np.ndarray
    after: np.ndarray
    labels: np.ndarray


class ChangeClassifier(nn.Module):
    """Inception-v3 to its pooled features, dropout, one logit."""

    width: float = 1.0
    flavour: str = "keras"
    dropout: float = 0.2
    last_stage: str = inception.LAST_STAGE

    @nn.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        """[N, H, W, 3] in [-1, 1] to logits [N]."""
        body = inception.InceptionV3(
            classes=None, width=self.width, flavour=self.flavour, last_stage=self.last_stage, name="body"
        )
        pooled = body(x, train=train)["pool"]  # [N, D]
        pooled = nn.Dropout(self.dropout, deterministic=not train)(pooled)
        return nn.Dense(1, name="head")(pooled)[:, 0]  # [N]


def _turned(key: Array, *images: Array) -> list[Array]:
    """Each image of a batch [B, H, W], turned and mirrored as its own draw says, the same for all arguments."""
    square = images[0].shape[1] == images[0].shape[2]
    draws = jax.random.bits(key, (images[0].shape[0], 3), jnp.uint8) & jnp.uint8(1)

    def one(draw, x):
        x = jnp.where(draw[0] == 1, x[::-1], x)
        x = jnp.where(draw[1] == 1, x[:, ::-1], x)
        return jnp.where(draw[2] == 1, x.T, x) if square else x

    return [jax.vmap(one)(draws, x) for x in images]


def network_input(representation: str, encoder: Encoder | None, before: Array, after: Array) -> Array:
    """Input of Inception-v3 for a batch: [B, H, W] twice to [B, H, W, 3]."""
    if encoder is None:
        return jax.vmap(functools.partial(representations.represent, representation))(before, after)
    codes = jax.vmap(functools.partial(representations.bottleneck, encoder.params))(before, after)
    return codes / encoder.scale


def fit_autoencoder(
    train: GreyPairs,
    validation: GreyPairs,
    config: training.TrainConfig,
    watch: training.Watch,
) -> tuple[Encoder, dict[str, Any]]:
    """An autoencoder trained on all patches of both dates, without labels, and its loss curves."""
    network = autoencoder.Autoencoder()

    def loss(params, stats, batch, key, training_now):
        del key, training_now
        x = jax.vmap(autoencoder.standardized)(batch[0][..., None])  # [B, H, W, 1]
        rebuilt = jnp.asarray(network.apply({"params": params}, x))
        return jnp.square(rebuilt - x).mean(axis=(1, 2, 3)), stats

    initial = initial_variables(network, (1, *train.before.shape[1:], 1), config.seed)["params"]
    data = (training.ArrayData(np.concatenate(pairs[:2])) for pairs in (train, validation))
    settings = {"contrast": config.contrast, "size": list(train.before.shape[1:])}
    problem, schedule = training.Problem(loss, initial, {}, *data), config.autoencoder_schedule()
    done = training.train(problem, schedule, name="autoencoder", settings=settings, watch=watch)
    sample = [jnp.asarray(x[:_SCALE_PAIRS]) for x in train[:2]]
    difference = network_input("bottleneck", Encoder(done.params, jnp.ones(3, jnp.float32)), *sample)
    scale = jnp.maximum(difference.std(axis=(0, 1, 2)), 1e-6)  # [3]
    return Encoder(done.params, scale), done.history


def _initial_variables(
    network: ChangeClassifier, size: tuple[int, ...], seed: int, weights: InceptionWeights | None
) -> dict[str, Any]:
    variables = initial_variables(network, (1, *size, 3), seed)
    if weights is None:
        return variables
    if network.width != 1:
        raise ConfigError(f"width is {network.width}, and pretrained weights are of width 1; leave out one of the two.")
    loaded = {group: {k: weights.variables[group][k] for k in tree["body"]} for group, tree in variables.items()}
    return {
        "params": {**variables["params"], "body": loaded["params"]},
        "batch_stats": {"body": loaded["batch_stats"]},
    }


def _loss(network: ChangeClassifier, representation: str, encoder: Encoder | None, augment: bool) -> training.LossFn:
    """Cross-entropy of each pair of a batch (before, after, labels)."""

    def loss(params, stats, batch, key, training_now):
        before, after, labels = batch
        key_turn, key_drop = jax.random.split(key)
        if training_now and augment:
            before, after = _turned(key_turn, before, after)
        x = network_input(representation, encoder, before, after)  # [B, H, W, 3]
        variables = {"params": params, "batch_stats": stats}
        if training_now:
            rngs = {"dropout": key_drop}
            logits, new = network.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)
            stats = new["batch_stats"]
        else:
            logits = network.apply(variables, x)  # [B]
        return optax.sigmoid_binary_cross_entropy(logits, labels.astype(jnp.float32)), stats

    return loss


def fit_inception(
    method: Method,
    train: GreyPairs,
    validation: GreyPairs,
    config: training.TrainConfig,
    *,
    weights: InceptionWeights | None = None,
    watch: training.Watch = training.Watch(),
) -> InceptionFit:
    """Trains Inception-v3 (and first the autoencoder, for "bottleneck") to tell changed pairs from unchanged ones.

    Args:
        method: Its name is for progress bar and checkpoint, its input one of `representations.REPRESENTATIONS`.
        train, validation: Pairs of one size.
        config: Settings.
        weights: Initial Inception-v3 weights, or None.
        watch: How it is followed; the folder gets sub-folders "autoencoder" and "classifier".

    Returns:
        `InceptionFit`.

    Raises:
        ConfigError, DataError: as `training.train`, and for pretrained weights with a width below 1.
    """
    encoder, history, representation = None, {}, method.classifier_input
    if representation == "bottleneck":
        own = watch.part("autoencoder")._replace(on_checkpoint=None)
        encoder, history["autoencoder"] = fit_autoencoder(train, validation, config, own)
    flavour = weights.flavour if weights else "keras"
    network = ChangeClassifier(config.width, flavour, config.dropout, config.last_stage)
    variables = _initial_variables(network, train.before.shape[1:], config.seed, weights)
    loss = _loss(network, representation, encoder, config.augment)
    data = (training.ArrayData(*pairs) for pairs in (train, validation))
    problem = training.Problem(loss, variables["params"], variables["batch_stats"], *data)
    settings = dataclasses.asdict(config) | {"weights": weights.origin["sha256"] if weights else None}
    done = training.train(
        problem, config.classifier_schedule(), name=method.name, settings=settings, watch=watch.part("classifier")
    )
    history["classifier"] = done.history
    return InceptionFit(network, {"params": done.params, "batch_stats": done.stats}, encoder, history)


@functools.partial(jax.jit, static_argnames=("network", "representation"))
def _logits(
    variables: Any,
    encoder: Encoder | None,
    before: Array,
    after: Array,
    network: ChangeClassifier,
    representation: str,
) -> Array:
    return jnp.asarray(network.apply(variables, network_input(representation, encoder, before, after)))


def inception_logits(fitted: InceptionFit, representation: str, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Logits of N pairs, [N, H, W] twice to [N] float32; batches of one shape, so it compiles once."""
    out = np.empty(len(before), np.float32)
    for start in range(0, len(before), PREDICT_BATCH):
        chosen = np.arange(start, start + PREDICT_BATCH)
        real = chosen < len(before)
        inside = np.minimum(chosen, len(before) - 1)  # the last batch is filled with its last pair
        values = _logits(
            fitted.variables, fitted.encoder, before[inside], after[inside], fitted.network, representation
        )
        out[chosen[real]] = np.asarray(values)[real]
    return out
