"""The score map of a scene and its null scores: chunk by chunk, reading and saving while the network computes."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import numpy as np

from planetcd_jax import constants, scoremap
from planetcd_jax.config import ChangeConfig
from planetcd_jax.errors import ConfigError, DataError
from planetcd_jax.files.compilations import announcing
from planetcd_jax.networks.winograd import with_engine
from planetcd_jax.scenes.alignment import AlignedPair
from planetcd_jax.scenes.checkpoint import Checkpoint
from planetcd_jax.scenes.dates import Dates, OtherDate
from planetcd_jax.scenes.null_scores import NULL_SIDE, NullScores
from planetcd_jax.scenes.samples import Samples
from planetcd_jax.scores.base import WindowGrid
from planetcd_jax.scores.features import TILE
from planetcd_jax.types import Array, Params

# Tiles are read this far ahead of the network.
_AHEAD = 2

Progress = Callable[[int], Any]
Reads = tuple[np.ndarray, np.ndarray, np.ndarray]
NullReads = tuple[np.ndarray, np.ndarray, np.ndarray | None]
_Read = TypeVar("_Read")


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a scene is cut.

    Attributes:
        window, stride: Side of a window and step to the next, pixels.
        min_valid: Share of a window's cells that must be usable.
        chunk: Side of the ground whose windows are scored at once, pixels. Changes memory and speed, not results.
        null_draws: Pseudo-unchanged tiles to draw.
    """

    window: int = 100
    stride: int = 24
    min_valid: float = 0.5
    chunk: int = 1024
    null_draws: int = constants.NULL_DRAWS


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """A pair of images and how it is scored: what travels through a run.

    Attributes:
        pair: The images.
        samples: Their stretches.
        params: Parameters of the network.
        config: The method.
        plan: How to cut.
        engine: What computes the network for the score map, "xla" or "winograd".
        dates: The further before-images; None: there is one.
    """

    pair: AlignedPair
    samples: Samples
    params: Params
    config: ChangeConfig
    plan: Plan
    engine: str = "xla"
    dates: Dates | None = None

    def of_date(self, other: OtherDate) -> "Scene":
        """The first before-image and another one, scored as the scene is, on the same windows."""
        return dataclasses.replace(self, pair=other.pair, samples=other.samples, dates=None)

    def scorer(self) -> tuple[ChangeConfig, Params]:
        """The method as the engine computes it, and the parameters in the form that it takes."""
        return self._scorer

    @functools.cached_property
    def _scorer(self) -> tuple[ChangeConfig, Params]:
        config = with_engine(self.config, self.engine)
        return config, config.backbone.prepare(self.params)

    def windows(self) -> WindowGrid:
        """How an array of the scene is cut into windows: keywords of `scoremap.score_layers`."""
        plan = self.plan
        return WindowGrid(plan.window, plan.stride, plan.min_valid, scoremap.halo(self.config), _tile())


# A process that scores many scenes compiles each program once; settings hardly vary within one.
@functools.lru_cache(maxsize=8)
def _layers_program(config: ChangeConfig, grid: WindowGrid, what: str) -> Callable[..., Any]:
    def layers(params: Params, before: Array, after: Array, valid: Array) -> dict[str, Array]:
        return scoremap.score_layers(params, before, after, config, valid=valid, **grid._asdict())

    return announcing(layers, what)


@functools.lru_cache(maxsize=8)
def _null_program(config: ChangeConfig, grid: WindowGrid) -> Callable[..., Any]:
    def null(key: Array, params: Params, before: Array, valid: Array, after: Array | None) -> Array:
        return scoremap.null_score_map(key, params, before, config, valid=valid, after=after, **grid._asdict())

    return announcing(null, "the threshold of a scene")


def _tile() -> int | None:
    """Side of the network's tiles: small ones stay in a CPU's cache, other devices take a chunk whole."""
    return TILE if jax.default_backend() == "cpu" else None


def _side(plan: Plan, config: ChangeConfig) -> int:
    """Most windows along one side of a chunk.

    Where registration looks at all of a chunk, chunks are always of one size, whatever `plan.chunk`.
    """
    return max(1, (config.score.tile_px or plan.chunk) // plan.stride)


def _evenly(total: int, most: int) -> int:
    """Windows of a chunk along one axis: at most `most`, and none of the chunks much smaller than the others."""
    return -(-total // -(-total // most))


def check_plan(plan: Plan, pair: AlignedPair, config: ChangeConfig) -> None:
    """Raises ConfigError or DataError if the windows do not fit the method or the overlap."""
    scoremap.check_windows(plan.window, plan.stride, config)
    if plan.chunk < plan.stride:
        raise ConfigError(f"chunk is {plan.chunk} px; give at least the stride, {plan.stride} px (1024 is usual).")
    if not 0 <= plan.min_valid <= 1:
        raise ConfigError(f"min_valid is {plan.min_valid:g}; give a share in [0, 1].")
    if plan.null_draws < 1:
        raise ConfigError(f"null_draws is {plan.null_draws}; give a number of tiles, 1 or more.")
    smallest = scoremap.grid_step(config)
    for image in (pair.before, pair.after):
        if min(image.grid.height, image.grid.width) < smallest:
            raise DataError(
                f"{image.name} holds {image.grid.height}x{image.grid.width} px, too few for any window; its header or "
                "label was cut short with it, or it is a strip: fetch the whole image."
            )
    if min(pair.grid.height, pair.grid.width) < plan.window:
        raise DataError(
            f"{pair.before.name} and {pair.after.name} overlap in {pair.grid.height}x{pair.grid.width} px, a window "
            f"is {plan.window} px; choose a smaller --window, a multiple of {smallest}."
        )


def map_shape(plan: Plan, pair: AlignedPair) -> tuple[int, int]:
    """Rows and columns of windows of a scene."""
    return scoremap.map_shape(pair.grid.height, pair.grid.width, plan.window, plan.stride)


def _read_ahead(jobs: Sequence, read: Callable[[Any], _Read]) -> Iterator[tuple[Any, _Read]]:
    """Each job with what was read for it, in order, by one thread that stays a little ahead."""
    waiting: collections.deque[tuple[Any, Future]] = collections.deque()
    remaining = iter(jobs)
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as reader:
        try:
            for job in remaining:
                waiting.append((job, reader.submit(read, job)))
                if len(waiting) > _AHEAD:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def score_scene(scene: Scene, checkpoint: Checkpoint, progress: Progress) -> dict[str, np.ndarray]:
    """Maps of every window of a scene: "rho", and what else the score gives.

    Args:
        scene: The images and the method.
        checkpoint: Holds the chunks that are done; more are saved as they come.
        progress: Called with the pixels of ground that were finished.

    Returns:
        [R, S] float32 by name, NaN where not scored.

    Raises:
        DataError: if an image cannot be read. OutputError: if a chunk cannot be saved.
    """
    pair, samples, plan = scene.pair, scene.samples, scene.plan
    rows, cols = map_shape(plan, pair)
    side = _side(plan, scene.config)
    tall, wide = _evenly(rows, side), _evenly(cols, side)
    maps = {"rho": np.full((rows, cols), np.nan, np.float32)}
    halo = scoremap.halo(scene.config)
    height, width = ((n - 1) * plan.stride + plan.window + 2 * halo for n in (tall, wide))
    todo = []
    for corner in ((r, c) for r in range(0, rows, tall) for c in range(0, cols, wide)):
        done = checkpoint.load_group(_name(corner))
        if done is None:
            todo.append(corner)
        else:
            _place(maps, corner, done)
            progress(_ground(maps["rho"], corner, (tall, wide), plan))

    def read(corner: tuple[int, int]) -> Reads:
        top, left = (n * plan.stride - halo for n in corner)
        before, here = pair.read_before(top, left, height, width)
        after, there = pair.read_after(top, left, height, width)
        return samples.before(before), samples.after(after), here & there

    config, params = scene.scorer()
    score = _layers_program(config, scene.windows(), f"the windows of {height}x{width} px of a scene")
    saves: collections.deque[Future] = collections.deque()
    with ThreadPoolExecutor(1, thread_name_prefix="writer") as writer:
        for corner, (before, after, valid) in _read_ahead(todo, read):
            if valid.any():
                found = {name: np.asarray(x) for name, x in score(params, before, after, valid).items()}
            else:
                found = {"rho": np.full((tall, wide), np.nan, np.float32)}
            _place(maps, corner, found)
            saves.append(writer.submit(checkpoint.save_group, _name(corner), found))
            if len(saves) > _AHEAD:
                saves.popleft().result()
            progress(_ground(maps["rho"], corner, (tall, wide), plan))
        for save in saves:
            save.result()
    return maps


def _name(corner: tuple[int, int]) -> str:
    return f"chunk_{corner[0]:06d}_{corner[1]:06d}"


def _place(maps: dict[str, np.ndarray], corner: tuple[int, int], found: Mapping[str, np.ndarray]) -> None:
    """Puts a chunk into the maps; windows beyond their edge are dropped."""
    for name, values in found.items():
        whole = maps.setdefault(name, np.full_like(maps["rho"], np.nan))
        part = whole[corner[0] : corner[0] + values.shape[0], corner[1] : corner[1] + values.shape[1]]
        part[...] = values[: part.shape[0], : part.shape[1]]


def _ground(rho: np.ndarray, corner: tuple[int, int], size: tuple[int, int], plan: Plan) -> int:
    """Pixels of ground that a chunk stands for."""
    tall, wide = (min(n, total - first) for n, total, first in zip(size, rho.shape, corner, strict=True))
    return tall * wide * plan.stride**2


def ground_pixels(plan: Plan, pair: AlignedPair) -> int:
    """Pixels of ground of the whole scene, as `score_scene` reports them."""
    rows, cols = map_shape(plan, pair)
    return rows * cols * plan.stride**2


def score_null(key: jax.Array, scene: Scene, checkpoint: Checkpoint, progress: Progress) -> NullScores:
    """Scores of windows of pseudo-unchanged tiles drawn from all over the before-image.

    A tile is 4 x 4 windows of the map. It is read with true ground around it, so that the shift needs no fill, and
    has a draw of its own, whose key is that of its number alone. Tiles are visited in a random order, and again where
    the scene has fewer tiles than draws. Nothing here depends on `plan.chunk`.

    Args:
        key: PRNG key of the run.
        scene: As in `score_scene`.
        checkpoint: Holds the result once it is there.
        progress: Called with 1 for each draw.

    Raises:
        DataError: if no tile has a window that can be scored.
    """
    pair, samples, plan = scene.pair, scene.samples, scene.plan
    saved = checkpoint.load_group("rho_null")
    if saved is not None:
        progress(plan.null_draws)
        return NullScores(saved["rho"], saved["tile"], saved["window"])
    rows, cols = map_shape(plan, pair)
    tall, wide = min(NULL_SIDE, rows), min(NULL_SIDE, cols)
    corners = [(r, c) for r in range(0, rows, tall) for c in range(0, cols, wide)]
    order = np.asarray(jax.random.permutation(jax.random.fold_in(key, 0), len(corners)))
    own = scene.config.score
    edge = scoremap.halo(scene.config) + own.null.margin_px
    height, width = ((n - 1) * plan.stride + plan.window + 2 * edge for n in (tall, wide))

    def read(draw: int) -> NullReads:
        row, col = corners[order[draw % len(corners)]]
        place = row * plan.stride - edge, col * plan.stride - edge, height, width
        before, valid = pair.read_before(*place)
        if not own.null_uses_after:
            return samples.before(before), valid, None
        after, there = pair.read_after(*place)
        return samples.before(before), valid & there, samples.after(after)

    config, params = scene.scorer()
    score = _null_program(config, scene.windows())
    kept: list[np.ndarray] = []
    windows: list[np.ndarray] = []
    # Tiles with nothing to score are passed over, but not for ever.
    for draw, (before, valid, after) in _read_ahead(range(8 * plan.null_draws), read):
        if len(kept) == plan.null_draws:
            break
        if not valid.any():
            continue
        row, col = corners[order[draw % len(corners)]]
        scores = np.asarray(score(jax.random.fold_in(key, draw + 1), params, before, valid, after))
        scores = scores[: rows - row, : cols - col]
        there = np.isfinite(scores)
        if there.any():
            kept.append(scores[there])
            number = np.arange(row, row + there.shape[0])[:, None] * cols + np.arange(col, col + there.shape[1])
            windows.append(number[there])
            progress(1)
    if not kept:
        raise DataError(
            f"{pair.before.name} has no window of which a share of {plan.min_valid:g} can be scored; lower --min_valid "
            f"or --window, or check what is masked ({pair.before.nodata_rule})."
        )
    tile = np.repeat(np.arange(len(kept), dtype=np.int32), [part.size for part in kept])
    found = NullScores(np.concatenate(kept).astype(np.float32), tile, np.concatenate(windows))
    checkpoint.save_group("rho_null", found._asdict())
    return found
