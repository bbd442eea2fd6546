"""From a set of pairs to results: batches, padding, devices and progress."""

from planetcd_jax.files.caches import cache_compilations, cache_folder
from planetcd_jax.networks.winograd import ENGINES, Engine, chosen_engine, network_engine, why_xla, winograd_engine
from planetcd_jax.runtime.batches import Batch, batches
from planetcd_jax.runtime.devices import Plan, choose_devices, make_plan, split_cpu
from planetcd_jax.runtime.hosts import start_hosts
from planetcd_jax.runtime.run import RunResult, Scorer, run_detection

__all__ = [
    "ENGINES",
    "Batch",
    "Engine",
    "Plan",
    "RunResult",
    "Scorer",
    "batches",
    "cache_compilations",
    "cache_folder",
    "choose_devices",
    "chosen_engine",
    "make_plan",
    "network_engine",
    "run_detection",
    "split_cpu",
    "start_hosts",
    "why_xla",
    "winograd_engine",
]
