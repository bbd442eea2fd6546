"""How well tau decides sets of which nothing, some or most has changed, by size of the change and of the patch.

    python -m scripts.measure_decision --realdata=../shared/realdata --split=test

Prints the Markdown tables of docs/decision.md. Choices are made with --split=development.

Every unchanged pair is there once as it is and once with each kind of change drawn in. A set holds all of them, a
share of them changed; each figure is a mean over sets drawn at random. The best accuracy is that of the threshold which
the labels of the set itself would choose: on 100 pairs it is a point or so above what any rule can know.
"""

import itertools
import pathlib
from collections.abc import Iterator, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import planetcd_jax as pcd
from planetcd_jax.detection import batch_scores, decide
from scripts.evaluation import backgrounds, insertions
from scripts.evaluation.backgrounds import Background
from scripts.evaluation.measures import best_accuracy
from scripts.evaluation.pixel_trials import draw_blob

SHARES = (0.0, 0.05, 0.25, 0.5, 0.65)
BLOBS_PX = (8.0, 16.0, 40.0)
STREAKS_PX = (24.0, 40.0)
DRAWS = 2
"""Null scores of each pair."""

BATCH = 8


def grounds(folder: pathlib.Path, side: int, seed: int, split: str) -> list[Background]:
    """Unchanged pairs of one split; of Apollo's overlapping patches, every third."""
    apollo = itertools.islice(backgrounds.apollo15(folder / "apollo15", side), 0, None, 3)
    hirise = backgrounds.hirise_repeat_pairs(folder / "hirise-repeat-pairs", side)
    every = itertools.chain(hirise, apollo, backgrounds.terrain(folder, seed, 48, side))
    return [ground for ground in every if backgrounds.split_of(ground.source) == split]


def changed(found: list[Background], seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Second dates with a change drawn in, [N, side, side], by the name of the change."""
    for kind, size in [("blob", size) for size in BLOBS_PX] + [("streak", size) for size in STREAKS_PX]:
        dates = []
        for i, ground in enumerate(found):
            rng, shape = np.random.default_rng([seed, int(size), i]), ground.after.shape
            factor = (
                draw_blob(rng, shape, size)[0] if kind == "blob" else insertions.draw_change(rng, shape, "streak", size)
            )
            dates.append(insertions.insert(ground.after, factor))
        yield f"{kind} of {size:g} px", np.stack(dates)


def scores(config: pcd.ChangeConfig, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """[N, 1 + DRAWS]: rho of each pair and its null scores."""
    config = pcd.with_engine(config, "auto")
    params = config.backbone.prepare(pcd.load_vgg16())
    scorer = jax.jit(partial(batch_scores, config=config))
    total, rows = len(before), []
    for start in range(0, total, BATCH):
        index = np.minimum(np.arange(start, start + BATCH), total - 1)
        pairs = before[index], after[index], index.astype(np.uint32)
        drawn = [scorer(jax.random.key(k), params, *pairs) for k in range(DRAWS)]
        rows.append(np.stack([np.asarray(drawn[0][0]), *(np.asarray(null) for _, null in drawn)], axis=-1))
    return np.concatenate(rows)[:total]


def figures(
    config: pcd.ChangeConfig, still: np.ndarray, moved: np.ndarray, share: float, draws: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Share of the unchanged called changed, of the changed found, accuracy at tau, best accuracy; means over sets.

    `draws`: number of sets, and of pairs in each; more than there are: all of them.
    """
    rng, made, total = np.random.default_rng(0), [], min(draws[1], len(still))
    for k in range(draws[0]):
        chosen = rng.permutation(len(still))[:total]
        label = np.arange(total) < round(share * total)
        mixed = np.where(label[:, None], moved[chosen], still[chosen])
        rho, null = mixed[:, 0], mixed[:, 1 + k % DRAWS]
        called = np.asarray(_decide(jnp.asarray(rho), jnp.asarray(null), config).changed)
        found = called[label].mean() if label.any() else np.nan
        made.append((called[~label].mean(), found, (called == label).mean(), best_accuracy(label.astype(int), rho)))
    return tuple(float(x) for x in np.mean(made, axis=0))


_decide = jax.jit(decide, static_argnums=2)


def table(
    config: pcd.ChangeConfig, still: np.ndarray, kinds: Mapping[str, np.ndarray], draws: tuple[int, int]
) -> list[str]:
    """Lines of a Markdown table: false alarms / found / accuracy (best), in per cent, at each share."""
    lines = [
        "| change | " + " | ".join(f"{share:.0%} changed" for share in SHARES) + " |",
        "|---|" + "---|" * len(SHARES),
    ]
    for name, moved in kinds.items():
        cells = []
        for share in SHARES:
            alarms, found, right, best = (100 * x for x in figures(config, still, moved, share, draws))
            hit = "-" if np.isnan(found) else f"{found:.0f}"
            cells.append(f"{alarms:.1f} / {hit} / {right:.1f} ({best:.1f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def main(argv: list[str]) -> None:
    """Prints the tables."""
    del argv
    f = flags.FLAGS
    config = pcd.PRESETS[f.preset]
    for side in map(int, f.sides):
        found = grounds(pathlib.Path(f.realdata), side, f.seed, f.split)
        before, after = (np.stack([getattr(ground, name) for ground in found]) for name in ("before", "after"))
        still = scores(config, before, after)
        kinds = {name: scores(config, before, dates) for name, dates in changed(found, f.seed)}
        for rate, size in itertools.product((0.05, 0.01), map(int, f.pairs)):
            size = min(size, len(found))
            of = f"{len(found)} pairs" if size == len(found) else f"sets of {size} pairs"
            print(f"\nPatches of {side} px, {of} of the {f.split} split, nominal rate {rate:.0%}:\n")
            draws = f.sets * max(1, len(found) // size), size
            print("\n".join(table(config.replace(quantile=1 - rate), still, kinds, draws)), flush=True)


if __name__ == "__main__":
    flags.DEFINE_string("realdata", None, "Folder of real images.", required=True)
    flags.DEFINE_enum("split", "development", ["development", "test"], "Which sources.")
    flags.DEFINE_enum("preset", "robust", list(pcd.PRESETS), "Settings.")
    flags.DEFINE_list("sides", ["64", "100", "150"], "Sides of the patches, pixels.")
    flags.DEFINE_list("pairs", ["1000000", "10"], "Pairs of a set; more than there are: all.")
    flags.DEFINE_integer("seed", 0, "Decides every draw.")
    flags.DEFINE_integer("sets", 20, "Sets drawn for each cell.")
    app.run(main)
