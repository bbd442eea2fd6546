"""What stored values mean: marks of missing pixels and colour tables. One rule for pairs and scenes."""

import numpy as np

from planetcd_jax.errors import BadPairError


def differs(stored: np.ndarray, value: float) -> np.ndarray:
    """Which pixels of any shape, as stored in a file, are not `value`; bool of the same shape.

    A file of floats holds the value rounded to its own type: -9999.9 in 32 bits is -9999.900390625.
    """
    if not np.issubdtype(stored.dtype, np.floating):
        return stored != np.asarray(value)
    with np.errstate(over="ignore"):  # beyond the type's range: infinite, which is no data anyway
        return stored != np.asarray(value).astype(stored.dtype)


def colour_table(src, band: int) -> tuple[np.ndarray, np.ndarray]:
    """Colours by index [256 or 65536, C] as uint8, C = 1 where all are grey, else 3, and which of them are data, bool.

    Entries that are fully transparent are no data. Indices without an entry are black. `band` counts from 1.

    Raises:
        BadPairError: if the file says that it has a colour table and has none.
    """
    try:
        entries = src.colormap(band)
    except ValueError:
        raise BadPairError(f"{src.name} needs a colour table and has none; it is damaged: fetch it again.") from None
    table = np.zeros((np.iinfo(src.dtypes[band - 1]).max + 1, 3), np.uint8)
    seen = np.ones(len(table), bool)
    for index, rgba in entries.items():
        table[index], seen[index] = rgba[:3], rgba[3] > 0
    is_grey = (table[seen] == table[seen, :1]).all()
    return (table[:, :1] if is_grey else table), seen
