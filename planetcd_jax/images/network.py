"""How GDAL reads from servers."""

from typing import Any

PATIENCE: dict[str, Any] = {
    "GDAL_HTTP_MAX_RETRY": 4,
    "GDAL_HTTP_RETRY_DELAY": 1,
    "GDAL_HTTP_CONNECTTIMEOUT": 20,
    "GDAL_HTTP_TIMEOUT": 120,
}
"""Options of `rasterio.Env` for servers that stutter: up to four more tries of a request after 1, 2, 4 and 8 s (GDAL's
own are none, or 30 s apart)."""
