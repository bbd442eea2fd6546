"""From a set of pairs to results: batches, padding, devices and progress."""

from planetcd_jax.files.caches import cache_compilations, cache_folder
from planetcd_jax.runtime.batches import Batch, batches, padded_pairs
from planetcd_jax.runtime.devices import Plan, choose_devices, make_plan, split_cpu
from planetcd_jax.runtime.hosts import start_hosts
from planetcd_jax.runtime.run import RunResult, Scorer, run_detection

__all__ = [
    "Batch",
    "Plan",
    "RunResult",
    "Scorer",
    "batches",
    "cache_compilations",
    "cache_folder",
    "choose_devices",
    "make_plan",
    "padded_pairs",
    "run_detection",
    "split_cpu",
    "start_hosts",
]
