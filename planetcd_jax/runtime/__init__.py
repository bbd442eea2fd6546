"""From a set of pairs to results: batches, padding, devices and progress."""

from planetcd_jax.runtime.batches import Batch, batches
from planetcd_jax.runtime.devices import Plan, choose_devices, make_plan, split_cpu
from planetcd_jax.runtime.run import RunResult, Scorer, run_detection

__all__ = [
    "Batch",
    "Plan",
    "RunResult",
    "Scorer",
    "batches",
    "choose_devices",
    "make_plan",
    "run_detection",
    "split_cpu",
]
