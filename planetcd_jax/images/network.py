"""How GDAL reads from servers."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import rasterio

PATIENCE: dict[str, Any] = {
    "GDAL_HTTP_MAX_RETRY": 4,
    "GDAL_HTTP_RETRY_DELAY": 1,
    "GDAL_HTTP_CONNECTTIMEOUT": 20,
    "GDAL_HTTP_TIMEOUT": 120,
}
"""Options of `rasterio.Env` for servers that stutter: up to four more tries of a request after 1, 2, 4 and 8 s (GDAL's
own are none, or 30 s apart)."""

_ANEW = {"CPL_VSIL_CURL_NON_CACHED": ":".join(f"/vsi{kind}/" for kind in ("curl", "s3", "gs", "az", "adls", "oss"))}

_failed = threading.Event()
"""Whether a block of `reading` failed in this process."""


@contextlib.contextmanager
def reading(**options: Any) -> Iterator[None]:
    """A block in which images are read, from disks or servers, with these further options of GDAL.

    GDAL remembers for the life of a process what a server refused. So once a block has failed, later ones of this
    process ask servers anew, which takes about a quarter more requests.
    """
    with rasterio.Env(**PATIENCE, **(_ANEW if _failed.is_set() else {}), **options):
        try:
            yield
        except Exception:
            _failed.set()
            raise
