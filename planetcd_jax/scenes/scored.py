"""A scene scored: null scores, tau, the map and its p-values."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from planetcd_jax import thresholds
from planetcd_jax.errors import ConfigError
from planetcd_jax.scenes import (
    null_scores,
    scoring,
    stable,
    unchanged,
)
from planetcd_jax.scenes.chance import Chance, of_scene
from planetcd_jax.scenes.checkpoint import Checkpoint
from planetcd_jax.scenes.request import Request
from planetcd_jax.scenes.scoring import Scene


class Scored(NamedTuple):
    """rho and p_value [R, S] float32 (NaN where not scored), tau, the null scores [N], further maps of the score, and
    what chance gives, None where the null is of stable ground; how many null scores were left out, since their ground
    has changed. For each further date of the scene the null scores that it gave, and tau without them; None where they
    were not asked.

    A window is changed where rho > tau. Where Benjamini-Hochberg decides, tau is the largest rho that is no finding.
    """

    rho: np.ndarray
    p_value: np.ndarray
    tau: float
    null: np.ndarray
    layers: Mapping[str, np.ndarray]
    chance: Chance | None
    left_out: int = 0
    earlier: Sequence[unchanged.Unchanged] | None = None
    drawn_tau: float | None = None


def score(request: Request, scene: Scene, kept: Checkpoint, *, quiet: bool) -> Scored:
    """Null scores, tau, score map and p-values of a scene, with progress on standard error."""
    pair, plan = scene.pair, scene.plan
    drawn = None
    if request.stable_ground is None:
        with tqdm(total=plan.null_draws, desc="threshold", unit="tile", disable=quiet) as bar:
            drawn = scoring.score_null(jax.random.key(request.seed), scene, kept, bar.update)
    pixels = scoring.ground_pixels(plan, pair)
    with tqdm(total=pixels, desc="score map", unit="px", unit_scale=True, disable=quiet) as bar:
        layers = scoring.score_scene(scene, kept, bar.update)
    rho = layers.pop("rho")
    if not np.isfinite(rho).any():
        raise ConfigError(
            f"no window of {plan.window} px has a share of {plan.min_valid:g} of its ground valid in both images; "
            "lower --min_valid or --window, or check what is masked."
        )
    chance = earlier = drawn_tau = None
    left_out = 0
    if drawn is not None:
        scored = int(np.isfinite(rho).sum())
        clean = null_scores.counted(drawn, rho, scene.config.decision)
        left_out = len(drawn.rho) - len(clean.rho)
        level = scene.config.score.pixels
        chance = of_scene(clean.rho, clean.tile, scored, level)
        if scene.dates is not None:
            drawn_tau = float(thresholds.threshold(jnp.asarray(clean.rho), scene.config.decision))
            earlier = _unchanged(scene, (rho, clean.rho, chance), kept, quiet=quiet)
            clean = null_scores.joined(clean, earlier)
            chance = of_scene(clean.rho, clean.tile, scored, level)
        null = clean.rho
    else:
        assert request.stable_ground is not None
        null = stable.scores(request.stable_ground, rho, pair, plan)
    p_value = np.asarray(thresholds.p_values(jnp.asarray(rho.ravel()), jnp.asarray(null))).reshape(rho.shape)
    tau = float(thresholds.threshold(jnp.asarray(null), scene.config.decision))
    if request.fdr is not None:
        small = p_value if chance is None else np.fmin(chance.tail_p(rho), p_value)
        finding = thresholds.benjamini_hochberg(jnp.asarray(small.ravel()), request.fdr)
        found = np.asarray(finding).reshape(rho.shape)
        tau = float(np.max(rho, where=np.isfinite(rho) & ~found, initial=0.0))
    return Scored(rho, p_value, tau, null, layers, chance, left_out, earlier, drawn_tau)


def _unchanged(
    scene: Scene, scored: tuple[np.ndarray, np.ndarray, Chance], kept: Checkpoint, *, quiet: bool
) -> list[unchanged.Unchanged]:
    """The windows of each further date that are null scores; scored: rho, the drawn null and what chance gives."""
    assert scene.dates is not None
    rho, null, chance = scored
    found = []
    for number, other in enumerate(scene.dates.others, start=2):
        with tqdm(
            total=scoring.ground_pixels(scene.plan, scene.pair), desc=f"before {number}", unit="px", unit_scale=True,
            disable=quiet,
        ) as bar:  # fmt: skip
            maps = scoring.score_scene(scene.of_date(other), kept.part(f"before_{number}_"), bar.update)
        found.append(unchanged.unchanged_windows(rho, maps["rho"], null, chance, scene.dates.unchanged))
    return found
