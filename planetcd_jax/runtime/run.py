"""A data set through the method: read, score on the devices, decide."""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from planetcd_jax.config import ChangeConfig
from planetcd_jax.detection import ScoreFn, batch_scores, decide
from planetcd_jax.errors import DataError
from planetcd_jax.runtime.batches import Batch, PairSource, batches
from planetcd_jax.runtime.devices import Plan, choose_devices, make_plan
from planetcd_jax.types import ApplyFn, Array, Params, PerturbFn

# Batches that may be under way at once: one computes while the next is read and sent.
_IN_FLIGHT = 2


class RunResult(NamedTuple):
    """Results of one data set, M scored pairs in the order of the set.

    Attributes:
        index: [M] int64, each pair's number in its set.
        rho, rho_null: [M] float32.
        tau: The threshold.
        changed: [M] bool.
        p_value: [M] float32.
        skipped: (id, message) of each bad pair that was left out.
        seconds: Wall-clock time of reading and scoring, without compilation.
        compile_seconds: Time that compilation took.
        batch_size, micro_batch, devices: What was used (for the first shape, if there are several).
    """

    index: np.ndarray
    rho: np.ndarray
    rho_null: np.ndarray
    tau: float
    changed: np.ndarray
    p_value: np.ndarray
    skipped: list[tuple[str, str]]
    seconds: float
    compile_seconds: float
    batch_size: int
    micro_batch: int | None
    devices: tuple[str, ...]

    @property
    def pairs_per_second(self) -> float:
        """Scored pairs for each second, compilation apart."""
        return len(self.index) / max(self.seconds, 1e-9)


def _even(pairs: int, micro_batch: int | None) -> int | None:
    """The largest micro-batch up to `micro_batch` that leaves no rest, which would be compiled a second time."""
    if micro_batch is None:
        return None
    return next(n for n in range(min(micro_batch, pairs), 0, -1) if pairs % n == 0)


class Scorer:
    """`batch_scores` over a mesh of devices, compiled once for each shape, with the time that took."""

    def __init__(
        self,
        key: Array,
        params: Params,
        config: ChangeConfig,
        devices: tuple[jax.Device, ...],
        plan: Callable[[tuple[int, ...]], Plan],
        **options,
    ):
        self._mesh = Mesh(np.array(devices), ("pairs",))
        self._split = NamedSharding(self._mesh, PartitionSpec("pairs"))
        everywhere = NamedSharding(self._mesh, PartitionSpec())
        self._key, self._params = jax.device_put((key, params), everywhere)

        def scores(key, params, before, after, index, context):
            micro_batch = _even(before.shape[0], plan(before.shape[1:]).micro_batch)
            return batch_scores(
                key, params, before, after, index, config, context=context, micro_batch=micro_batch, **options
            )

        one, split = PartitionSpec(), PartitionSpec("pairs")
        # Each device loops over its own micro-batches; nothing is exchanged between devices.
        mapped = jax.shard_map(
            scores, mesh=self._mesh, in_specs=(one, one, split, split, split, split), out_specs=split, check_vma=False
        )
        self._jitted = jax.jit(mapped)
        self._compiled: dict[tuple, jax.stages.Compiled] = {}
        self.compile_seconds = 0.0

    def __call__(self, batch: Batch) -> tuple[Array, Array]:
        """rho and rho' of a batch, padding included, perhaps still being computed."""
        arrays = jax.device_put((batch.before, batch.after, batch.index, batch.context), self._split)
        shape = (batch.before.shape, None if batch.context is None else batch.context.shape)
        if shape not in self._compiled:
            start = time.perf_counter()
            self._compiled[shape] = self._jitted.lower(self._key, self._params, *arrays).compile()
            self.compile_seconds += time.perf_counter() - start
        return self._compiled[shape](self._key, self._params, *arrays)


def run_detection(
    key: Array,
    params: Params,
    pair_set: PairSource,
    config: ChangeConfig,
    *,
    batch_size: int | None = None,
    num_devices: int | None = None,
    micro_batch: int | None = None,
    on_bad_pair: str = "error",
    progress: bool = True,
    apply: ApplyFn | None = None,
    perturb: PerturbFn | None = None,
    score: ScoreFn | None = None,
) -> RunResult:
    """Scores, threshold and decisions of a whole set, which may be larger than memory and of several shapes.

    The same key gives the same results, to rounding, for every batch size and number of devices.

    Args:
        key: Key of the run; pair i draws from `fold_in(key, i)`, i its number in the set.
        params: As `load_vgg16` returns them, or whatever `apply` or `score` takes.
        pair_set: `planetcd_jax.data.PairSet`, or anything with `ids`, `len` and `read`.
        config: How.
        batch_size, num_devices, micro_batch: As in `make_plan`; None fits the device.
        on_bad_pair: "error" stops at the first bad pair, "skip" goes on and lists them.
        progress: Whether to show a progress bar on standard error.
        apply, perturb, score: As in `detect`.

    Raises:
        DataError: if the set is empty or no pair can be scored.
        BadPairError: with on_bad_pair="error", of the first bad pair.
        PatchError, ConfigError, WeightsError: if patches, configuration and parameters do not fit.
    """
    if len(pair_set) == 0:
        raise DataError("the data set holds no pair; check the path, the split and the names of the files.")
    skipped: list[tuple[str, str]] = []
    plan = partial(make_plan, num_devices=num_devices, batch_size=batch_size, micro_batch=micro_batch)
    devices = choose_devices(num_devices)
    scorer = Scorer(key, params, config, devices, plan, apply=apply, perturb=perturb, score=score)
    stream = batches(
        pair_set,
        lambda shape: plan(shape).batch_size,
        on_bad_pair=on_bad_pair,
        skipped=skipped,
        multiple=len(devices),
    )
    index, rho, rho_null, flying = [], [], [], []

    def land(batch: Batch, scores: tuple[Array, Array]) -> None:
        index.append(batch.index[: batch.count])
        for kept, values in zip((rho, rho_null), scores, strict=True):
            kept.append(np.asarray(values)[: batch.count])

    used: Plan | None = None  # of the first shape, for the record
    start = time.perf_counter()
    with tqdm(total=len(pair_set), unit="pair", disable=not progress, dynamic_ncols=True) as bar:
        for batch in stream:
            used = used or plan(batch.before.shape[1:])
            flying.append((batch, scorer(batch)))
            if len(flying) == _IN_FLIGHT:
                land(*flying.pop(0))
            bar.update(batch.count)
        for waiting in flying:
            land(*waiting)
        bar.update(len(skipped))
    seconds = time.perf_counter() - start - scorer.compile_seconds
    if not index:
        raise DataError(f"no pair could be scored; the first of {len(skipped)}: {skipped[0][1]}")
    order = np.argsort(np.concatenate(index), kind="stable")
    scores = [np.concatenate(values)[order] for values in (rho, rho_null)]
    found = jax.jit(partial(decide, config=config))(*scores)
    return RunResult(
        index=np.concatenate(index)[order].astype(np.int64),
        rho=scores[0],
        rho_null=scores[1],
        tau=float(found.tau),
        changed=np.asarray(found.changed),
        p_value=np.asarray(found.p_value),
        skipped=skipped,
        seconds=seconds,
        compile_seconds=scorer.compile_seconds,
        batch_size=used.batch_size,
        micro_batch=used.micro_batch,
        devices=tuple(str(d) for d in devices),
    )
