"""The quality of a scene's pair before the work, from sampled squares, labels and the overlap."""

import numpy as np

from planetcd_jax.images.pair_quality import Date, Quality, angles_between, correlation, texture
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.samples import Samples


def of_pair(pair: AlignedPair, samples: Samples) -> Quality:
    """The quality of a pair from the sampled squares, the labels and the overlap.

    Where no square is valid as a whole, as on ground with many gaps, those that are in part have to do.
    """
    corners = samples.squares if len(samples.squares) else samples.partly
    squares = [samples.grey_dates(pair, (row, col), samples.side) for row, col in corners.tolist()]
    found = [correlation(one, two, both) for one, two, both in squares]
    known = [value for value in found if np.isfinite(value)]
    described = [image.describe()["angles"] for image in (pair.before, pair.after)]
    dates = []
    for date in (0, 1):
        noise, sharpness, share = texture([(square[date], square[2]) for square in squares])
        dates.append(Date(noise, sharpness, share, _common(pair, samples, date), described[date]))
    both = angles_between(*described)
    return Quality(float(np.median(known)) if known else float("nan"), dates[0], dates[1], both)


def _common(pair: AlignedPair, samples: Samples, date: int) -> float:
    """Share of an image's valid ground that is valid in the other too; beyond the overlap as much of it as within."""
    box, both = pair.overlap, samples.shared / max(samples.own[date], 1e-9)
    if date == 0:
        whole = pair.before_grid.height * pair.before_grid.width
        return float(min(1.0, both * box.height * box.width / whole))
    grid = pair.after.grid
    return float(min(1.0, both * box.height * box.width * pair.after_area / (grid.height * grid.width)))
