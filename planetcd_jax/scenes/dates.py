"""The dates of a scene with several before-images: what is opened of each, and the order in which they were taken."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from planetcd_jax.errors import DataError
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.coregister.deciding import Registration
from planetcd_jax.scenes.presence import PresenceRules
from planetcd_jax.scenes.samples import Samples
from planetcd_jax.scenes.times import shown_times, time_text
from planetcd_jax.scenes.unchanged import UnchangedRules


@dataclasses.dataclass(frozen=True, eq=False)
class OtherDate:
    """A further before-image, beside the first.

    Attributes:
        pair: The first before-image and this one, over the ground of the scene.
        samples: Of both, where they overlap.
        registration: How this one was registered to the first.
    """

    pair: AlignedPair
    samples: Samples
    registration: Registration

    def identity(self) -> dict[str, Any]:
        """What decides the results of this date."""
        return {
            "name": self.pair.after.name,
            "images": self.samples.digest,
            "after_shift": list(self.pair.after_shift),
            "registration": self.registration.record(),
        }

    def record(self) -> dict[str, Any]:
        """For run.json."""
        return {
            **self.pair.after.describe(),
            "overlap": self.pair.overlap.note,
            "stretch": dataclasses.asdict(self.samples.after),
            "codes": [one.record() for one in self.pair.recodings],
            "shared_valid": self.samples.shared,
            "after_shift": list(self.pair.after_shift),
            "registration": self.registration.record(),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Dates:
    """All dates of a scene, counted as given: the first before-image, the others, the after-image last.

    Attributes:
        others: The before-images but the first.
        names: Of the files.
        times: Seconds since 1970, UTC; NaN where not known.
        how: Where the order comes from, in words.
        presence: From where on a date shows a change.
        unchanged: Which windows of the others are null scores.
    """

    others: tuple[OtherDate, ...]
    names: tuple[str, ...]
    times: tuple[float, ...]
    how: str
    presence: PresenceRules = dataclasses.field(default_factory=PresenceRules)
    unchanged: UnchangedRules = dataclasses.field(default_factory=UnchangedRules)

    @property
    def in_order(self) -> tuple[int, ...]:
        """Numbers of the dates in the order in which they were taken: by time where all are known, else as given."""
        return order_of(self.times)

    @property
    def labels(self) -> tuple[str, ...]:
        """What each date is called in tables: its time where all are known and differ, else its file."""
        said = tuple(map(time_text, self.times))
        return said if all(said) and len(set(said)) == len(said) else labels_of(self.names)

    @property
    def shown(self) -> tuple[str, ...]:
        """As `labels`, short enough for a page: the day where the days differ."""
        return shown_times(self.times) or labels_of(self.names)

    def identity(self) -> dict[str, Any]:
        """What decides the results beside the first before-image and the after-image."""
        return {
            "befores": [other.identity() for other in self.others],
            "times": [time_text(seconds) for seconds in self.times],
            **self.rules(),
        }

    def rules(self) -> dict[str, Any]:
        """All thresholds."""
        return {"presence": dataclasses.asdict(self.presence), "unchanged": dataclasses.asdict(self.unchanged)}

    def said(self) -> str:
        """The dates in words."""
        return f"{', '.join(self.shown[n] for n in self.in_order)} (order: {self.how})"

    def record(self) -> dict[str, Any]:
        """For run.json."""
        labels = self.labels
        return {
            "order": [labels[n] for n in self.in_order],
            "order_from": self.how,
            "files": [self.names[n] for n in self.in_order],
            "times": [time_text(self.times[n]) or None for n in self.in_order],
            "befores": [other.record() for other in self.others],
        }


def order_of(times: Sequence[float]) -> tuple[int, ...]:
    """Numbers of dates by their times where all are known, those of one time as given; else as given.

    >>> order_of([20.0, 10.0, 30.0])
    (1, 0, 2)
    >>> order_of([20.0, math.nan, 10.0])
    (0, 1, 2)
    """
    count = range(len(times))
    return tuple(count) if any(map(math.isnan, times)) else tuple(sorted(count, key=lambda n: times[n]))


def labels_of(names: Sequence[str]) -> tuple[str, ...]:
    """Names of files without their folders, where these differ; whole ones else. No ";", which parts lists of them."""
    short = [pathlib.PurePath(name).name for name in names]
    kept = short if len(set(short)) == len(short) else names
    return tuple(name.replace(";", ",") for name in kept)


def over_scene(pair: AlignedPair, scene: AlignedPair) -> AlignedPair:
    """The pair of the first before-image and another, over the ground of the scene.

    Raises:
        DataError: if the other shows nothing of that ground.
    """
    own, box = pair.overlap, scene.overlap
    turn = pair.before_grid.width if pair.before.closed else 0
    rows = own.row < box.row + box.height and box.row < own.row + own.height
    cols = any(own.col + k < box.col + box.width and box.col < own.col + k + own.width for k in {-turn, 0, turn})
    if not (rows and cols):
        raise DataError(
            f"{pair.after.name} shows nothing of the ground that {scene.before.name} and {scene.after.name} have in "
            "common; leave it out, or give a before-image of that ground."
        )
    return pair.over(box)
