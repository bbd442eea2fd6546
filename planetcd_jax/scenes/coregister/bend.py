"""A smooth field of local shifts, and a frame of two images with one in it."""

import dataclasses
from typing import Protocol

import numpy as np
from scipy.ndimage import map_coordinates

from planetcd_jax.scenes.coregister.frames import Frame
from planetcd_jax.scenes.grids import BentGrid


class Field(Protocol):
    """Local shifts beside a model."""

    def __call__(self, cols: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shifts in columns and rows at points of the frame; NaN where none is known."""
        ...

    def largest(self) -> float:
        """Largest shift, pixels."""
        ...

    def left_out(self) -> float:
        """Share of the ground at which no shift is known."""
        ...


@dataclasses.dataclass(frozen=True)
class Bend:
    """Local shifts on a lattice of nodes, cubic between them and constant beyond.

    Attributes:
        row, col: First node, pixels of the frame.
        step: Pixels from node to node.
        by_col, by_row: [rows][cols] shifts, pixels.
    """

    row: float
    col: float
    step: float
    by_col: tuple[tuple[float, ...], ...]
    by_row: tuple[tuple[float, ...], ...]

    def __call__(self, cols: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shifts in columns and rows at points of the frame; NaN where these are."""
        at = [np.asarray((rows - self.row) / self.step, float), np.asarray((cols - self.col) / self.step, float)]
        lost = ~(np.isfinite(at[0]) & np.isfinite(at[1]))
        shape = np.shape(self.by_col)
        inside = [np.clip(np.where(lost, 0.0, x), 0, n - 1) for x, n in zip(at, shape, strict=True)]
        found = [map_coordinates(np.array(by), inside, order=3, mode="nearest") for by in (self.by_col, self.by_row)]
        return np.where(lost, np.nan, found[0]), np.where(lost, np.nan, found[1])

    def largest(self) -> float:
        """Largest shift, pixels."""
        return float(np.hypot(self.by_col, self.by_row).max())

    def left_out(self) -> float:
        """None: a smooth field knows shifts everywhere."""
        return 0.0


def bent(frame: Frame, bend: Field) -> Frame:
    """The frame with a field of local shifts in it."""
    new = Frame(frame.before, frame.after)
    new.grid = BentGrid(frame.grid.height, frame.grid.width, frame.grid.transform, frame.grid.crs, bend)
    return new
