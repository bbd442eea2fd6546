"""What is measured of a changed place: its parts, their shape, and what would explain them. `kind_evidence` asks.

NumPy, pure. Axes: H rows, W columns. Images are [H, W] float, standardised over unchanged ground; masks [H, W] bool.
"""

import math
from typing import NamedTuple

import numpy as np
import scipy.ndimage as ndi

_SEARCH = 6
"""Pixels by which ground is moved to see whether that explains a difference."""

_MOST = 2000
"""Pixels of a place that are compared while it is moved."""

_FAINT = 0.12
"""Share of the core's mean difference down to which a halo is followed."""


def distance_to(mask: np.ndarray) -> np.ndarray:
    """Distance of each pixel from the mask, pixels, [H, W] float64; the mask is not empty."""
    return np.asarray(ndi.distance_transform_edt(~mask))


def wider(mask: np.ndarray, px: float) -> np.ndarray:
    """The mask and what lies within some pixels of it."""
    if not mask.any():
        return mask
    return distance_to(mask) <= px + 0.3


def moved(image: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The image with content that lies by `shift` too far down and right brought back."""
    if np.abs(shift).max() < 0.05:
        return image
    return ndi.shift(image, -shift, order=3, mode="nearest")


def standardised(image: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1 over the ground, its outer percents left out."""
    low, high = (float(np.quantile(image[ground], share)) for share in (0.01, 0.99))
    known = image[ground & (image >= low) & (image <= high)]
    return (image - known.mean()) / max(float(known.std()), 1e-6)


def step_between(before: np.ndarray, after: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """One step of Lucas & Kanade 1981: rows and columns by which the second date lies further on."""
    mean = 0.5 * (before + after)
    down, along = np.gradient(mean, axis=0), np.gradient(mean, axis=1)
    terms = np.stack([down[ground], along[ground], np.ones(int(ground.sum()))], axis=1)
    found = np.linalg.lstsq(terms, (before - after)[ground], rcond=None)[0]
    return np.clip(found[:2], -2.0, 2.0)


def levelled(difference: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """The difference less a plane through that of the ground."""
    rows, cols = np.indices(difference.shape) / max(difference.shape)
    terms = np.stack([rows, cols, np.ones_like(rows)], axis=-1)
    kept, plane = ground, np.zeros_like(difference)
    for _ in range(2):
        plane = terms @ np.linalg.lstsq(terms[kept], difference[kept], rcond=None)[0]
        off = np.abs(difference - plane)
        kept = ground & (off <= np.quantile(off[ground], 0.9))
    return difference - plane


def appearance(
    before: np.ndarray, after: np.ndarray, difference: np.ndarray, mask: np.ndarray, valid: np.ndarray
) -> float:
    """1 where the second date shows the pattern of the difference and the first does not, -1 for the reverse.

    The mean of what brightness says, less a level, and of what its gradients say: ground with broad waves spoils the
    one, fine texture the other. In [-2, 2]; NaN where there is no difference.
    """
    here = wider(mask, min(2 + 0.5 * math.sqrt(mask.sum() / math.pi), 12)) & valid
    weight = np.where(mask, difference, 0)[here]
    levels = [(weight - weight.mean(), (before + after)[here], difference[here])]
    around = np.where(wider(mask, 2), difference, 0)
    slopes = [np.gradient(ndi.gaussian_filter(x, 1.0)) for x in (around, before + after, difference)]
    edges = [tuple(x[here] for x in parts) for parts in zip(*slopes, strict=True)]
    said = []
    for parts in (levels, edges):
        norm = sum(float((w * d).sum()) for w, _, d in parts)
        said.append(sum(float((w * x).sum()) for w, x, _ in parts) / norm if norm > 0 else math.nan)
    return float(np.clip(np.mean(said), -2, 2))


def connected_parts(blurred: np.ndarray, where: np.ndarray, least: float, sign: int) -> list[np.ndarray]:
    """Connected parts of one sign above `least`, the one with most energy first."""
    label, count = ndi.label(where & (sign * blurred > least), np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues]
    masks = [label == number for number in range(1, count + 1)]
    return sorted(masks, key=lambda mask: -float(np.square(blurred[mask]).sum()))


class Shape(NamedTuple):
    """Of a part; `elongation`, `stretch`, `compact` and `axis` as in `kind_evidence.Evidence`, `width` in pixels."""

    elongation: float
    stretch: float
    compact: float
    axis: float
    width: float


def shape_of(mask: np.ndarray) -> Shape:
    """The shape of a connected part, [H, W] bool."""
    area = int(mask.sum())
    padded = np.pad(mask, 1)
    width = max(1.0, 2 * float(distance_to(~padded).max()) - 1)
    rows, cols = np.nonzero(mask)
    spread = np.cov(np.stack([rows, cols]), bias=True) + np.eye(2) / 12
    values, vectors = np.linalg.eigh(spread)
    axis = math.degrees(math.atan2(vectors[1, 1], -vectors[0, 1])) % 180.0
    compact = area / (4 * math.pi * math.sqrt(max(values[0] * values[1], 1e-9)))
    stretch = math.sqrt(values[1] / max(values[0], 1e-9))
    return Shape(area / width**2 if area >= 6 else 1.0, stretch, compact, axis, width)


def halo_of(blurred: np.ndarray, core: np.ndarray, valid: np.ndarray, sign: int, noise: float) -> tuple[float, float]:
    """How far the same sign goes on beyond the core, in its radii; share of directions with a ring of the other."""
    away = distance_to(core)
    radius = math.sqrt(core.sum() / math.pi)
    own = sign * blurred
    inner = float(own[core].mean())
    reach = 0.0
    for far in range(1, int(3 * radius) + 8):
        shell = valid & (away > far - 0.5) & (away <= far + 0.5)
        if not shell.any() or own[shell].mean() < max(_FAINT * inner, 2 * noise / math.sqrt(max(shell.sum() / 6, 1))):
            break
        reach = far
    rows, cols = np.indices(core.shape)
    middle = np.argwhere(core).mean(axis=0)
    sector = ((np.arctan2(rows - middle[0], cols - middle[1]) / (2 * math.pi) + 0.5) * 12).astype(int) % 12
    ring = valid & (away > 1.5) & (away <= max(4.0, 1.2 * radius + 1))
    means = [own[ring & (sector == k)].mean() for k in range(12) if (ring & (sector == k)).any()]
    other = [mean < -max(0.15 * inner, noise) for mean in means]
    return reach / max(radius, 1.5), float(np.mean(other)) if other else 0.0


def smoothness(difference: np.ndarray, where: np.ndarray, noise: float) -> float:
    """Correlation of neighbours' differences inside a place, noise of the ground taken off; smaller of two ways."""
    found = []
    for axis in (0, 1):
        one, two = (np.take(difference, range(k, difference.shape[axis] - 1 + k), axis) for k in (0, 1))
        both = np.logical_and(*(np.take(where, range(k, where.shape[axis] - 1 + k), axis) for k in (0, 1)))
        power = 0.5 * (np.square(one) + np.square(two))[both].sum() - both.sum() * noise**2
        found.append(float((one * two)[both].sum() / max(power, 1e-9)) if both.any() else math.nan)
    return float(np.clip(min(found), -1, 1))


def flat_share(image: np.ndarray, mask: np.ndarray) -> float:
    """Largest share of a part that has one single value; 0 for fewer than 8 pixels."""
    values, counts = np.unique(image[mask], return_counts=True)
    return float(counts.max() / mask.sum()) if mask.sum() >= 8 and len(values) else 0.0


def explained_by_moving(
    before: np.ndarray, after: np.ndarray, where: np.ndarray, valid: np.ndarray, noise: float
) -> tuple[float, float]:
    """Share of the squared difference that goes away when the ground of a place is moved, and by how many pixels."""
    rows, cols = np.nonzero(where)
    if len(rows) > _MOST:
        chosen = slice(None, None, len(rows) // _MOST + 1)
        rows, cols = rows[chosen], cols[chosen]
    last_row, last_col = (n - 1 for n in before.shape)
    best, at = math.inf, np.zeros(2)
    start = math.inf
    for down in range(-_SEARCH, _SEARCH + 1):
        for along in range(-_SEARCH, _SEARCH + 1):
            r, c = np.clip(rows + down, 0, last_row), np.clip(cols + along, 0, last_col)
            off = after[r, c] - before[rows, cols]
            off = off[valid[r, c]]
            size = float(off.var()) if off.size > 12 else math.inf
            start = size if down == along == 0 else start
            if size < best:
                best, at = size, np.array([down, along], float)
    step = step_between(before, moved(after, at), where)
    finer = moved(after, at + step)
    if (off := (finer - before)[where]).var() < best:
        best, at = float(off.var()), at + step
    return 1 - max(best - noise**2, 0) / max(start - noise**2, 1e-9), float(np.hypot(at[0], at[1]))


def explained_by_light(
    before: np.ndarray, after: np.ndarray, where: np.ndarray, valid: np.ndarray, ground: np.ndarray
) -> tuple[float, float]:
    """Share of the squared difference of a place that a turned light explains, and the size of the turn.

    The light is that of the ground around, fitted as `scores.registered.relief` does: gain and a second-order Riesz
    transform of the first date, with Huber's weights. Every second row and column is looked at.
    """
    image = np.where(valid, before, 0)
    by_row, by_col = np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])[None]
    power = by_row**2 + by_col**2
    power[0, 0] = 1.0
    waves = np.fft.rfft2(image)
    maps = [np.fft.irfft2(waves * x / power, image.shape) for x in (by_row**2 - by_col**2, 2 * by_row * by_col)]
    terms = np.stack([before, *maps], axis=-1)
    some = np.zeros_like(ground)
    some[::2, ::2] = ground[::2, ::2]
    known, wanted = terms[some], after[some]
    weight, found = np.ones(len(known)), np.zeros(3)
    for _ in range(3):
        found = np.linalg.solve((known * weight[:, None]).T @ known + 1e-6 * np.eye(3), known.T @ (weight * wanted))
        off = np.abs(wanted - known @ found)
        weight = 1 / np.maximum(1.0, off / (3 * 1.4826 * float(np.median(off)) + 1e-9))
    left, was = (float(np.square(x[where] - x[where].mean()).mean()) for x in (after - terms @ found, after - before))
    return 1 - left / max(was, 1e-9), float(np.hypot(found[1], found[2]))


def laid_on_each_other(difference: np.ndarray, one: np.ndarray, two: np.ndarray) -> float:
    """Largest correlation of two parts of opposite sign once one is laid on the other, within 2 px of their centres."""
    centres = [np.argwhere(mask).mean(axis=0).round().astype(int) for mask in (one, two)]
    half = 2 + max(
        int(np.abs(np.argwhere(mask) - centre).max()) for mask, centre in zip((one, two), centres, strict=True)
    )
    own, other = (np.pad(np.where(wider(mask, 1), difference, 0), half + 2) for mask in (one, two))
    (r, c), (p, q) = (centre + half + 2 for centre in centres)
    template = own[r - half : r + half + 1, c - half : c + half + 1]
    best = 0.0
    for down in range(-2, 3):
        for along in range(-2, 3):
            patch = -other[p + down - half : p + down + half + 1, q + along - half : q + along + half + 1]
            norm = math.sqrt(float(np.square(template).sum() * np.square(patch).sum()))
            best = max(best, float((template * patch).sum()) / max(norm, 1e-9))
    return best


def bearing(start: np.ndarray, end: np.ndarray) -> float:
    """Degrees clockwise from the top from one point (row, column) to another, in [0, 360)."""
    return math.degrees(math.atan2(end[1] - start[1], -(end[0] - start[0]))) % 360.0


def angle_between(one: float, two: float) -> float:
    """Angle between two bearings, degrees in [0, 180]."""
    return abs((one - two + 180.0) % 360.0 - 180.0)
