"""When an image was taken: as its label states it, and as labels write times."""

import datetime
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from planetcd_jax.images.label_values import document, tags

if TYPE_CHECKING:
    import rasterio

_DAY_OF_YEAR = re.compile(r"(\d{4})-(\d{3})(?=T|$)")

_TIMES = (
    "START_TIME", "StartTime", "START_DATE_TIME", "start_date_time", "IMAGE_TIME", "DateTime", "TIFFTAG_DATETIME",
    "OBSERVATION_START_TIME", "ACQUISITION_TIME",
)  # fmt: skip
_TIME = re.compile(rf"[\"<]?(?:{'|'.join(_TIMES)})[\">]?[^0-9]{{1,12}}(\d{{4}}[-:]\d[0-9T:. -]+)")


def seconds_of(text: str | None) -> float:
    """A UTC time as labels write it, in seconds since 1970; NaN for what is none.

    >>> seconds_of("2010-032T01:02:03.5Z") - seconds_of("2010-02-01T01:02:03.5")
    0.0
    """
    said = (text or "").strip().strip('"').removesuffix("Z")
    match = _DAY_OF_YEAR.match(said)
    if match:
        date = datetime.date(int(match[1]), 1, 1) + datetime.timedelta(days=int(match[2]) - 1)
        said = f"{date.isoformat()}{said[match.end() :]}"
    said = re.sub(r"^(\d{4}):(\d\d):(\d\d) ", r"\1-\2-\3T", said)  # as TIFF writes it
    said = re.sub(r"(\.\d{6})\d+", r"\1", said)
    try:
        moment = datetime.datetime.fromisoformat(said)
    except ValueError:
        return math.nan
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()


def time_text(seconds: float) -> str:
    """Seconds since 1970 as a UTC time; "" for NaN.

    >>> time_text(0.0)
    '1970-01-01T00:00:00Z'
    """
    if math.isnan(seconds):
        return ""
    return f"{datetime.datetime.fromtimestamp(round(seconds), datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"


def shown_times(times: Sequence[float]) -> tuple[str, ...]:
    """Times as a reader needs them: no finer than what tells them apart, and alike for all; () if nothing does.

    >>> shown_times([0.0, 86400.0])
    ('1970-01-01', '1970-01-02')
    >>> shown_times([0.0, 3600.0])
    ('1970-01-01 00:00', '1970-01-01 01:00')
    """
    said = [time_text(seconds).removesuffix("Z").replace("T", " ") for seconds in times]
    for length in map(len, ("2010-05-01", "2010-05-01 10:20", "2010-05-01 10:20:30")):
        short = tuple(text[:length] for text in said)
        if all(short) and len(set(short)) == len(short):
            return short
    return ()


def stated_time(dataset: "rasterio.DatasetReader") -> str | None:
    """Time as the label of an open file states it; None where it states none."""
    said = [f'"{key.rpartition(".")[2]}": {value}' for key, value in tags(dataset).items()]
    said += [document(dataset, s) for s in dataset.tag_namespaces() if s.startswith(("json:", "xml:"))]
    for text in said:
        found = _TIME.search(text)
        if found:
            return found[1].strip()
    return None
