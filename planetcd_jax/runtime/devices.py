"""Which devices to use, and how many pairs to give them at a time."""

import os
from typing import NamedTuple, TypeAlias

import jax

from planetcd_jax.detection import CPU_MICRO_BATCH
from planetcd_jax.errors import ConfigError

CPU_BATCH = 16

# Share of a device's memory that the activations of one batch may take, and the bytes they take for each pixel of a
# pair: three images (before, after, h(before)) of two maps of 64 features, 4 bytes each.
ACCELERATOR_SHARE = 0.25
ACCELERATOR_BATCH = 512
BYTES_PER_PIXEL = 3 * 2 * 64 * 4

Device: TypeAlias = jax.Device  # pyright: ignore[reportInvalidTypeForm] (to JAX's annotations it is a variable)


class Plan(NamedTuple):
    """How a run uses its devices.

    Attributes:
        devices: The devices, of one kind.
        batch_size: Pairs in one batch, over all devices together.
        micro_batch: Pairs that go through the network together on one device; None for all of its share.
    """

    devices: tuple[Device, ...]
    batch_size: int
    micro_batch: int | None


def split_cpu(num_devices: int | None) -> None:
    """Lets a CPU count as `num_devices` devices, if that is more than one and JAX has not started yet.

    Machines with an accelerator are not concerned: theirs come first. XLA_FLAGS, where it says how many, has its way.
    """
    if num_devices is None or num_devices < 2 or "host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    try:
        jax.config.update("jax_num_cpu_devices", num_devices)
    except RuntimeError:  # JAX has started: `choose_devices` says how many there are
        return


def choose_devices(num_devices: int | None = None) -> tuple[Device, ...]:
    """The first `num_devices` local devices; all of them for None.

    Raises:
        ConfigError: if there are fewer.
    """
    devices = jax.local_devices()
    if num_devices is None:
        return tuple(devices)
    if not 1 <= num_devices <= len(devices):
        raise ConfigError(
            f"num_devices is {num_devices}, and this machine has {len(devices)} ({devices[0].platform}); "
            "give a smaller number, or split a CPU with XLA_FLAGS=--xla_force_host_platform_device_count=N."
        )
    return tuple(devices[:num_devices])


def make_plan(
    shape: tuple[int, ...],
    *,
    num_devices: int | None = None,
    batch_size: int | None = None,
    micro_batch: int | None = None,
) -> Plan:
    """A plan for patches of a shape; what is None is chosen to fit the device.

    Args:
        shape: Of a typical patch, [H, W] or [H, W, C].
        num_devices: Local devices to use; None for all.
        batch_size: Pairs in one batch over all devices; rounded up to a multiple of their number.
        micro_batch: Pairs that go through the network together on one device.

    Raises:
        ConfigError: if there are fewer devices, or a size is below 1.
    """
    for name, value in (("batch_size", batch_size), ("micro_batch", micro_batch)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; give a number of pairs, 1 or more.")
    devices = choose_devices(num_devices)
    if devices[0].platform == "cpu":
        batch_size = batch_size or CPU_BATCH
        micro_batch = micro_batch or CPU_MICRO_BATCH
    elif batch_size is None:
        memory = (devices[0].memory_stats() or {}).get("bytes_limit", 8 * 2**30)
        fits = int(ACCELERATOR_SHARE * memory / (BYTES_PER_PIXEL * shape[0] * shape[1]))
        batch_size = min(max(fits, 1), ACCELERATOR_BATCH) * len(devices)
    batch_size = -(-batch_size // len(devices)) * len(devices)
    return Plan(devices, batch_size, micro_batch)
