"""How scenes with several before-images decide, on simulated stacks: false alarms, and the dates of drawn spots.

    python -m scripts.measure_dates --what=alarms --stacks=12
    python -m scripts.measure_dates --what=dates --stacks=24

Windows and places are those of the program; stacks lie on one grid, so nothing is resampled, and the rest of
misregistration is left to the score.
"""

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import planetcd_jax as pcd
from planetcd_jax import scoremap, thresholds
from planetcd_jax.networks.backbone import prepared
from planetcd_jax.networks.winograd import engine_of, serve, with_engine
from planetcd_jax.ops import extents, masked
from planetcd_jax.ops.projection import project
from planetcd_jax.scenes import null_scores, outlines
from planetcd_jax.scenes.chance import of_scene
from planetcd_jax.scenes.null_scores import NULL_SIDE, NullScores
from planetcd_jax.scenes.presence import NOT_SEEN, SEEN, PresenceRules, bracket
from planetcd_jax.scenes.unchanged import UnchangedRules, unchanged_windows
from scripts.evaluation.stacks import Spot, Stack, simulate_stack

SUN = (265.0, 42.0)
LIGHTS = {
    "alike": ((3, 1), (-2, -1), (1, 2)),
    "second date unlike": ((25, 6), (-20, -4), (3, 1)),
    "after-image unlike": ((3, 1), (-2, -1), (27, 5)),
    "all unlike": ((20, 5), (-15, -4), (27, 8)),
}
"""By how much the sun of the second, third and fourth date turned and rose, degrees."""

SIZES_PX = (8, 16, 40)
WINDOW, STRIDE, WINDOWS, NULL_TILES = 64, 24, 18, 25
AROUND = 122  # half of the ground that a place is looked at in, pixels


def _suns(light: str) -> list[tuple[float, float]]:
    return [SUN] + [(SUN[0] + turn, SUN[1] + rise) for turn, rise in LIGHTS[light]]


def _side(windows: int, margin: int) -> int:
    return WINDOW + STRIDE * (windows - 1) + 2 * margin


class Method(NamedTuple):
    """The method with its engine, and parameters in the form that it takes."""

    config: pcd.ChangeConfig
    params: Any


def _method() -> Method:
    engine = engine_of(serve("auto", pcd.ROBUST.backbone))
    config = with_engine(pcd.ROBUST, engine)
    return Method(config, config.backbone.prepare(pcd.load_vgg16()))


def alarms(stacks: int) -> Iterator[tuple[str, float, float, float]]:
    """False alarms in stacks of three dates (the first, second and fourth light) with nothing changed.

    Gives the light, and shares of the windows above tau: of the drawn null; with the windows at or below it; with those
    that `unchanged_windows` counts.
    """
    method = _method()
    margin = method.config.score.margin_px
    options: dict[str, Any] = dict(config=method.config, window=WINDOW, stride=STRIDE, margin=margin)
    score = jax.jit(lambda one, two: scoremap.score_map(method.params, one, two, **options))
    null = jax.jit(lambda key, one, two: scoremap.null_score_map(key, method.params, one, after=two, **options))
    side, tile = _side(WINDOWS, margin), _side(NULL_SIDE, margin)
    steps = range(0, side - tile + 1, NULL_SIDE * STRIDE)
    corners = [(row, col) for row in steps for col in steps]
    window = np.arange(WINDOWS**2).reshape(WINDOWS, WINDOWS)
    for seed in range(stacks):
        order = np.random.default_rng(0).permutation(len(corners))
        for light in LIGHTS:
            before, other, _, after = simulate_stack(1000 + seed, Stack(side, _suns(light)))
            rho, earlier = (np.asarray(score(before, date)) for date in (after, other))
            tiles, numbers = [], []
            for draw in range(NULL_TILES):
                row, col = corners[order[draw % len(corners)]]
                here = slice(row, row + tile), slice(col, col + tile)
                drawn = null(jax.random.fold_in(jax.random.key(seed), draw), before[here], after[here])
                tiles.append(np.asarray(drawn).ravel())
                numbers.append(window[row // STRIDE :, col // STRIDE :][:NULL_SIDE, :NULL_SIDE].ravel())
            tile_of = np.repeat(np.arange(NULL_TILES, dtype=np.int32), NULL_SIDE**2)
            every = NullScores(np.concatenate(tiles), tile_of, np.concatenate(numbers))
            scores, tile_of, _ = null_scores.counted(every, rho, pcd.ROBUST.decision)
            chance = of_scene(scores, tile_of, rho.size)
            found = unchanged_windows(rho, earlier, scores, chance, UnchangedRules()).scores
            drawn, joined = (_tau(part) for part in (scores, np.concatenate([scores, found[np.isfinite(found)]])))
            below = earlier[(earlier <= drawn) & (rho <= drawn)]
            cut = _tau(np.concatenate([scores, below]))
            yield light, *(float((rho > tau).mean()) for tau in (drawn, cut, joined))


def _tau(null: np.ndarray) -> float:
    return float(thresholds.threshold(jnp.asarray(null), pcd.ROBUST.decision))


class Told(NamedTuple):
    """What was told of a drawn spot.

    Attributes:
        size: Its diameter, pixels.
        right: Number of the first date that shows it.
        told: Numbers of the last date before and the first date with it, as told; None where no place was found.
    """

    size: int
    right: int
    told: tuple[int | None, int | None] | None


def _spots(rng: np.random.Generator, side: int) -> list[Spot]:
    """One spot of each size, in three of four quarters of a scene, there from the second, third or fourth date on."""
    quarters = rng.permutation(4)[: len(SIZES_PX)]
    made = []
    for size, quarter in zip(SIZES_PX, quarters, strict=True):
        row, col = (side / 4 + side / 2 * n + rng.uniform(-side / 16, side / 16) for n in divmod(int(quarter), 2))
        contrast = rng.uniform(0.25, 0.5) * rng.choice([-1, 1])
        made.append(Spot(row, col, size, contrast, int(rng.integers(1, 4))))
    return made


@functools.cache
def _programs() -> tuple[Callable, Callable]:
    """What outlines changed ground, and what projects the dates on it."""
    made, around = _method(), PresenceRules().around_px
    score = made.config.score
    network = prepared(made.config.backbone, made.params)

    def projected(dates: jax.Array, place: jax.Array):
        ground, valid = ~masked.dilate(place, around), extents.everywhere(place.shape)
        change, seen = score.difference(dates[0], dates[-1], valid, ground)

        def one(date: jax.Array):
            difference, known = score.difference(dates[0], date, valid, ground)
            return project(difference, change, place, known & seen, ground, least_seen=PresenceRules().least_seen)

        return jax.lax.map(one, dates[1:-1])

    return jax.jit(lambda key, one, two: score.changed_ground(key, network, one, two)), jax.jit(projected)


def _told(dates: np.ndarray, middle: tuple[int, int], diameter: float) -> tuple[int | None, int | None] | None:
    """The bracket of the place that is found nearest to the middle of some ground, dates [K, H, W]; None: none is."""
    outline, projected = _programs()
    maps = jax.tree.map(np.asarray, outline(jax.random.key(0), dates[0], dates[-1]))
    found = [(np.hypot(x.row - middle[0], x.col - middle[1]), x) for x in outlines.parts(maps, 0, 0)]
    near = min(found, key=lambda pair: pair[0], default=(np.inf, None))
    if near[1] is None or near[0] > max(10.0, diameter / 2):
        return None
    place = np.asarray(outlines.rasterised(near[1].outline, dates.shape[1:], (0, 0)))
    rules, shown = PresenceRules(), projected(jnp.asarray(dates), jnp.asarray(place))
    told = [rules.told(*one) for one in zip(*(np.asarray(x).tolist() for x in shown), strict=True)]
    return tuple(bracket([NOT_SEEN, *told, SEEN]))


def dated(stacks: int, side: int, light: str) -> Iterator[Told]:
    """What is told of spots that are there from the second, third or fourth of four dates on."""
    for seed in range(stacks):
        spots = _spots(np.random.default_rng([seed, 9]), side)
        dates = np.stack(simulate_stack(3000 + seed, Stack(side, _suns(light)), spots))
        for spot in spots:
            corner = [int(np.clip(round(at) - AROUND, 0, side - 2 * AROUND)) for at in (spot.row, spot.col)]
            part = dates[:, corner[0] : corner[0] + 2 * AROUND, corner[1] : corner[1] + 2 * AROUND]
            middle = round(spot.row) - corner[0], round(spot.col) - corner[1]
            yield Told(int(spot.diameter), spot.first, _told(part, middle, spot.diameter))


def judged(one: Told) -> str:
    """ "none", "right", "wider" where the change lies between dates that are further apart than need be, or "wrong"."""
    if one.told is None:
        return "none"
    last, first = one.told
    if (last, first) == (one.right - 1, one.right):
        return "right"
    return "wider" if last is not None and first is not None and last < one.right <= first else "wrong"


def _say_alarms(stacks: int) -> None:
    found = defaultdict(list)
    for light, *shares in alarms(stacks):
        found[light].append(shares)
    print("| light | drawn null scores | with windows at or below tau | with unchanged windows |\n|---|---:|---:|---:|")
    for light, shares in found.items():
        mean, low, high = (100 * f(np.asarray(shares), axis=0) for f in (np.mean, np.min, np.max))
        cells = " | ".join(f"{mean[k]:.1f} ({low[k]:.0f} to {high[k]:.0f})" for k in range(len(mean)))
        print(f"| {light} | {cells} |")


def _say_dates(stacks: int, side: int) -> None:
    print("| light | spot | places found | right | wider | wrong |\n|---|---|---:|---:|---:|---:|")
    for light in ("alike", "all unlike"):
        told = list(dated(stacks, side, light))
        for size in SIZES_PX:
            count = Counter(judged(one) for one in told if one.size == size)
            places = f"{count.total() - count['none']} of {count.total()}"
            print(
                f"| {light} | {size} px | {places} | {count['right']} | {count['wider']} | {count['wrong']} |",
                flush=True,
            )


_WHAT = flags.DEFINE_enum("what", "dates", ["alarms", "dates"], "What is measured.")
_STACKS = flags.DEFINE_integer("stacks", 24, "Simulated stacks in each light.")
_SIDE = flags.DEFINE_integer("side", 400, "Side of the images with spots, pixels.")


def main(_: Sequence[str]) -> None:
    """Measures and prints a table."""
    if _WHAT.value == "alarms":
        _say_alarms(_STACKS.value)
    else:
        _say_dates(_STACKS.value, _SIDE.value)


if __name__ == "__main__":
    app.run(main)
