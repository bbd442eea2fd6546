"""Why a pair was scored as it was: what moved, what else differs between its dates, and where. Pure, for one pair."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from planetcd_jax.config import ChangeConfig
from planetcd_jax.networks.backbone import prepared
from planetcd_jax.ops import extents, masked
from planetcd_jax.ops.filters import grey
from planetcd_jax.scores.brightness import BrightnessDetail, pixel_noise
from planetcd_jax.scores.registered.relief import Relighting
from planetcd_jax.types import Array, Params


@dataclasses.dataclass(frozen=True)
class ExplainRules:
    """How the difference of two dates is measured, and from where on it is put into words. No score depends on it.

    Attributes:
        brightness, light: How brightness is filtered, and the light fitted.
        border_px: Light is not measured on ground this close to missing pixels.
        quantum: Half a step of an 8-bit image: less noise than this cannot be told from none.
        notable_brightness: Share of full scale that is told.
        notable_contrast, notable_noise: Ratios that are told.
        notable_shift_px: Shift that is told, pixels.
        notable_light_turn: `Explanation.light_turn` that is told.
        unlike_below: Correlation below which the dates are called unlike, and light, which needs common ground, is not
            told.
    """

    brightness: BrightnessDetail = BrightnessDetail()
    light: Relighting = Relighting()
    border_px: int = 8
    quantum: float = 0.002
    notable_brightness: float = 0.05
    notable_contrast: float = 1.25
    notable_noise: float = 2.0
    notable_shift_px: float = 3.0
    notable_light_turn: float = 0.25
    unlike_below: float = 0.5

    kind: ClassVar[str] = "explanation"


class Explanation(NamedTuple):
    """What is known about one pair beside its score.

    Attributes:
        channels: [K] int32, the features whose pooled value moved most, the largest first.
        channel_change: [K] float32, by how much (pooled, second date minus first).
        shift: [2] float32, mean misregistration in rows and columns, pixels, local shifts included.
        shift_spread: float32, standard deviation of the local shifts, pixels: relief or distortion.
        brightness: float32, mean of the second date minus that of the first, images in [0, 1].
        contrast: float32, spread of the second date over that of the first.
        noise: float32, fine noise of the second date over that of the first.
        light_turn: float32 >= 0, size of `relief.Light.turn`, what another sun makes of relief: on simulated terrain
            0.03 under the same sun, 0.14, 0.34 and 0.57 under one that turned by 10, 25 and 50 degrees.
        likeness: float32 in [-1, 1], correlation of the registered dates.
    """

    channels: Array
    channel_change: Array
    shift: Array
    shift_spread: Array
    brightness: Array
    contrast: Array
    noise: Array
    light_turn: Array
    likeness: Array


def explain(
    params: Params,
    before: Array,
    after: Array,
    config: ChangeConfig,
    *,
    top: int = 5,
    rules: ExplainRules = ExplainRules(),
) -> Explanation:
    """What moved and what else differs between the two dates of one pair.

    Args:
        params, before, after, config: As in `change_score`.
        top: Number of features to name.
        rules: How the dates are measured.

    Returns:
        `Explanation`.
    """
    config.score.check_pair(config.backbone, before, after)
    network = prepared(config.backbone, params)
    moved = (config.score.descriptor(network, after) - config.score.descriptor(network, before)).mean(axis=0)  # [D]
    _, channels = jax.lax.top_k(jnp.abs(moved), min(top, moved.shape[0]))
    a, b = grey(before), grey(after)
    second = config.score.registering.register(a, b)
    weight = second.valid.astype(jnp.float32) / jnp.maximum(second.valid.sum(dtype=jnp.float32), 1.0)
    mean_flow = (second.flow * weight).sum(axis=(1, 2))
    spread = jnp.sqrt((jnp.square(second.flow - mean_flow[:, None, None]) * weight).sum())
    da, db = (jnp.where(second.valid, x - (x * weight).sum(), 0) for x in (a, second.after))
    everywhere = extents.inside(a.shape)[1:, 1:]  # pixels with a neighbour below and to the right
    everywhere = jnp.pad(everywhere, ((0, 1), (0, 1)))
    keep = masked.erode(second.valid, rules.border_px)
    dates = rules.brightness.of_dates(a, second.after, second.valid, keep)
    one, two = (x.fine / masked.moments(x.level, keep)[1] for x in dates)
    light = rules.light.fit(one, two, keep)
    likeness = (da * db).sum() / jnp.sqrt(jnp.square(da).sum() * jnp.square(db).sum() + 1e-12)
    return Explanation(
        channels.astype(jnp.int32),
        moved[channels],
        second.shift.astype(jnp.float32) + mean_flow,
        spread,
        extents.mean(b)[0, 0] - extents.mean(a)[0, 0],
        (_deviation(b) + 1e-6) / (_deviation(a) + 1e-6),
        (pixel_noise(b, everywhere) + rules.quantum) / (pixel_noise(a, everywhere) + rules.quantum),
        jnp.hypot(*light.turn),
        likeness,
    )


def _deviation(x: Array) -> Array:
    return jnp.sqrt(extents.mean(jnp.square(x - extents.mean(x)))[0, 0])


def sentence(found: Explanation, changed: bool, rules: ExplainRules = ExplainRules()) -> str:
    """An explanation in words, such as "brighter overall, otherwise alike"."""
    row, column = (float(v) for v in found.shift)
    brightness, contrast, noise = float(found.brightness), float(found.contrast), float(found.noise)
    alike = float(found.likeness) >= rules.unlike_below
    parts = []
    if abs(brightness) > rules.notable_brightness:
        parts.append("brighter overall" if brightness > 0 else "darker overall")
    if max(contrast, 1 / contrast) > rules.notable_contrast:
        parts.append("more contrast" if contrast > 1 else "less contrast")
    if max(noise, 1 / noise) > rules.notable_noise:
        parts.append("noisier or sharper" if noise > 1 else "smoother")
    if alike and float(found.light_turn) > rules.notable_light_turn:
        parts.append("lit from another side")
    if max(abs(row), abs(column)) > rules.notable_shift_px:
        ways = ((row, "down", "up"), (column, "right", "left"))
        moved = [f"{abs(v):.0f} px {ahead if v > 0 else back}" for v, ahead, back in ways if round(abs(v)) > 0]
        parts.append("shifted by " + " and ".join(moved))
    if alike:
        end = "differs in places" if changed else "otherwise alike"
    else:
        end = "unlike even after alignment"
    return ", ".join([*parts, end if parts or changed or end.startswith("unlike") else "alike"])


SHIFTS_PX = (-8, -4, 0, 4, 8)
"""Shifts for which `row` says what rho would be."""

COLUMNS = (
    "shift_rows_px",
    "shift_columns_px",
    "brightness_change",
    "contrast_ratio",
    "noise_ratio",
    "light_turn",
    "likeness",
    "channels_moved",
    "rho_by_shift",
    "explanation",
)
"""What `row` says, in the order of a table."""


def row(found: Explanation, rho_by_shift: Array, changed: bool) -> dict[str, Any]:
    """An explanation as cells of a table, by the names of `COLUMNS`.

    Args:
        found: Of one pair.
        rho_by_shift: [S] float32, rho at each of `SHIFTS_PX`.
        changed: Whether the pair was called changed.

    Returns:
        Numbers and texts: "37:+1.20 12:-0.91" names features from 0, "-8:3.1 -4:2.2 ..." pixels.
    """
    moved = zip(found.channels, found.channel_change, strict=True)
    curve = zip(SHIFTS_PX, rho_by_shift, strict=True)
    shift = [round(float(v), 2) for v in found.shift]
    cells = (
        *shift,
        round(float(found.brightness), 4),
        round(float(found.contrast), 3),
        round(float(found.noise), 3),
        round(float(found.light_turn), 3),
        round(float(found.likeness), 3),
        " ".join(f"{int(channel)}:{float(change):+.3g}" for channel, change in moved),
        " ".join(f"{shift}:{float(rho):.4g}" for shift, rho in curve),
        sentence(found, changed),
    )
    return dict(zip(COLUMNS, cells, strict=True))


def saliency(params: Params, before: Array, after: Array, config: ChangeConfig) -> Array:
    """|d rho / d after| at each pixel: where the score is sensitive. [H, W] float32 >= 0, averaged over bands."""
    network = prepared(config.backbone, params)
    size = jnp.abs(jax.grad(lambda x: config.score.rho(network, before, x))(after))
    return size if size.ndim == 2 else size.mean(axis=-1)


def rho_by_shift(params: Params, before: Array, after: Array, config: ChangeConfig, shifts: Sequence[int]) -> Array:
    """rho when the second date is moved by each of some whole shifts in rows, [S]; the border is repeated.

    A score that rises steeply on both sides of 0 hangs on the alignment; a flat one does not.
    """
    rows, (count, _) = jnp.arange(after.shape[0]), extents.lengths(after.shape[:2])
    network = prepared(config.backbone, params)

    def one(shift):
        return config.score.rho(network, before, after[jnp.clip(rows + shift, 0, count - 1)])

    return jax.lax.map(one, jnp.asarray(shifts, jnp.int32))


def why(params: Params, before: Array, after: Array, config: ChangeConfig) -> tuple[Explanation, Array]:
    """What `row` makes a row of: the `explain`ed pair, and its `rho_by_shift` at `SHIFTS_PX`."""
    curve = rho_by_shift(params, before, after, config, SHIFTS_PX)
    return explain(params, before, after, config), curve
