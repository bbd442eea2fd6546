"""How well alternatives of the paper's pooled score rank the development pairs of the evaluation.

    python -m scripts.alternatives --realdata=../shared/realdata --output_dir=runs/evaluation

Uses the trials that `scripts.evaluate` keeps in the same folder; prints a Markdown table and leaves it as
alternatives.md. Each alternative is a function of one pair, `score(params, before, after)`. Those of `TWO_PASSES` take
a fourth argument, the usual spreads of the features, which a first pass over the same patches measures without labels.

Axes: N pairs, H rows, W columns, h and w the same in cells of the network's layer, D features.
"""

import pathlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax import PAPER, ChangeConfig, extract, load_vgg16, pseudo_unchanged
from planetcd_jax.ops.registration import Registering
from planetcd_jax.types import Array, Params
from scripts import evaluate, variants
from scripts.evaluation import measures

TABLE = "alternatives.md"

FEATURES_STANDARDISED = PAPER.replace(feature_standardize=True)
STANDARDISED = PAPER.replace(feature_standardize=True, patch_standardize=True)
RECTIFIED = PAPER.replace(activation="post")

CONTRAST_CENTRE, CONTRAST_GAIN = 0.5, 0.15
"""Local contrast is about 0 with a spread of about 1: this brings it to where the network expects brightness."""

REGISTERING = Registering()

REACH_PX = 40
"""Largest whole shift that is sought, in each axis; at most half of a small patch."""

STEP_PX = 8
"""The small shifts that are tried: this much to either side and none, in each axis. A multiple of the stride."""

MARGIN_PX = 16
"""What the padding of the network reaches into a patch, (receptive field - stride) / 2 in whole cells."""

SHADOW = 0.08
"""Pixels of either date below this share of the range of both are taken for shadow."""


class Spread(NamedTuple):
    """How far each pooled feature usually moves.

    Attributes:
        null: [D] standard deviation of pooled(h(x)) - pooled(x) over patches.
        between: [D] standard deviation of pooled(x) over patches.
    """

    null: Array
    between: Array


def largest(features: Array) -> Array:
    """The maximum of each feature: [h, w, D] to [D]."""
    return features.max(axis=(0, 1))


def power_mean(features: Array, power: int = 3) -> Array:
    """The generalised mean of each feature, which must not be negative: [h, w, D] to [D]."""
    return (features**power).mean(axis=(0, 1)) ** (1 / power)


def mean_of_top(features: Array, share: float = 0.01) -> Array:
    """The mean of this share of each feature, its largest, of one cell at least: [h, w, D] to [D]."""
    cells = features.reshape(-1, features.shape[-1]).T  # [D, h w]
    return jax.lax.top_k(cells, max(1, round(share * cells.shape[1])))[0].mean(axis=1)


def described(params: Params, x: Array, config: ChangeConfig = PAPER, pool: Callable = largest) -> Array:
    """The pooled features of one patch: [H, W] to [D]."""
    return pool(extract(params, x, config)[0])


def contrasts(before: Array, after: Array) -> tuple[Array, Array]:
    """Local contrast of both patches, in the range of brightness."""
    everywhere = jnp.ones(before.shape, bool)
    return tuple(CONTRAST_CENTRE + CONTRAST_GAIN * REGISTERING.local_contrast(x, everywhere) for x in (before, after))


def without_shadows(before: Array, after: Array) -> tuple[Array, Array]:
    """Both patches, with what is dark in either of them replaced by the mean of the rest, each date's own."""
    low, high = jnp.minimum(before.min(), after.min()), jnp.maximum(before.max(), after.max())
    lit = jnp.minimum(before, after) >= low + SHADOW * (high - low)  # [H, W]
    count = jnp.maximum(lit.sum().astype(jnp.float32), 1.0)
    return tuple(jnp.where(lit, x, jnp.where(lit, x, 0.0).sum() / count) for x in (before, after))


def mirrored(before: Array, after: Array) -> tuple[Array, Array]:
    """Both patches with `MARGIN_PX` of themselves mirrored on each side: what `inner` then keeps is the whole patch."""
    return tuple(jnp.pad(x, MARGIN_PX, mode="reflect") for x in (before, after))


def pooled(
    params: Params,
    before: Array,
    after: Array,
    *,
    config: ChangeConfig = PAPER,
    pool: Callable = largest,
    prepare: Callable = lambda before, after: (before, after),
) -> Array:
    """L1 distance of the pooled features, after something was done to both patches. With the defaults, the paper's."""
    first, second = (described(params, x, config, pool) for x in prepare(before, after))
    return jnp.abs(second - first).sum()


standardised = partial(pooled, config=STANDARDISED)


def over_null(params: Params, before: Array, after: Array, spread: Spread) -> Array:
    """Mean of the features' differences, each over its null spread."""
    difference = jnp.abs(described(params, after) - described(params, before))  # [D]
    return (difference / spread.null).mean()


def weighted(params: Params, before: Array, after: Array, spread: Spread) -> Array:
    """Sum of the features' differences, weighted by how much more they differ between patches than under h."""
    weight = spread.between / spread.null  # [D]
    difference = jnp.abs(described(params, after) - described(params, before))
    return (weight / weight.sum() * difference).sum()


def three_layers(params: Params, before: Array, after: Array) -> Array:
    """Mean over three layers of the L1 distance of each, over the L1 norm of its pooled features of `before`."""
    rows = []
    for layer in ("conv1_2", "conv2_2", "conv3_2"):  # jit merges the parts of the network that they share
        config = PAPER.replace(layer=layer)
        first, second = (described(params, x, config) for x in (before, after))
        rows.append(jnp.abs(second - first).sum() / jnp.abs(first).sum())
    return jnp.stack(rows).mean()


def _common(length: int, shift: Array) -> tuple[Array, Array]:
    """Along one axis: pixels of `before` that are common, nearest ones for the rest, [length]; and which cells are."""
    first, last = jnp.maximum(0, -shift), jnp.minimum(length, length - shift) - 1
    at, side = jnp.arange(length), PAPER.backbone.stride
    start = at[: length // side] * side  # [h]
    return jnp.clip(at, first, last), (start >= first) & (start + side - 1 <= last)


def aligned(params: Params, before: Array, after: Array, *, config: ChangeConfig = PAPER) -> Array:
    """L1 distance of the features' maxima over the ground that both dates show, after one whole shift.

    Outside the common area both patches repeat its edge, so the network sees the same ground in both, and cells that
    are not wholly inside do not count.
    """
    everywhere = jnp.ones(before.shape, bool)
    reach = min(REACH_PX, min(before.shape) // 2)
    a, b = (REGISTERING.local_contrast(x, everywhere) for x in (before, after))
    shift = REGISTERING.whole_shift(a, b, everywhere, everywhere, reach)
    rows, inside_rows = _common(before.shape[0], shift[0])
    columns, inside_columns = _common(before.shape[1], shift[1])
    common = (inside_rows[:, None] & inside_columns)[..., None]  # [h, w, 1]

    def common_largest(features):
        return largest(jnp.where(common, features, -jnp.inf))

    moved = after[rows[:, None] + shift[0], columns + shift[1]]
    return pooled(params, before[rows[:, None], columns], moved, config=config, pool=common_largest)


def inner(features: Array, rows: int = 0, columns: int = 0) -> Array:
    """The cells that the padding of the network does not reach, without as many more on the side of each sign.

    [h, w, D] to [h - 8 - |rows|, w - 8 - |columns|, D]; a positive number takes away first cells, a negative one last.
    """
    border = MARGIN_PX // PAPER.backbone.stride

    def kept(length, by):
        return slice(border + max(0, by), length - border + min(0, by))

    return features[kept(features.shape[0], rows), kept(features.shape[1], columns)]


def inner_largest(features: Array) -> Array:
    """The maximum of each feature over the cells that the padding does not reach: [h, w, D] to [D].

    The changes of the evaluation are centred well inside the patch, so this gains by leaving out ground that cannot
    have changed, beside what it gains by leaving out the padding: compare with `mirrored`, which leaves out no ground.
    """
    return largest(inner(features))


def least_shifted(params: Params, before: Array, after: Array, *, config: ChangeConfig = PAPER) -> Array:
    """The least score over the common area of nine small shifts of `after`; with none, the one by `inner_largest`.

    Where the padding does not reach, a shift by whole cells moves the features: the network runs once for each date.
    """
    first, second = (extract(params, x, config)[0] for x in (before, after))  # [h, w, D]
    step = STEP_PX // config.backbone.stride
    shifts = [(r, c) for r in (-step, 0, step) for c in (-step, 0, step)]
    differences = [largest(inner(second, r, c)) - largest(inner(first, -r, -c)) for r, c in shifts]
    return jnp.abs(jnp.stack(differences)).sum(axis=-1).min()


VARIANTS = {
    "the paper's: largest of each feature and L1": pooled,
    "features standardised": partial(pooled, config=FEATURES_STANDARDISED),
    "patches and features standardised": standardised,
    "local contrast instead of brightness": partial(pooled, prepare=contrasts),
    "differences over their null spread": over_null,
    "features weighted by stability": weighted,
    "generalised mean (p = 3) after the ReLU": partial(pooled, config=RECTIFIED, pool=power_mean),
    "mean of the top 1 % of each feature": partial(pooled, pool=mean_of_top),
    "three layers together": three_layers,
    "common area after one whole shift": aligned,
    "common area after one whole shift; standardised": partial(aligned, config=STANDARDISED),
    "mirrored at the border": partial(pooled, prepare=mirrored, pool=inner_largest),
    "mirrored at the border; standardised": partial(standardised, prepare=mirrored, pool=inner_largest),
    "outer cells left out": partial(pooled, pool=inner_largest),
    "outer cells left out; standardised": partial(standardised, pool=inner_largest),
    "outer cells left out; least over nine small shifts": least_shifted,
    "outer cells left out; least over nine small shifts; standardised": partial(least_shifted, config=STANDARDISED),
    "shadows masked": partial(pooled, prepare=without_shadows),
    "shadows masked; standardised": partial(standardised, prepare=without_shadows),
}
"""Scores by name; "standardised" means patches and features. Names hold no comma, because the flag is a list."""

TWO_PASSES = (over_null, weighted)
"""Scores whose fourth argument is a `Spread`."""


def in_batches(function: Callable, *columns: np.ndarray) -> np.ndarray:
    """A function of one row of each of several arrays [N, ...], for all rows; every batch has one shape."""
    batched, total = jax.jit(jax.vmap(function)), len(columns[0])
    made = []
    for start in range(0, total, evaluate.BATCH):
        index = np.minimum(np.arange(start, start + evaluate.BATCH), total - 1)
        made.append(np.asarray(batched(*(column[index] for column in columns)))[: total - start])
    return np.concatenate(made)


def spread_of(params: Params, before: np.ndarray, seed: int) -> Spread:
    """The spreads of the pooled features over patches [N, H, W], with one h(x) for each."""
    key = jax.random.key(seed)

    def both(x, i):
        moved = pseudo_unchanged(key, x, PAPER.score.null, index=i, batched=False)
        return jnp.stack([described(params, x), described(params, moved)])

    plain, moved = np.moveaxis(in_batches(both, before, np.arange(len(before), dtype=np.uint32)), 1, 0)  # [N, D] each
    null = np.maximum((moved - plain).std(axis=0), 1e-6)  # a feature that never moves does not divide by 0
    return Spread(jnp.asarray(null), jnp.asarray(plain.std(axis=0)))


def row(name: str, label: np.ndarray, real: np.ndarray, rho: np.ndarray) -> str:
    """A line of the table."""
    made = measures.figures(label, rho, {0.05: np.inf})  # no threshold is estimated here
    of_real = measures.auc(label[real], rho[real])
    return f"| {name} | {made['roc_auc']:.3f} | {of_real:.3f} | {100 * made['detected_at_5']:.0f} % |"


def run(output_dir: str, realdata: str, seed: int, scale: float, names: list[str]) -> list[str]:
    """Lines of the table, printed as they come."""
    folder = pathlib.Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    trials = evaluate.build(folder, pathlib.Path(realdata), seed, scale, ("inserted",), split="development")["inserted"]
    trials = trials.take((trials.label == 0) | (trials.size >= 8))
    params, spread = load_vgg16(), None
    lines = ["| alternative | ROC AUC | of real pairs | found at 5 % |", "|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    for name in names:
        score = partial(VARIANTS[name], params)
        if VARIANTS[name] in TWO_PASSES:
            spread = spread_of(params, trials.before, seed) if spread is None else spread
            score = partial(score, spread=spread)
        rho = in_batches(score, trials.before, trials.after)
        lines.append(row(name, trials.label, trials.real, rho))
        print(lines[-1], flush=True)
    (folder / TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


if __name__ == "__main__":
    variants.main(run, list(VARIANTS))
