"""Several processes, on one machine or many: each reads and scores its own share of the pairs, all get all results."""

import io
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from planetcd_jax.errors import ConfigError, DataError, PlanetCDError
from planetcd_jax.runtime.batches import PairLike, PairSource


def start_hosts(coordinator_address: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins this process to the others of the run, before JAX is used for anything else.

    Args:
        coordinator_address: host:port of process 0; "auto" asks the cluster (Slurm, Open MPI, Cloud TPU), which then
            tells the other two as well; None for a run of one process.
        num_processes, process_id: How many, and which this is, from 0.

    Raises:
        ConfigError: if they do not fit each other, or the others cannot be reached.
    """
    if coordinator_address is None:
        if num_processes is not None or process_id is not None:
            raise ConfigError("--num_processes and --process_id need --coordinator_address=host:port of process 0.")
        return
    found = coordinator_address == "auto"
    if not found and (num_processes is None or process_id is None or not 0 <= process_id < num_processes):
        raise ConfigError(
            f"--num_processes={num_processes} --process_id={process_id}: give each process the number of all and its "
            "own, counted from 0, or --coordinator_address=auto on a cluster that knows them."
        )
    try:
        jax.distributed.initialize(None if found else coordinator_address, num_processes, process_id)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"--coordinator_address={coordinator_address}: the processes cannot join ({reason}); start process 0, and "
            "name its address and port."
        ) from error


class Share:
    """The pairs of a set that one process reads: neighbours in the set. Shares differ by one pair at most.

    Attributes:
        numbers: [K] uint32, each pair's own number in the whole set.
        ids: [K], its name.
    """

    def __init__(self, source: PairSource, process: int, processes: int):
        self._source, n = source, len(source)
        self.numbers = np.arange(process * n // processes, (process + 1) * n // processes, dtype=np.uint32)
        self.ids = [source.ids[int(i)] for i in self.numbers]

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, i: int) -> PairLike:
        """The i-th pair of the share."""
        return self._source.read(int(self.numbers[i]))


def bytes_of_all(data: bytes) -> list[bytes]:
    """The bytes that each process gave, in the order of the processes. Every process gets the same list."""
    if jax.process_count() == 1:
        return [data]
    from jax.experimental import multihost_utils

    sizes = np.asarray(multihost_utils.process_allgather(np.int32(len(data)))).ravel()
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    everyone = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [row[:size].tobytes() for row, size in zip(everyone, sizes, strict=True)]


def gather_scores(
    arrays: dict[str, np.ndarray], skipped: Sequence[tuple[str, str]], error: PlanetCDError | None = None
) -> tuple[dict[str, np.ndarray], list[tuple[str, str]]]:
    """Scores of all processes one after the other, and what they skipped.

    Args:
        arrays: Of this process, [K, ...] each; the others have the same names.
        skipped: (id, message) of this process.
        error: What stopped this process. All of them then raise, since none can go on alone.

    Raises:
        PlanetCDError: the own error, or a DataError with another process's.
    """
    if jax.process_count() == 1 and error is None:
        return arrays, list(skipped)
    stream = io.BytesIO()
    words = np.array([text for pair in skipped for text in pair], dtype=np.str_)
    told: dict[str, Any] = {**arrays, "_skipped": words, "_error": np.array("" if error is None else str(error))}
    np.savez(stream, **told)
    everyone = []
    for data in bytes_of_all(stream.getvalue()):
        with np.load(io.BytesIO(data)) as file:
            everyone.append({name: file[name] for name in file.files})
    if error is not None:
        raise error
    for process, given in enumerate(everyone):
        if str(given["_error"]):
            raise DataError(f"process {process}: {given['_error']}")
    texts = [text for given in everyone for text in given["_skipped"].tolist()]
    joined = {name: np.concatenate([given[name] for given in everyone]) for name in arrays}
    return joined, list(zip(texts[::2], texts[1::2], strict=True))
