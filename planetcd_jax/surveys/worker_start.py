"""What Dask runs in each worker of this machine when it starts; `workers` names this module to it."""

import signal


def dask_setup(worker: object) -> None:
    """Leaves Ctrl-C to the client: a terminal sends it to all processes, and the client ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
