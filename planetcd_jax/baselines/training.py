"""A training loop that can be stopped at any step and taken up again with the same outcome.

Everything that decides a step follows from the seed, the epoch and the step: the order of the examples and the keys of
augmentation and dropout are derived, never carried along. A checkpoint is therefore the arrays of `TrainState` alone.
"""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax.baselines.checkpoints import Checkpoints
from planetcd_jax.baselines.train_config import FULL, PRESETS, SMALL, Schedule, TrainConfig
from planetcd_jax.errors import DataError
from planetcd_jax.extras import brought_by
from planetcd_jax.types import Array

with brought_by("supervised"):
    import optax

__all__ = [
    "FULL",
    "PRESETS",
    "SMALL",
    "ArrayData",
    "Problem",
    "Schedule",
    "TrainConfig",
    "TrainState",
    "Trained",
    "Watch",
    "train",
]

MAX_GRADIENT_NORM = 1.0
"""Norm to which the gradient of a step is cut."""

Batch = tuple[Array | np.ndarray, ...]
LossFn = Callable[[Any, Any, Batch, Array, bool], tuple[Array, Any]]
"""`loss(params, stats, batch, key, train) -> ([B] losses, new stats)`."""


class Problem(NamedTuple):
    """What is learned, and from what.

    Attributes:
        loss_fn: `loss(params, stats, batch, key, train) -> ([B] losses, new stats)`.
        params, stats: Initial pytrees of arrays; `stats` may be an empty dict.
        data, validation: Anything with `len` and `batch(indices) -> tuple of arrays`, such as `ArrayData`.
    """

    loss_fn: LossFn
    params: Any
    stats: Any
    data: "ArrayData"
    validation: "ArrayData"


class Watch(NamedTuple):
    """How a training is kept and followed.

    Attributes:
        checkpoint_dir: None, or a folder of this training alone. If it holds a state, training goes on from there.
        progress: Whether to show a progress bar.
        on_checkpoint: Called with the number of steps done, after each checkpoint (or where one would be).
    """

    checkpoint_dir: str | pathlib.Path | None = None
    progress: bool = False
    on_checkpoint: Callable[[int], None] | None = None

    def part(self, name: str) -> "Watch":
        """Of one of several trainings, in a folder of its own inside."""
        folder = None if self.checkpoint_dir is None else pathlib.Path(self.checkpoint_dir) / name
        return self._replace(checkpoint_dir=folder)


class TrainState(NamedTuple):
    """All that a training carries from step to step; arrays only.

    Attributes:
        step: Steps done.
        params, stats: Trained parameters, and statistics of batch normalisation.
        opt_state: Of the optimiser.
        best_params, best_stats: Those of the epoch with the least validation loss.
        best_loss, best_epoch: That loss and that epoch; infinity and -1 before the first.
        loss_sum: Sum of the training losses of the epoch so far.
        history: [2, max_epochs] training and validation loss of each epoch, NaN where not yet.
    """

    step: Array
    params: Any
    stats: Any
    opt_state: Any
    best_params: Any
    best_stats: Any
    best_loss: Array
    best_epoch: Array
    loss_sum: Array
    history: Array


class Trained(NamedTuple):
    """Outcome of a training.

    Attributes:
        params, stats: Of the best epoch.
        history: {"train": [...], "validation": [...], "best_epoch": int}, plain numbers, for curves and JSON.
        last: The state at the end.
    """

    params: Any
    stats: Any
    history: dict[str, Any]
    last: TrainState


class ArrayData:
    """Examples held in arrays with a common first axis."""

    def __init__(self, *arrays: np.ndarray):
        if not arrays or len({len(a) for a in arrays}) != 1 or len(arrays[0]) == 0:
            raise DataError(f"arrays hold {[len(a) for a in arrays]} examples; give one number above 0 for all.")
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays[0])

    def batch(self, indices: np.ndarray) -> Batch:
        """The examples of these indices, as arrays."""
        return tuple(array[indices] for array in self.arrays)


def _order(seed: int, epoch: int, n: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(n)


def _indices(seed: int, step: int, n: int, batch: int) -> np.ndarray:
    """Indices of the examples of a step; the last step of an epoch is filled from the epoch's own start."""
    steps = -(-n // batch)
    epoch, place = divmod(step, steps)
    order = _order(seed, epoch, n)
    return np.take(order, np.arange(place * batch, (place + 1) * batch), mode="wrap")


def _compiled(loss_fn: LossFn, optimizer: optax.GradientTransformation):
    def train_step(state: TrainState, batch: Batch, key: Array) -> TrainState:
        def mean_loss(params):
            losses, stats = loss_fn(params, state.stats, batch, key, True)
            return losses.mean(), stats

        (loss, stats), grads = jax.value_and_grad(mean_loss, has_aux=True)(state.params)
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers
            updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state._replace(
            step=state.step + 1, params=params, stats=stats, opt_state=opt_state, loss_sum=state.loss_sum + loss
        )

    def losses(params, stats, batch: Batch, key: Array) -> Array:
        return loss_fn(params, stats, batch, key, False)[0]

    return jax.jit(train_step), jax.jit(losses)


def _mean_loss(losses, state: TrainState, data, batch: int, key: Array) -> Array:
    total, n = 0.0, len(data)
    for start in range(0, n, batch):
        indices = np.arange(start, start + batch)
        values = losses(state.params, state.stats, data.batch(np.minimum(indices, n - 1)), key)
        total += float(np.asarray(values, np.float64)[indices < n].sum())
    return jnp.asarray(total / n, jnp.float32)


def _checked_loss(validation: Array, state: TrainState, name: str) -> Array:
    if not (np.isfinite(validation) and np.isfinite(state.loss_sum)):
        raise DataError(f"{name}: the loss is not finite after step {int(state.step)}; lower the learning rate.")
    return validation


def _end_epoch(state: TrainState, epoch: int, steps: int, validation: Array) -> TrainState:
    better = bool(validation < state.best_loss)
    history = state.history.at[:, epoch].set(jnp.stack([state.loss_sum / steps, validation]))
    state = state._replace(history=history, loss_sum=jnp.zeros_like(state.loss_sum))
    if not better:
        return state
    return state._replace(
        best_params=state.params,
        best_stats=state.stats,
        best_loss=validation,
        best_epoch=jnp.asarray(epoch, jnp.int32),
    )


def _new_state(params, stats, optimizer, max_epochs: int) -> TrainState:
    return TrainState(
        step=jnp.int32(0),
        params=params,
        stats=stats,
        opt_state=optimizer.init(params),
        best_params=params,
        best_stats=stats,
        best_loss=jnp.float32(jnp.inf),
        best_epoch=jnp.int32(-1),
        loss_sum=jnp.float32(0),
        history=jnp.full((2, max_epochs), jnp.nan, jnp.float32),
    )


def _history(state: TrainState, epochs: int) -> dict[str, Any]:
    train, validation = (row[:epochs].tolist() for row in np.asarray(state.history, np.float64))
    return {"train": train, "validation": validation, "best_epoch": int(state.best_epoch)}


def _stale(state: TrainState, epochs: int, patience: int) -> bool:
    return epochs - 1 - int(state.best_epoch) >= patience


def train(
    problem: Problem,
    schedule: Schedule,
    *,
    name: str = "training",
    settings: dict[str, Any] | None = None,
    watch: Watch = Watch(),
) -> Trained:
    """Trains with Adam, stops early on the validation loss, and keeps the best epoch.

    Args:
        problem: What is learned.
        schedule: How long and how fast.
        name: For the progress bar and errors.
        settings: What else must be the same for going on, JSON-able.
        watch: How it is kept and followed.

    Returns:
        `Trained`.

    Raises:
        ConfigError: if the folder holds a training with other settings.
        DataError: if the loss is no longer finite.
    """
    import tqdm  # imported late: needed for this alone

    loss_fn, params, stats, data, validation = problem
    n, batch = len(data), min(schedule.batch_size, len(data))
    steps, key = -(-n // batch), jax.random.key(schedule.seed)
    optimizer = optax.chain(optax.clip_by_global_norm(MAX_GRADIENT_NORM), optax.adam(schedule.learning_rate))
    train_step, losses = _compiled(loss_fn, optimizer)
    counts = {"name": name, "examples": n, "validation_examples": len(validation)}
    checkpoints = Checkpoints(watch.checkpoint_dir, schedule._asdict() | counts | (settings or {}))
    start = _new_state(params, stats, optimizer, schedule.max_epochs)
    state = TrainState(**checkpoints.restore(start._asdict()))
    last = schedule.max_epochs * steps
    bar = tqdm.tqdm(total=last, initial=int(state.step), desc=name, disable=not watch.progress, unit="step")
    try:
        while (step := int(state.step)) < last and not (
            step % steps == 0 and _stale(state, step // steps, schedule.patience)
        ):
            examples = data.batch(_indices(schedule.seed, step, n, batch))
            state = train_step(state, examples, jax.random.fold_in(key, step))
            ended = (step + 1) % steps == 0
            if ended:
                loss = _checked_loss(_mean_loss(losses, state, validation, batch, key), state, name)
                state = _end_epoch(state, step // steps, steps, loss)
                bar.set_postfix(validation=f"{float(loss):.4f}")
            bar.update()
            if ended or (step + 1) % schedule.checkpoint_steps == 0:
                checkpoints.save(step + 1, state._asdict())
                if watch.on_checkpoint is not None:
                    watch.on_checkpoint(step + 1)
    finally:
        bar.close()
        checkpoints.close()
    return Trained(state.best_params, state.best_stats, _history(state, int(state.step) // steps), state)
