"""Who does the work of a survey: workers of this machine, or of a Dask scheduler somewhere."""

import contextlib
import dataclasses
import logging
import os
import tempfile
import time
from collections.abc import Iterator

from planetcd_jax.errors import ConfigError
from planetcd_jax.extras import brought_by
from planetcd_jax.surveys.limits import Limits

with brought_by("survey"):
    import dask.config
    import psutil
    from distributed import Client, LocalCluster

LOCAL = "local"
"""Name of the scheduler that a run starts itself."""

SCENE_MB = 2500
"""Memory that a pair is reckoned with where no limit is given: a scene of some hundred pixels takes 1.7 to 2.0 GB."""

_STARTS = 6

_DASK = {
    # A worker that dies leaves all its tasks under suspicion, which is no failure of theirs.
    "distributed.scheduler.allowed-failures": 20,
    "distributed.scheduler.worker-ttl": "60s",
    "distributed.comm.timeouts.connect": "30s",
    # Looks at itself that Dask takes up to a hundred times a second in each process, for its dashboard alone.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "5s",
    # Records of past tasks, by which the client's memory would grow with every pair.
    "distributed.admin.low-level-log-length": 100,
    "distributed.admin.system-monitor.log-length": 100,
    # What a dying worker has to say is the ledger's to tell.
    "distributed.nanny.pre-spawn-environ": {
        "DASK_LOGGING__TORNADO": "critical",
        "DASK_LOGGING__DISTRIBUTED": "critical",
    },
}


@dataclasses.dataclass(frozen=True)
class Workers:
    """Who does the work.

    Attributes:
        scheduler: "local", or the address of a Dask scheduler.
        count: Local workers; 0: as many as the machine has room for.
        limits: Of each pair.
        patience_s: How long a scheduler that is away is waited for, seconds.
    """

    scheduler: str = LOCAL
    count: int = 0
    limits: Limits = dataclasses.field(default_factory=Limits)
    patience_s: float = 300.0

    def fitting(self) -> int:
        """How many local workers to start: cores and free memory divided by what one pair takes, at least one."""
        if self.count:
            return self.count
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        memory = psutil.virtual_memory().available / 2**20 / (self.limits.memory_mb or SCENE_MB)
        return max(1, int(min(cores / max(1, self.limits.cores), memory)))

    def with_memory_shared(self) -> "Workers":
        """The same with a count, and where no limit of memory is given, with what is free divided by the workers."""
        count, limits = self.fitting(), self.limits
        if not limits.memory_mb:
            share = 0.9 * psutil.virtual_memory().available / 2**20 / count
            limits = dataclasses.replace(limits, memory_mb=float(round(share)))
        return dataclasses.replace(self, count=count, limits=limits)


@contextlib.contextmanager
def client_of(workers: Workers) -> Iterator[Client]:
    """A client of the scheduler; a local one is started, and ended at the end.

    Raises:
        ConfigError: if nobody answers at the address.
    """
    for name in ("distributed", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with dask.config.set(_DASK), contextlib.ExitStack() as stack:
        if workers.scheduler == LOCAL:
            temporary = tempfile.TemporaryDirectory(prefix="planetcd-survey-", ignore_cleanup_errors=True)
            cluster = stack.enter_context(_local(workers, stack.enter_context(temporary)))
            yield stack.enter_context(Client(cluster))
            return
        yield stack.enter_context(_connected(workers))


def _local(workers: Workers, scratch: str) -> LocalCluster:
    """Workers on this machine. One that is killed while it starts ends Dask's start as a whole, which is made again."""
    for _ in range(_STARTS):
        with contextlib.suppress(RuntimeError):
            return LocalCluster(
                n_workers=workers.fitting(),
                threads_per_worker=1,
                processes=True,
                memory_limit=0,
                dashboard_address=":0",
                local_directory=scratch,
                silence_logs=logging.CRITICAL,
                preload="planetcd_jax.surveys.worker_start",
            )
    raise ConfigError(
        f"{workers.fitting()} workers could not be started on this machine; give fewer by --workers, or see whether "
        "processes may be started here."
    )


def _connected(workers: Workers) -> Client:
    until = time.monotonic() + workers.patience_s
    while True:
        try:
            return Client(workers.scheduler, timeout=min(10.0, workers.patience_s))
        except (OSError, ValueError) as error:
            if time.monotonic() > until or isinstance(error, ValueError):
                reason = str(error).split("\n")[0]
                raise ConfigError(
                    f"--scheduler={workers.scheduler} does not answer ({reason}); give the address that "
                    "`dask scheduler` prints, such as tcp://10.0.0.1:8786, or --scheduler=local."
                ) from None
        time.sleep(1.0)
