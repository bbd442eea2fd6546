"""How often the kind that a place is told to be is right, for changes that are drawn and for simulated light.

    python -m scripts.measure_kinds --realdata=../shared/realdata --split=test

Prints the Markdown tables of docs/kinds.md. Rules and their calibration were chosen with --split=development.

A change is drawn into one date of an unchanged pair (`evaluation.kind_trials`), or the sun of a simulated pair turns.
The outline is the one that `ROBUST` finds; where no contour lies on the change, that at half its peak, as in a scene.
"""

import collections
import itertools
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np
import rasterio.features
from absl import app, flags

import planetcd_jax as pcd
from planetcd_jax.scenes import kinds, outlines
from planetcd_jax.scenes.kinds import Kind, View
from planetcd_jax.scenes.misregistration import undone
from planetcd_jax.scores.pixel_level import PixelChange
from scripts.evaluation import kind_trials
from scripts.evaluation.kind_trials import KindTrial

BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
UNCHANGED = "nothing"


class Told(NamedTuple):
    """What is told of one trial.

    Attributes:
        name: Of what was drawn.
        trial: As drawn; None where nothing was.
        outlined: Whether the outline is a contour above the level.
        kind: None where no outline lies on the change.
    """

    name: str
    trial: KindTrial | None
    outlined: bool
    kind: Kind | None

    def family(self) -> bool:
        """Whether the kind is right, tone and date aside."""
        return self.trial is not None and self.kind is not None and kinds.family(self.kind.name) == self.trial.truth

    def right(self) -> bool:
        """Whether tone and date are right too, where one was drawn."""
        words = () if self.trial is None else [word for word in self.trial.detail if word != "halo"]
        return self.family() and self.kind is not None and all(word in self.kind.name.split() for word in words)


def look_at() -> Callable[[int, np.ndarray, np.ndarray], PixelChange]:
    """A function of a number and two dates: the pixel map of `ROBUST`."""
    config = pcd.with_engine(pcd.ROBUST, "auto")
    params = config.backbone.prepare(pcd.load_vgg16())
    see = jax.jit(lambda key, params, *dates: pcd.pixel_change(key, params, *dates, config))
    return lambda i, *dates: jax.tree.map(np.asarray, see(jax.random.fold_in(jax.random.key(0), i), params, *dates))


def shift_of(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """The shift that brings the dates closer, as `place_measures.measure` finds it; NaN for none."""
    every = np.ones(before.shape, bool)
    found = undone((before, after, every), lambda *shift: (before, np.roll(after, [-k for k in shift], (0, 1)), every))
    return found.rows, found.cols


def outline_on(found: PixelChange, mask: np.ndarray) -> tuple[np.ndarray | None, bool]:
    """The ground of the outline that lies on a change, [H, W] bool, and whether it is a contour."""
    inside = slice(0, mask.shape[0]), slice(0, mask.shape[1])
    own = outlines.around_peak(found, inside, 0, 0)
    for changes, outlined in ((list(outlines.parts(found, 0, 0)), True), ([own] if own else [], False)):
        grounds = [rasterio.features.rasterize([x.outline], mask.shape, dtype="uint8") > 0 for x in changes]
        hits = [(x.size, k) for k, x in enumerate(changes) if (grounds[k] & mask).any()]
        if hits:
            return grounds[max(hits)[1]], outlined
    return None, False


def tell_all(trials: Iterable[tuple[str, KindTrial]], rules: kinds.KindRules) -> list[Told]:
    """What is told of each trial."""
    look, made = look_at(), []
    for i, (name, trial) in enumerate(trials):
        ground, outlined = outline_on(look(i, trial.before, trial.after), trial.mask)
        kind = None
        if ground is not None:
            shift, valid = shift_of(trial.before, trial.after), np.ones(ground.shape, bool)
            kind = kinds.kind_of(View(trial.before, trial.after, valid, ground, shift, trial.suns), rules)
        made.append(Told(name, None if name == UNCHANGED else trial, outlined, kind))
    return made


def short(name: str) -> str:
    """A kind without tone and date; "not told" for none."""
    return "not told" if not name else " ".join(w for w in name.split() if w not in ("new", "lost", "dark", "bright"))


def kinds_table(told: Sequence[Told]) -> list[str]:
    """Lines: what was drawn, how many, contour, on the change, kind right, date and tone too, what else was told."""
    lines = [
        "| drawn | number | with a contour | with any outline | kind right | tone and date too | told instead |",
        "|---" * 7 + "|",
    ]
    for name in dict.fromkeys(one.name for one in told):
        own = [one for one in told if one.name == name]
        seen = [one for one in own if one.kind is not None]
        other = collections.Counter(short(one.kind.name) for one in seen if one.kind and not one.family())
        shares = [
            100 * float(np.mean([getattr(x, how)() for x in seen])) if seen else np.nan for how in ("family", "right")
        ]
        rights = ["", ""] if name == UNCHANGED else [f"{share:.0f} %" for share in shares]
        contour = 100 * float(np.mean([one.outlined for one in own]))
        instead = ", ".join(f"{kind} {count}" for kind, count in other.most_common(4))
        lines.append(
            f"| {name} | {len(own)} | {contour:.0f} % | {100 * len(seen) / len(own):.0f} % | {' | '.join(rights)} "
            f"| {instead} |"
        )
    return lines


def sure_table(told: Sequence[Told]) -> list[str]:
    """Lines: belief, how many were told with it, the share that was right, `kind_sure` in the mean."""
    lines = ["| belief | told | right | `kind_sure` |", "|---|---|---|---|"]
    known = [(one.kind.belief, one.right(), one.kind.sure) for one in told if one.trial and one.kind and one.kind.name]
    for low, high in itertools.pairwise(BINS):
        own = [(right, sure) for size, right, sure in known if low <= size < high or high == size == 1.0]
        if own:
            right, sure = (100 * float(np.mean(column)) for column in zip(*own, strict=True))
            lines.append(f"| {low:g} to {high:g} | {len(own)} | {right:.0f} % | {sure:.0f} % |")
    return lines


def main(argv: list[str]) -> None:
    """Prints the tables."""
    del argv
    f = flags.FLAGS
    found = kind_trials.grounds(pathlib.Path(f.realdata), f.seed, f.split, f.grounds)
    # Other draws for the test split, of changes and of simulated ground.
    seed = f.seed + (1000 if f.split == "test" else 0)
    none = np.ones((kind_trials.SIDE,) * 2, bool)
    still = ((UNCHANGED, KindTrial(x.before, x.after, none, "", (), (np.nan, np.nan), x.source)) for x in found)
    trials = [*kind_trials.drawn(found, seed), *kind_trials.relit(seed, len(found)), *still]
    told = tell_all(trials, kinds.KindRules())
    print(f"{len(found)} unchanged pairs of {kind_trials.SIDE} px, {f.split} split:\n")
    print("\n".join(kinds_table(told)), end="\n\n")
    print("\n".join(sure_table(told)), flush=True)


if __name__ == "__main__":
    flags.DEFINE_string("realdata", None, "Folder of real images.", required=True)
    flags.DEFINE_enum("split", "development", ["development", "test"], "Which sources.")
    flags.DEFINE_integer("grounds", 44, "Unchanged pairs at most.")
    flags.DEFINE_integer("seed", 0, "Decides every draw.")
    app.run(main)
