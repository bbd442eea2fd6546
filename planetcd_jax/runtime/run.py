"""A data set through the method: read, score on the devices, decide."""

import dataclasses
import time
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from planetcd_jax.config import ChangeConfig
from planetcd_jax.detection import batch_scores, decide
from planetcd_jax.errors import DataError, PlanetCDError
from planetcd_jax.files.compilations import announced
from planetcd_jax.runtime.batches import Batch, PairSource, batches
from planetcd_jax.runtime.devices import Device, Plan, choose_devices, make_plan
from planetcd_jax.runtime.hosts import Share, gather_scores
from planetcd_jax.types import Array, Params
from planetcd_jax.words import counted

# Batches that may be under way at once: one computes while the next is read and sent.
_IN_FLIGHT = 2


@dataclasses.dataclass(frozen=True)
class RunResult:
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
        """Scored pairs for each second that the user waited, compilation included."""
        return len(self.index) / max(self.seconds + self.compile_seconds, 1e-9)


class Scorer:
    """`batch_scores` over a mesh of devices, compiled once for each shape, with the time that took."""

    def __init__(
        self,
        key: Array,
        params: Params,
        config: ChangeConfig,
        devices: tuple[Device, ...],
        plan: Callable[[tuple[int, ...]], Plan],
        *,
        quiet: bool = False,
    ):
        self._quiet = quiet
        self._mesh = Mesh(np.array(devices), ("pairs",))
        self._split = NamedSharding(self._mesh, PartitionSpec("pairs"))
        everywhere = NamedSharding(self._mesh, PartitionSpec())
        self._key, self._params = jax.device_put((key, config.backbone.prepare(params)), everywhere)

        def scores(key, params, before, after, index, context, size):
            micro_batch = plan(before.shape[1:]).micro_batch
            return batch_scores(
                key, params, before, after, index, config, context=context, size=size, micro_batch=micro_batch
            )

        one, split = PartitionSpec(), PartitionSpec("pairs")
        # Each device loops over its own micro-batches; nothing is exchanged between devices.
        mapped = jax.shard_map(
            scores, mesh=self._mesh, in_specs=(one, one, *[split] * 5), out_specs=split, check_vma=False
        )
        self._jitted = jax.jit(mapped)
        self._compiled: dict[tuple, jax.stages.Compiled] = {}
        self.compile_seconds = 0.0
        self.pads = config.score.pads(config.backbone)
        self.num_devices = len(devices)

    def __call__(self, batch: Batch) -> tuple[Array, Array]:
        """rho and rho' of a batch, padding included, perhaps still being computed."""
        arrays = jax.device_put((batch.before, batch.after, batch.index, batch.context, batch.size), self._split)
        shape = tuple(None if x is None else x.shape for x in (batch.before, batch.context, batch.size))
        if shape not in self._compiled:
            start = time.perf_counter()
            sides = "x".join(str(n) for n in batch.before.shape[1:])
            with announced(f"{counted(len(batch.before), 'pair')} of {sides} px", quiet=self._quiet):
                self._compiled[shape] = self._jitted.lower(self._key, self._params, *arrays).compile()
            self.compile_seconds += time.perf_counter() - start
        return self._compiled[shape](self._key, self._params, *arrays)


@dataclasses.dataclass
class _Done:
    """What one process scored: a list entry for each batch, and the plan of its first shape, for the record."""

    index: list[np.ndarray]
    rho: list[np.ndarray]
    rho_null: list[np.ndarray]
    skipped: list[tuple[str, str]]
    plan: Plan | None = None

    def arrays(self) -> dict[str, np.ndarray]:
        empty = {"index": np.uint32, "rho": np.float32, "rho_null": np.float32}
        return {name: np.concatenate([np.zeros(0, kind), *getattr(self, name)]) for name, kind in empty.items()}


def _score_all(
    scorer: Scorer, own: PairSource, plan: Callable[[tuple[int, ...]], Plan], on_bad_pair: str, progress: bool
) -> _Done:
    """Scores the pairs of this process; each is known by its number in the whole set."""
    done = _Done([], [], [], [])
    numbers = own.numbers if isinstance(own, Share) else np.arange(len(own), dtype=np.uint32)
    stream = batches(
        own,
        lambda shape: plan(shape).batch_size,
        on_bad_pair=on_bad_pair,
        skipped=done.skipped,
        multiple=scorer.num_devices,
        pads=scorer.pads,
    )
    flying = []

    def land(batch: Batch, scores: tuple[Array, Array]) -> None:
        done.index.append(batch.index[: batch.count])
        for kept, values in zip((done.rho, done.rho_null), scores, strict=True):
            kept.append(np.asarray(values)[: batch.count])
        bar.update(batch.count)

    with tqdm(total=len(own), unit="pair", disable=not progress, dynamic_ncols=True) as bar:
        for batch in stream:
            batch = dataclasses.replace(batch, index=numbers[batch.index])
            done.plan = done.plan or plan(batch.before.shape[1:])
            flying.append((batch, scorer(batch)))
            if len(flying) == _IN_FLIGHT:
                land(*flying.pop(0))
        for waiting in flying:
            land(*waiting)
        bar.update(len(done.skipped))
    return done


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
) -> RunResult:
    """Scores, threshold and decisions of a whole set, which may be larger than memory and of several shapes.

    The same key gives the same results, to rounding, for every batch size and number of devices and processes. Where
    `start_hosts` has joined several processes, each reads and scores its own share, and all return all results.

    Args:
        key: Key of the run; pair i draws from `fold_in(key, i)`, i its number in the set.
        params: As `load_vgg16` returns them, or whatever the backbone takes.
        pair_set: `planetcd_jax.pairs.PairSet`, or anything with `ids`, `len` and `read`.
        config: How.
        batch_size, num_devices, micro_batch: As in `make_plan`; None fits the device.
        on_bad_pair: "error" stops at the first bad pair, "skip" goes on and lists them.
        progress: Whether to show a progress bar on standard error.

    Raises:
        DataError: if the set is empty or no pair can be scored.
        BadPairError: with on_bad_pair="error", of the first bad pair.
        PatchError, ConfigError, WeightsError: if patches, configuration and parameters do not fit.
    """
    if len(pair_set) == 0:
        raise DataError("the data set holds no pair; check the path, the split and the names of the files.")
    plan = partial(make_plan, num_devices=num_devices, batch_size=batch_size, micro_batch=micro_batch)
    scorer = Scorer(key, params, config, choose_devices(num_devices), plan, quiet=not progress)
    processes = jax.process_count()
    own = pair_set if processes == 1 else Share(pair_set, jax.process_index(), processes)
    stopped, done = None, _Done([], [], [], [])
    start = time.perf_counter()
    try:
        done = _score_all(scorer, own, plan, on_bad_pair, progress)
    except PlanetCDError as error:
        if processes == 1:
            raise
        stopped = error  # the others wait for this process: they are told, and then all raise
    seconds = time.perf_counter() - start - scorer.compile_seconds
    arrays, skipped = gather_scores(done.arrays(), done.skipped, stopped)
    index = arrays["index"]
    if not len(index):
        raise DataError(f"no pair could be scored; the first of {len(skipped)}: {skipped[0][1]}")
    order = np.argsort(index, kind="stable")
    scores = [arrays[name][order] for name in ("rho", "rho_null")]
    used = done.plan or plan((1, 1))  # a process whose share is empty
    found = jax.jit(partial(decide, config=config))(*scores)
    return RunResult(
        index=index[order].astype(np.int64),
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
        devices=tuple(str(d) for d in used.devices),
    )
