"""Two dates in one RGB image: one channel empty, the others a date each, as Mars-Bench stacks a pair.

Content tells that an image is such a composite, and which channel is empty. It does not tell which date is which: that
is Mars-Bench's stacking, (zeros, after, before) in red, green, blue.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from planetcd_jax.errors import BadPairError, DataError
from planetcd_jax.images.reading import Image, image_shape, read_image
from planetcd_jax.images.stretch import describe, stretched
from planetcd_jax.images.values import differs
from planetcd_jax.pairs.files import FilePair
from planetcd_jax.pairs.pair_rows import EXPECTED
from planetcd_jax.pairs.pair_set import UNKNOWN, PairSet, RawPair, naming
from planetcd_jax.words import counted

CHANNELS = ("0ab", "0ba", "a0b", "b0a", "ab0", "ba0")
"""What red, green and blue hold: 0 nothing, a the after-image, b the before-image."""

COMPOSITES = ("auto", *CHANNELS)
"""Values of `--composite`: tell by content, or these channels."""

BY_EMPTY = {0: "0ab", 2: "ba0"}
"""Channels by the one that is empty: Mars-Bench's stacking, and the same with red and blue exchanged (BGR)."""

NEARLY = 0.1
"""Largest share of the others' mean that an empty channel has after JPEG; 0.02 to 0.06 was seen on CTX patches."""

CHECKED = 200
"""Largest number of unchanged pairs over which the two channels are compared."""

ENOUGH = 3
"""Fewest unchanged pairs that can speak against a composite."""

CHANCE, CLEAR = 0.5, 0.75
"""`Likeness.rank` at or below which a set is no composite, and below which a note is made."""

OTHERS = 8
"""Other pairs that each pair is compared with."""

_CELLS = 32
"""Cells on a side to which an image is averaged before two are compared."""


class Likeness(NamedTuple):
    """How alike the two dates of unchanged pairs are.

    Attributes:
        own: Median over pairs of the largest correlation over shifts between the two dates, in [-1, 1].
        other: The same between dates of different pairs.
        rank: Mean share of other pairs' dates that are less alike than a pair's own: 1 always, 0.5 by chance.
        pairs: Number of unchanged pairs compared.
    """

    own: float
    other: float
    rank: float
    pairs: int


def tell_channels(paths: Sequence[pathlib.Path], where: str) -> tuple[str, float]:
    """What the three channels of all images hold, one of `CHANNELS`, and the largest value of the empty one.

    Empty is a channel that is 0 everywhere; where all files are JPEG, which does not keep a 0, one whose mean is at
    most `NEARLY` of the others'.

    Args:
        paths: All images of the set.
        where: The set, for the message.

    Raises:
        DataError: if not exactly one channel is empty, or the two others do not vary in each, with what they hold.
        BadPairError: if an image cannot be read.
    """
    peak, sums, least = np.zeros(3), np.zeros(3), np.full(3, np.inf)
    for path in paths:
        values = _bands(path, where).astype(np.float64)
        peak = np.maximum(peak, values.max((0, 1)))
        least = np.minimum(least, np.ptp(values, (0, 1)))
        sums += values.mean((0, 1))
    allowed = NEARLY * np.sort(sums)[1] if all(path.suffix.lower() in (".jpg", ".jpeg") for path in paths) else 0.0
    empty = np.flatnonzero(sums <= allowed)
    if len(empty) == 1 and int(empty[0]) in BY_EMPTY and (np.delete(least, empty) > 0).all():
        return BY_EMPTY[int(empty[0])], float(peak[empty[0]])
    raise DataError(
        f"{where}: one RGB image for each pair, whose red, green and blue reach {', '.join(f'{v:g}' for v in peak)}; "
        "wanted red 0 everywhere, the after-image in green and the before-image in blue; if they hold the two dates "
        f"otherwise, say how by --composite, one of {', '.join(CHANNELS)}."
    )


def _bands(path: pathlib.Path, where: str) -> np.ndarray:
    """[H, W, 3] as stored.

    Raises:
        DataError: if the image has another number of bands.
    """
    values = read_image(path).values
    if values.ndim != 3 or values.shape[-1] != 3:
        count = 1 if values.ndim == 2 else values.shape[-1]
        raise DataError(
            f"{where}: one image for each pair, with {counted(count, 'band')} ({path.name}); wanted {EXPECTED}."
        )
    return values


def dates(path: pathlib.Path, channels: str, nodata: float | str | None = None) -> tuple[Image, Image]:
    """Before- and after-image [H, W] of a composite, by one of `CHANNELS`."""
    values, _, dtype = read_image(path)
    if values.ndim != 3 or values.shape[-1] != 3:
        raise BadPairError(f"{path}: shape {values.shape}; wanted an RGB image that holds both dates.")

    def date(letter: str) -> Image:
        band = values[..., channels.index(letter)]
        valid = differs(band, nodata) if isinstance(nodata, int | float) else np.ones(band.shape, bool)
        return Image(band, valid & np.isfinite(band), dtype)

    return date("b"), date("a")


def likeness(pairs: Sequence[FilePair], channels: str) -> Likeness | None:
    """How alike the dates of unchanged pairs are, against dates of different pairs; None with fewer than two."""
    unchanged = [pair for pair in pairs if pair.label == 0][:CHECKED]
    if len(unchanged) < 2:
        return None
    cells = [tuple(_cells(image.values) for image in dates(pair.before, channels)) for pair in unchanged]
    own = np.array([_correlation(before, after) for before, after in cells])
    steps = range(1, min(len(cells), OTHERS + 1))
    other = np.array([[_correlation(cells[i][0], cells[i - k][1]) for k in steps] for i in range(len(cells))])
    rank = float((other < own[:, None]).mean())
    return Likeness(float(np.median(own)), float(np.median(other)), rank, len(unchanged))


def _cells(band: np.ndarray) -> np.ndarray:
    """[_CELLS, _CELLS] means of an image [H, W], or the image where it is smaller; mean 0, norm 1."""
    rows, columns = (np.linspace(0, n, min(n, _CELLS) + 1).astype(int)[:-1] for n in band.shape)
    sums = np.add.reduceat(np.add.reduceat(band.astype(np.float64), rows, 0), columns, 1)
    sizes = np.diff([*rows, band.shape[0]])[:, None] * np.diff([*columns, band.shape[1]])[None, :]
    cells = sums / sizes
    cells -= cells.mean()
    return cells / max(np.linalg.norm(cells), np.finfo(np.float64).tiny)


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Largest circular correlation over all shifts; misregistered dates of one place are alike all the same."""
    if first.shape != second.shape:
        return 0.0
    spectrum = np.fft.rfft2(first).conj() * np.fft.rfft2(second)
    return float(np.fft.irfft2(spectrum, first.shape).max())


def describe_channels(pairs: Sequence[FilePair], composite: str, where: str) -> tuple[str, dict[str, Any]]:
    """Channels of a set of composites and what metrics.json says of them.

    Args:
        pairs: The composites, each as `before` of its pair.
        composite: One of `COMPOSITES`.
        where: The set, for the message.

    Raises:
        DataError: if content tells no composite, or speaks against one.
    """
    asked = composite != "auto"
    channels, left = (composite, 0.0) if asked else tell_channels([pair.before for pair in pairs], where)
    alike = likeness(pairs, channels)
    words = {"0": "empty", "a": "after", "b": "before"}
    held = {colour: words[letter] for colour, letter in zip(("red", "green", "blue"), channels, strict=True)}
    facts = {"channels": held, "told_by": "--composite" if asked else "content; the dates as Mars-Bench stacks them"}
    facts["largest_value_of_empty_channel"] = left
    facts["likeness_of_unchanged_pairs"] = None if alike is None else alike._asdict()
    if not asked and alike is not None and alike.pairs >= ENOUGH:
        _check_alike(alike, channels, where)
    return channels, facts


def _check_alike(alike: Likeness, channels: str, where: str) -> None:
    if alike.rank <= CHANCE:
        raise DataError(
            f"{where}: the two dates of {alike.pairs} unchanged pairs are no more alike ({alike.own:.2f}) than those "
            f"of different pairs ({alike.other:.2f}), so the channels are not two dates of one place; if they are, say "
            f"--composite={channels}."
        )


def doubts(facts: dict[str, Any]) -> list[str]:
    """Notes for the reader on what `describe_channels` told: that it could not be checked, or only just."""
    alike, notes = facts["likeness_of_unchanged_pairs"], []
    if facts["told_by"] == "--composite":
        return notes
    if facts["largest_value_of_empty_channel"]:
        notes.append(
            "The two dates of a pair were compressed as one JPEG image, which mixes them by several grey levels."
        )
    if alike is None or alike["pairs"] < ENOUGH:
        notes.append("The two dates in each image could not be compared: too few pairs are labelled unchanged.")
    elif alike["rank"] < CLEAR:
        notes.append(
            f"The dates of unchanged pairs are little more alike ({alike['own']:.2f}) than those of different pairs "
            f"({alike['other']:.2f}); look at some of the pictures before you trust the results."
        )
    return notes


def composite_set(
    name: str, pairs: Sequence[FilePair], channels: str, *, stretch: str, nodata: float | str | None, provenance: dict
) -> PairSet:
    """A `PairSet` over composites, each read when asked for.

    Args:
        name: Name of the data set.
        pairs: The composites, each as `before` of its pair.
        channels: One of `CHANNELS`.
        stretch: See `stretch.describe`.
        nodata: A value that means no data.
        provenance: What is known beside.
    """
    pairs = tuple(pairs)

    def load(i: int) -> RawPair:
        with naming(f"pair {pairs[i].id!r}"):
            images = dates(pairs[i].before, channels, nodata)
            before, after = stretched(*images, stretch)
        return RawPair(before, after, images[0].valid & images[1].valid)

    known = any(pair.label != UNKNOWN for pair in pairs)
    return PairSet(
        name,
        "real",
        [pair.id for pair in pairs],
        load,
        labels=[pair.label for pair in pairs] if known else None,
        provenance={**provenance, "stretch": describe(stretch), "nodata": nodata},
        files=lambda i: (str(pairs[i].before),),
        shape=_named_shape(pairs),
    )


def _named_shape(pairs: Sequence[FilePair]) -> Callable[[int], tuple[int, int]]:
    def shape(i: int) -> tuple[int, int]:
        with naming(f"pair {pairs[i].id!r}"):
            return image_shape(pairs[i].before)

    return shape
