"""Several before-images on the command line of scenes: their names, their times, and each of them opened."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from planetcd_jax.cli.scene_pairs import Opening, measured_shift, open_pair
from planetcd_jax.errors import ConfigError
from planetcd_jax.words import counted

if TYPE_CHECKING:
    from planetcd_jax.scenes.alignment import AlignedPair
    from planetcd_jax.scenes.dates import Dates, OtherDate
    from planetcd_jax.scenes.source import Source


def check_names(befores: Sequence[str], after: str, times: str | None) -> None:
    """Raises ConfigError if a before-image is named twice, or times are given that mean nothing."""
    if len(befores) == 1:
        if times is not None:
            raise ConfigError(f"--times={times} means nothing with one --before; leave it out, or give several.")
        return
    names = [*befores, after]
    twice = [name for n, name in enumerate(names) if name in names[:n]]
    if twice:
        raise ConfigError(f"{twice[0]} is given twice among --before and --after; name each date once.")
    if times is not None:
        given_times(times, len(names))


def given_times(text: str, count: int) -> tuple[float, ...]:
    """Seconds since 1970 of each image out of --times.

    Raises:
        ConfigError: if there are not `count` of them, or one is no time.
    """
    from planetcd_jax.scenes.times import seconds_of

    parts = text.split(",")
    if len(parts) != count:
        raise ConfigError(
            f"--times={text} holds {counted(len(parts), 'time')}, and there are {count} images; give one for each "
            "--before in turn and one for --after."
        )
    times = tuple(map(seconds_of, parts))
    for part, seconds in zip(parts, times, strict=True):
        if math.isnan(seconds):
            raise ConfigError(f"--times: {part!r} is no time; write it as 2012-03-07 or 2012-03-07T10:20:30, UTC.")
    return times


def open_dates(
    first: "Source", others: Sequence["Source"], scene: "AlignedPair", opening: Opening, times: str | None
) -> "Dates":
    """All dates of a scene, each brought to the first before-image, with lines about them.

    Args:
        first: The first before-image.
        others: The further ones.
        scene: The first before-image and the after-image.
        opening: How.
        times: Value of --times.

    Raises:
        DataError: as for the after-image, and if one shows nothing of the scene's ground.
    """
    from planetcd_jax.scenes.dates import Dates

    images = [first, *others, scene.after]
    known, how = _times(images, times)
    found = tuple(_open_date(first, other, scene, opening) for other in others)
    dates = Dates(found, tuple(image.name for image in images), known, how)
    print(f"dates: {dates.said()}")
    return dates


def _times(images: Sequence["Source"], text: str | None) -> tuple[tuple[float, ...], str]:
    """Times of the images, and where the order comes from."""
    if text is not None:
        return given_times(text, len(images)), "times of --times"
    known = tuple(image.time for image in images)
    lacking = [image.name for image, seconds in zip(images, known, strict=True) if math.isnan(seconds)]
    if not lacking:
        return known, "times of the labels"
    return known, f"as given, since {' and '.join(lacking)} states no time"


def _open_date(first: "Source", other: "Source", scene: "AlignedPair", opening: Opening) -> "OtherDate":
    from planetcd_jax.scenes import scoring
    from planetcd_jax.scenes.dates import OtherDate, over_scene
    from planetcd_jax.scenes.samples import in_one_code, sample

    # Tie points are of the after-image; a further before-image is registered where it needs it.
    way = "auto" if opening.register == "file" else opening.register
    own, registered = open_pair(first, other, opening._replace(register=way, gcps=None), other.name)
    samples = sample(own)
    pair = over_scene(own, scene)
    scoring.check_plan(opening.plan, pair, opening.config)
    # The same rows and columns for reads over the scene, which counts from another corner.
    own.after_shift = pair.after_shift = measured_shift(own, samples, other.name)
    own = in_one_code(own)
    if own.recodings:
        print(f"codes: {own.said_of_codes()}")
        pair, samples = pair.in_one_code(own.recodings), sample(own)
    return OtherDate(pair, samples, registered)
