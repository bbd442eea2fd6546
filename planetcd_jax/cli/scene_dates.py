"""Several before-images on the command line of scenes: their names, their times, and each of them opened."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from planetcd_jax.errors import ConfigError
from planetcd_jax.words import counted

if TYPE_CHECKING:
    from planetcd_jax.config import ChangeConfig
    from planetcd_jax.scenes.alignment import AlignedPair
    from planetcd_jax.scenes.dates import Dates, OtherDate
    from planetcd_jax.scenes.samples import Samples
    from planetcd_jax.scenes.scoring import Plan
    from planetcd_jax.scenes.source import Source

# Pixels within which sampled places must agree on a misregistration for it to be removed unasked.
_AGREED = 2.0


class Opening(NamedTuple):
    """What opening a further date needs to know of the scene.

    Attributes:
        pair: Of the scene.
        plan, config: How it is cut and scored.
        register: Value of --register.
        resampling: Value of --resampling.
    """

    pair: "AlignedPair"
    plan: "Plan"
    config: "ChangeConfig"
    register: str
    resampling: str


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


def measured_shift(pair: "AlignedPair", samples: "Samples", name: str = "") -> tuple[int, int]:
    """Whole rows and columns to undo a misregistration that many places agree on, and a line about them.

    Args:
        pair, samples: Of two dates.
        name: Of the second, where it is not the after-image.
    """
    from planetcd_jax.scenes import places, scene_run

    of = f" of {name}" if name else ""
    found = places.typical_shift(pair, samples)
    if found is None:
        print(f"misregistration{of}: could not be told from the images; taken as none")
        return 0, 0
    said = f"{found['rows']:+.1f} rows, {found['cols']:+.1f} columns on {found['squares']} squares"
    if found["spread"] > _AGREED:
        print(f"misregistration{of}: {said}, which differ by {found['spread']:.1f} px; left as it is")
        return 0, 0
    shift = round(found["rows"]), round(found["cols"])
    print(f"misregistration{of}: {said}; {scene_run.lies(*shift)}")
    return shift


def open_dates(first: "Source", others: Sequence["Source"], opening: Opening, times: str | None) -> "Dates":
    """All dates of a scene, each brought to the first before-image, with lines about them.

    Args:
        first: The first before-image.
        others: The further ones.
        opening: Of the scene, with the after-image.
        times: Value of --times.

    Raises:
        DataError: as for the after-image, and if one shows nothing of the scene's ground.
    """
    from planetcd_jax.scenes.dates import Dates

    images = [first, *others, opening.pair.after]
    known, how = _times(images, times)
    found = tuple(_open_date(first, other, opening) for other in others)
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


def _open_date(first: "Source", other: "Source", opening: Opening) -> "OtherDate":
    from planetcd_jax.scenes import body, scoring
    from planetcd_jax.scenes.agreement import agree_on_system, check_bands
    from planetcd_jax.scenes.alignment import AlignedPair
    from planetcd_jax.scenes.coregister.deciding import register
    from planetcd_jax.scenes.dates import OtherDate, over_scene
    from planetcd_jax.scenes.samples import in_one_code, sample

    check_bands(first, other)
    agree_on_system(first, other)
    body.check_systems(first.grid.crs, other.grid.crs, first.name, other.name)
    # Tie points are of the after-image; a further before-image is registered where it needs it.
    way = "auto" if opening.register == "file" else opening.register
    registered = register(first, other, way=way, resampling=opening.resampling)
    print(f"registration of {other.name}: {registered.said()}")
    plan = opening.plan
    own = AlignedPair(
        first, other, resampling=opening.resampling, beyond_seam=max(0, plan.window - plan.stride),
        correction=registered.correction,
    )  # fmt: skip
    samples = sample(own)
    pair = over_scene(own, opening.pair)
    scoring.check_plan(plan, pair, opening.config)
    # The same rows and columns for reads over the scene, which counts from another corner.
    own.after_shift = pair.after_shift = measured_shift(own, samples, other.name)
    own = in_one_code(own)
    if own.recodings:
        print(f"codes: {own.said_of_codes()}")
        pair, samples = pair.in_one_code(own.recodings), sample(own)
    return OtherDate(pair, samples, registered)
