"""How the second image lies over the first: a shift, an affine map or a homography of pixels."""

import numpy as np

KINDS = ("shift", "affine", "homography")
"""Models, from the stiffest to the most flexible."""

LEAST = {"shift": 1, "affine": 3, "homography": 4}
"""Points that decide each model."""

# Points whose weight in a homography is below this lie at or behind its horizon.
_HORIZON = 1e-6

Points = tuple[np.ndarray, np.ndarray]


def move(matrix: np.ndarray, cols: np.ndarray, rows: np.ndarray) -> Points:
    """Columns and rows of points after a homography [3, 3]; NaN beyond its horizon."""
    cols, rows = np.asarray(cols, float), np.asarray(rows, float)
    x, y, w = (line[0] * cols + line[1] * rows + line[2] for line in matrix)
    with np.errstate(divide="ignore", invalid="ignore"):
        w = np.where(w > _HORIZON, w, np.nan)
        return x / w, y / w


def scaling(step: float, col: float = 0.0, row: float = 0.0) -> np.ndarray:
    """[3, 3]: from pixels of `step` times the side, counted from (col, row), to plain ones."""
    return np.array([[step, 0.0, col], [0.0, step, row], [0.0, 0.0, 1.0]])


def fit(kind: str, here: Points, there: Points) -> np.ndarray:
    """The model that brings points `here` closest to those `there`, by least squares.

    Args:
        kind: One of `KINDS`.
        here, there: Columns and rows, [N] each, N at least `LEAST[kind]`.

    Returns:
        [3, 3], its last element 1. Shifts are means; homographies are solved in normalised coordinates (Hartley 1997).
    """
    (x, y), (u, v) = (tuple(np.asarray(part, float) for part in points) for points in (here, there))
    if kind == "shift":
        return np.array([[1.0, 0.0, np.mean(u - x)], [0.0, 1.0, np.mean(v - y)], [0.0, 0.0, 1.0]])
    first, second = _centred(x, y), _centred(u, v)
    (x, y), (u, v) = move(first, x, y), move(second, u, v)
    one, none = np.ones_like(x), np.zeros_like(x)
    if kind == "affine":
        found = np.linalg.lstsq(np.stack([x, y, one], axis=-1), np.stack([u, v], axis=-1), rcond=None)[0].T
        matrix = np.vstack([found, [0.0, 0.0, 1.0]])
    else:
        rows = [
            np.stack([x, y, one, none, none, none, -u * x, -u * y, -u], axis=-1),
            np.stack([none, none, none, x, y, one, -v * x, -v * y, -v], axis=-1),
        ]
        matrix = np.linalg.svd(np.concatenate(rows))[2][-1].reshape(3, 3)
    matrix = np.linalg.inv(second) @ matrix @ first
    return matrix / matrix[2, 2]


def _centred(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[3, 3] that moves points round the origin, at a distance of about 1."""
    size = max(float(np.hypot(x - x.mean(), y - y.mean()).mean()), 1e-9)
    return np.array([[1.0, 0.0, -x.mean()], [0.0, 1.0, -y.mean()], [0.0, 0.0, size]]) / size


def distances(matrix: np.ndarray, here: Points, there: Points) -> np.ndarray:
    """How far a model leaves each point `here` from the one `there`, pixels; infinite beyond its horizon."""
    cols, rows = move(matrix, *here)
    return np.nan_to_num(np.hypot(cols - there[0], rows - there[1]), nan=np.inf)


def is_sensible(matrix: np.ndarray, height: float, width: float) -> bool:
    """Whether a model keeps an image of this size an image: not mirrored, and nowhere scaled below 0.3 or above 3.5."""
    cols, rows = np.meshgrid(np.linspace(0, width, 5), np.linspace(0, height, 5))
    middle = move(matrix, cols, rows)
    sides = [np.subtract(move(matrix, cols + c, rows + r), middle) for c, r in ((1.0, 0.0), (0.0, 1.0))]
    area = sides[0][0] * sides[1][1] - sides[0][1] * sides[1][0]
    lengths = np.array([np.hypot(*side) for side in sides])
    if not (np.isfinite(area).all() and (area > 0).all()):
        return False
    return bool((lengths > 0.3).all() and (lengths < 3.5).all() and (area > 0.25 * lengths[0] * lengths[1]).all())
