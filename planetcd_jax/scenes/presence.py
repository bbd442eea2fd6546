"""On which dates a change is there: told from how much of it each date shows."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from planetcd_jax.errors import ConfigError
from planetcd_jax.records import check_above_zero

SEEN, NOT_SEEN, UNSURE = "seen", "not seen", "unsure"
"""What a date says of a change."""


@dataclasses.dataclass(frozen=True)
class PresenceRules:
    """From where on a date counts as showing a change.

    Attributes:
        seen_from: Share of the change (`ops.projection`) from where on it is there.
        not_seen_to: Share up to which it is not there; what lies between is unsure.
        most_error: Largest error of the share with which either is said.
        least_known: Share of the squared change that must have data.
        least_seen: The same for other places of the ground, whose projections tell the error.
        around_px: Ground this near to the outline neither tells the contrast of the dates nor the error, pixels.
    """

    seen_from: float = 0.65
    not_seen_to: float = 0.35
    most_error: float = 0.25
    least_known: float = 0.7
    least_seen: float = 0.5
    around_px: int = 8

    def __post_init__(self):
        check_above_zero(self, "seen_from", "most_error", "least_known", "least_seen")
        if not self.not_seen_to < self.seen_from:
            raise ConfigError(
                f"not_seen_to is {self.not_seen_to!r} and seen_from {self.seen_from!r}; give two shares of which the "
                "second is larger."
            )

    def told(self, share: float, error: float, known: float) -> str:
        """`SEEN`, `NOT_SEEN` or `UNSURE`, from the parts of a `Projection`; NaN is unsure."""
        if not (error <= self.most_error and known >= self.least_known):
            return UNSURE
        if share >= self.seen_from:
            return SEEN
        return NOT_SEEN if share <= self.not_seen_to else UNSURE


class Bracket(NamedTuple):
    """Between which dates a change came: numbers of dates in order of time.

    Attributes:
        last_not_seen: The last date before `first_seen` on which it is surely not there; None: there is none.
        first_seen: The first date on which it is surely there; None: there is none.
    """

    last_not_seen: int | None
    first_seen: int | None


def bracket(told: Sequence[str]) -> Bracket:
    """The `Bracket` of a change from what the dates say of it, in order of time.

    Unsure dates between the two widen it. Without any date that shows the change, the last that does not is given.

    >>> bracket(["not seen", "not seen", "unsure", "seen"])
    Bracket(last_not_seen=1, first_seen=3)
    """
    first = next((n for n, what in enumerate(told) if what == SEEN), None)
    earlier = [n for n, what in enumerate(told[:first]) if what == NOT_SEEN]
    return Bracket(earlier[-1] if earlier else None, first)
