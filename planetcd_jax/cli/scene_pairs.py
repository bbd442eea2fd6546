"""Two dates of a scene opened as the flags say: brought to one system, registered, and what is left of a shift."""

from typing import TYPE_CHECKING, NamedTuple

from planetcd_jax.errors import ConfigError

if TYPE_CHECKING:
    from planetcd_jax.config import ChangeConfig
    from planetcd_jax.scenes.alignment import AlignedPair
    from planetcd_jax.scenes.coregister.deciding import Registration
    from planetcd_jax.scenes.samples import Samples
    from planetcd_jax.scenes.scoring import Plan
    from planetcd_jax.scenes.source import Source

# Pixels within which sampled places must agree on a misregistration for it to be removed unasked.
_AGREED = 2.0


class Opening(NamedTuple):
    """How dates are opened.

    Attributes:
        plan, config: How the scene is cut and scored.
        register: Value of --register.
        gcps: Value of --gcps: tie points of the after-image.
        resampling: Value of --resampling.
    """

    plan: "Plan"
    config: "ChangeConfig"
    register: str
    gcps: str | None
    resampling: str


def open_pair(first: "Source", other: "Source", opening: Opening, name: str = "") -> "tuple[AlignedPair, Registration]":
    """The first before-image and another date on its grid, and how that was registered; with a line about it.

    Args:
        first: The first before-image.
        other: The other date.
        opening: How.
        name: Of the other, where it is not the after-image.

    Raises:
        DataError, ConfigError: if the two cannot be compared.
    """
    from planetcd_jax.scenes import body
    from planetcd_jax.scenes.agreement import agree_on_system, check_bands
    from planetcd_jax.scenes.alignment import AlignedPair
    from planetcd_jax.scenes.coregister.deciding import register

    check_bands(first, other)
    agree_on_system(first, other)
    body.check_systems(first.grid.crs, other.grid.crs, first.name, other.name)
    registered = register(first, other, way=opening.register, gcps=opening.gcps, resampling=opening.resampling)
    print(f"registration{f' of {name}' if name else ''}: {registered.said()}")
    beyond = max(0, opening.plan.window - opening.plan.stride)
    pair = AlignedPair(
        first, other, resampling=opening.resampling, beyond_seam=beyond, correction=registered.correction
    )  # fmt: skip
    return pair, registered


def whole_numbers(name: str, text: str) -> tuple[int, ...]:
    """Numbers from a text such as "3,2,1".

    Raises:
        ConfigError: if it is something else.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--{name}={text}: give whole numbers with commas between them.") from None


def shift_to_undo(text: str, pair: "AlignedPair", samples: "Samples") -> tuple[int, int]:
    """Whole rows and columns to undo a misregistration: those of --after_shift, or what is measured."""
    if text == "auto":
        return measured_shift(pair, samples)
    shift = whole_numbers("after_shift", text)
    if len(shift) != 2:
        raise ConfigError(f"--after_shift={text}: give rows,columns or auto.")
    return shift


def measured_shift(pair: "AlignedPair", samples: "Samples", name: str = "") -> tuple[int, int]:
    """Whole rows and columns to undo a misregistration that many places agree on, and a line about them.

    Args:
        pair, samples: Of two dates.
        name: Of the second, where it is not the after-image.
    """
    from planetcd_jax.scenes.misregistration import typical_shift
    from planetcd_jax.scenes.run_report import shift_in_words

    of = f" of {name}" if name else ""
    found = typical_shift(pair, samples)
    if found is None:
        print(f"misregistration{of}: could not be told from the images; taken as none")
        return 0, 0
    said = f"{found['rows']:+.1f} rows, {found['cols']:+.1f} columns on {found['squares']} squares"
    if found["spread"] > _AGREED:
        print(f"misregistration{of}: {said}, which differ by {found['spread']:.1f} px; left as it is")
        return 0, 0
    shift = round(found["rows"]), round(found["cols"])
    print(f"misregistration{of}: {said}; {shift_in_words(*shift)}")
    return shift
