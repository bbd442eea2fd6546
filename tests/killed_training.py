"""A small training, and a program that runs it until it is killed: `python tests/killed_training.py FOLDER`."""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax.baselines import training

SCHEDULE = training.Schedule(learning_rate=0.02, batch_size=8, max_epochs=3, patience=10, checkpoint_steps=3, seed=5)
STEPS_PER_EPOCH = 5  # 37 examples in batches of 8


def problem():
    """Loss, initial parameters and statistics, training and validation data: a net with noise and running mean."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 6)).astype(np.float32)
    y = (np.sin(x @ rng.normal(size=6)) > 0).astype(np.float32)
    params = {
        "first": jnp.asarray(0.5 * rng.normal(size=(6, 16)), jnp.float32),
        "last": jnp.asarray(0.5 * rng.normal(size=16), jnp.float32),
    }
    stats = {"mean": jnp.zeros(6, jnp.float32)}

    def loss(params, stats, batch, key, train):
        x, y = batch
        if train:
            stats = {"mean": 0.9 * stats["mean"] + 0.1 * x.mean(axis=0)}
            x = x + 0.1 * jax.random.normal(key, x.shape)
        logits = jnp.tanh((x - stats["mean"]) @ params["first"]) @ params["last"]
        return jnp.logaddexp(0, logits) - y * logits, stats

    data = training.ArrayData(x[:37], y[:37]), training.ArrayData(x[37:], y[37:])
    return training.Problem(loss, params, stats, *data)


def run(folder=None, on_checkpoint=None, schedule=SCHEDULE):
    """The training, in a folder or without one."""
    return training.train(problem(), schedule, watch=training.Watch(folder, on_checkpoint=on_checkpoint))


if __name__ == "__main__":
    run(sys.argv[1], lambda step: print("step", step, flush=True))
