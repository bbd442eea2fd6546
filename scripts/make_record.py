"""Scores of stored pairs and of one stored scene, with which `tests/test_record.py` compares those of later code.

    python -m scripts.make_record

Reads the images in tests/goldens/record.npz and writes the scores beside them. Run it only where a change of the scores
is meant, and say in the commit why they change.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

import planetcd_jax as pcd

PATH = pathlib.Path(__file__).resolve().parents[1] / "tests" / "goldens" / "record.npz"

CONFIGS = {
    "paper": pcd.PAPER,
    "robust": pcd.ROBUST,
    "proposed_mean": pcd.PAPER.replace(pooling="mean"),
    "proposed_conv3_3": pcd.PAPER.replace(layer="conv3_3"),
    "standardised": pcd.PAPER.replace(patch_standardize=True, feature_standardize=True),
    "crop": pcd.PAPER.replace(shift_fill="crop", reduction="mean", activation="post"),
    "robust_conv3_2": pcd.ROBUST.replace(
        layer="conv3_2", network_step_px=1, least_null_wins=None, residual_clip=6.0, max_misalignment=20
    ),
    "rcva": pcd.PAPER.replace(score=pcd.Rcva()),
}
"""What is recorded of the grey pairs, by name."""

MORE = {"paper": ("odd", "rgb", "five"), "robust": ("odd", "rgb", "five")}
"""Other sets of pairs, by configuration: patches of 61 x 75 px, of three bands, and of five."""

SCENE = {"window": 64, "stride": 16, "min_valid": 0.4, "margin": 48}
SEED = 7


def images(name: str) -> list[jax.Array]:
    """Both dates of a stored set of pairs, or of "scene", float32 in [0, 1]."""
    with np.load(PATH) as stored:
        return [jnp.asarray(stored[f"in/{name}_{date}"], jnp.float32) / 255 for date in ("before", "after")]


def pair_scores(config: str, pairs: str) -> dict[str, np.ndarray]:
    """rho, rho_null, tau, changed and p_value of a stored set under a configuration of `CONFIGS`."""
    run = jax.jit(pcd.detect, static_argnames=("config", "micro_batch"))
    found = run(jax.random.key(SEED), pcd.load_vgg16(), *images(pairs), CONFIGS[config], micro_batch=4)
    return {name: np.asarray(value) for name, value in found._asdict().items()}


def scene_scores(config: str) -> dict[str, np.ndarray]:
    """rho and null scores of the windows of the stored scene."""
    params, (before, after) = pcd.load_vgg16(), images("scene")
    with np.load(PATH) as stored:
        options = {**SCENE, "valid": jnp.asarray(stored["in/scene_valid"])}
    chosen = CONFIGS[config]
    second = {"after": after} if chosen.score.null_uses_after else {}

    @jax.jit
    def both(params, before, after):
        key = jax.random.key(SEED)
        null = pcd.null_score_map(key, params, before, chosen, **second, **options)
        return pcd.score_map(params, before, after, chosen, **options), null

    rho, null = both(params, before, after)
    return {"score_map": np.asarray(rho), "null_score_map": np.asarray(null)}


def main() -> None:
    """Writes the record anew."""
    with np.load(PATH) as stored:
        kept = {name: stored[name] for name in stored.files if name.startswith("in/")}
    made = {}
    for config in CONFIGS:
        for pairs in ("grey", *MORE.get(config, ())):
            made |= {f"{config}/{pairs}/{name}": value for name, value in pair_scores(config, pairs).items()}
    for config in ("paper", "robust"):
        made |= {f"{config}/scene/{name}": value for name, value in scene_scores(config).items()}
    np.savez_compressed(PATH, **kept, **made)
    print(f"{PATH.name}: {len(made)} arrays of scores")


if __name__ == "__main__":
    main()
