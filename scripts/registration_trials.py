"""How often whole scenes are registered, and how well: simulated pairs whose maps are known. Prints a Markdown table.

python -m scripts.registration_trials [--trials=2] [--side=512]
"""

import argparse
import pathlib
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
import rasterio
from scipy.ndimage import gaussian_filter, map_coordinates

from planetcd_jax.errors import DataError
from planetcd_jax.scenes.coregister import models
from planetcd_jax.scenes.coregister.deciding import Registration, register
from planetcd_jax.scenes.source import Source, no_grid_warning
from planetcd_jax.simulate import changes
from planetcd_jax.simulate.imaging import Sun, display, radiance, simulate_scene
from planetcd_jax.simulate.ranges import CTX

# Offset (px), turn (degrees), scale, turn of the sun (degrees).
CASES = (
    (0, 0, 1.0, 0), (300, 0, 1.0, 0), (100, 45, 1.0, 0), (100, 90, 1.0, 0), (100, 30, 0.5, 0), (50, 30, 2.0, 0),
    (100, 20, 1.0, 30), (300, 0, 1.0, 50), (50, 45, 1.0, 50), (100, 90, 0.5, 50), (50, 30, 2.0, 50),
)  # fmt: skip


def wanted(rng: np.random.Generator, case, side: int) -> np.ndarray:
    """[3, 3] from pixels of the first image to those of the second; the offset has a random direction."""
    shift, turn, scale, _ = case
    angle, way = np.deg2rad(turn), rng.uniform(0, 2 * np.pi)
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, side / 2)
    matrix[:2, 2] = middle - matrix[:2, :2] @ middle + scale * shift * np.array([np.cos(way), np.sin(way)])
    return matrix


def pair(seed: int, case, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two images [side, side] in [0, 1] and the map that one was made with from the other's ground."""
    rng = np.random.default_rng(seed)
    whole, azimuth = int(2.7 * side), rng.uniform(240, 300)
    suns = [Sun(jnp.deg2rad(azimuth + turn), jnp.deg2rad(42.0)) for turn in (0.0, case[3])]
    scene = simulate_scene(jax.random.key(seed), whole, whole, CTX, suns[0].azimuth)
    still = changes.no_change(whole, whole)
    light = [np.asarray(radiance(scene, still, sun, jnp.float32(0.55), jnp.float32(0.2))) for sun in suns]
    matrix, corner = wanted(rng, case, side), (whole - side) // 2
    cols, rows = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    back = models.move(np.linalg.inv(matrix), cols, rows)
    before = gaussian_filter(light[0], 0.7)[corner : corner + side, corner : corner + side]
    blurred = gaussian_filter(light[1], max(0.7, 0.5 / case[2]))
    after = map_coordinates(blurred, [back[1] + corner - 0.5, back[0] + corner - 0.5], order=3, mode="reflect")
    first, second = display(jax.random.key(seed + 10**6), jnp.asarray(before), jnp.asarray(after), CTX)
    return np.asarray(first), np.asarray(second), matrix


def residual(found: Registration, matrix: np.ndarray, side: int) -> float:
    """Median distance from the true map over the ground that both show, pixels."""
    cols, rows = np.meshgrid(np.linspace(0, side, 21), np.linspace(0, side, 21))
    there = models.move(matrix, cols, rows)
    here = models.move(np.eye(3) if found.matrix is None else np.array(found.matrix), cols, rows)
    if found.bend is not None:
        along, down = found.bend(*here)
        here = here[0] + along, here[1] + down
    on = (np.minimum(*there) >= 0) & (np.maximum(*there) <= side)
    return float(np.median(np.hypot(here[0] - there[0], here[1] - there[1])[on]))


def trial(folder: pathlib.Path, seed: int, case, side: int) -> float | None:
    """Residual of one pair, or None where it was refused."""
    *images, matrix = pair(seed, case, side)
    sources = []
    for name, image in zip(("before", "after"), images, strict=True):
        path = folder / f"{name}.tif"
        with (
            no_grid_warning(),
            rasterio.open(path, "w", driver="GTiff", dtype="uint8", count=1, height=side, width=side) as out,
        ):
            out.write(np.round(1 + 254 * image).astype(np.uint8), 1)
        sources.append(Source(str(path)))
    try:
        return residual(register(*sources), matrix, side)
    except DataError:
        return None


def main() -> None:
    """Runs all cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--side", type=int, default=512)
    options = parser.parse_args()
    print("| offset, px | turn, ° | scale | sun turned, ° | right (below 2 px) | refused | residual, px | s a pair |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            started = time.monotonic()
            found = [trial(pathlib.Path(folder), seed, case, options.side) for seed in range(options.trials)]
            right = [one for one in found if one is not None and one < 2.0]
            refused = sum(one is None for one in found)
            middle = f"{np.median(right):.2f}" if right else "-"
            spent = (time.monotonic() - started) / options.trials
            said = " | ".join(str(part) for part in case)
            print(f"| {said} | {len(right)} of {len(found)} | {refused} | {middle} | {spent:.0f} |", flush=True)


if __name__ == "__main__":
    main()
