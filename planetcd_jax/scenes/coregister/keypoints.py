"""Models from features that two images share: SIFT of OpenCV on reduced images, tolerant of other light."""

import numpy as np

from planetcd_jax.extras import brought_by
from planetcd_jax.scenes.coregister.frames import Box, Frame, View
from planetcd_jax.scenes.coregister.models import is_sensible, scaling
from planetcd_jax.scenes.coregister.squares import local_contrast, step_for, whole_view

# Longest sides, pixels, of the images that features are taken from: finer ones first, coarser where these fail.
SIZES = (1400, 700, 350)

_MOST = 5000  # features of an image
_CONTRAST_SCALE = 12.0  # pixels of the blur whose remainder features are found in
_RATIO = 0.9  # largest distance of a match, over that of the next best
_SIZE_RATIOS = (0.33, 3.0)  # of the features of a match
_NEAR = 5.0  # pixels that a match may lie off a model
_ROUGH = 0.03  # the same for the first guess, as a share of the image's side

# Most trials of RANSAC. OpenCV draws the same ones in every run.
_TRIALS = 20_000

# Confidence at which RANSAC stops.
_CONFIDENCE = 0.9999

Matches = tuple[np.ndarray, np.ndarray]
"""[N, 4] each: column, row, size and angle (radians) of the features of the two images."""


def _features(view: View) -> tuple[np.ndarray, np.ndarray]:
    """[N, 4] column, row, size, angle, and [N, 128] RootSIFT descriptors (Arandjelovic and Zisserman 2012)."""
    with brought_by("register"):
        import cv2
    image, valid = view
    grey = np.clip(127.5 + 42.0 * local_contrast(image, valid, _CONTRAST_SCALE), 0, 255).astype(np.uint8)
    inside = cv2.erode(valid.astype(np.uint8) * 255, np.ones((9, 9), np.uint8))
    found, described = cv2.SIFT.create(nfeatures=_MOST, contrastThreshold=0.02, edgeThreshold=12).detectAndCompute(
        grey, inside
    )
    if described is None:
        return np.zeros((0, 4)), np.zeros((0, 128), np.float32)
    # OpenCV counts from the middle of the first pixel.
    points = np.array([[f.pt[0] + 0.5, f.pt[1] + 0.5, f.size, np.deg2rad(f.angle)] for f in found])
    return points, np.sqrt(described / (described.sum(axis=1, keepdims=True) + 1e-9)).astype(np.float32)


def _matches(one: View, other: View) -> Matches:
    """Features that are each other's best match and clearly better than the next."""
    (points, described), (others, also) = _features(one), _features(other)
    if min(len(points), len(others)) < 4:
        return np.zeros((0, 4)), np.zeros((0, 4))
    alike = described @ also.T
    best, back = alike.argmax(axis=1), alike.argmax(axis=0)
    two = -np.partition(-alike, 1, axis=1)[:, :2]
    apart = np.sqrt(np.maximum(2.0 - 2.0 * two, 1e-12))
    ratio = others[best, 2] / points[:, 2]
    good = (apart[:, 0] < _RATIO * apart[:, 1]) & (back[best] == np.arange(len(points)))
    good &= (ratio > _SIZE_RATIOS[0]) & (ratio < _SIZE_RATIOS[1])
    return points[good], others[best[good]]


def _from_one(matches: Matches, reach: float) -> np.ndarray:
    """Which matches agree with the one that most agree with: each alone says shift, turn and scale. [N] bool."""
    here, there = (points[:, 0] + 1j * points[:, 1] for points in matches)
    turn = matches[1][:, 2] / matches[0][:, 2] * np.exp(1j * (matches[1][:, 3] - matches[0][:, 3]))
    best = np.zeros(len(here), bool)
    for first in range(0, len(here), 500):
        part = slice(first, first + 500)
        moved = turn[part, None] * (here[None] - here[part, None]) + there[part, None]
        agree = abs(moved - there[None]) < reach
        most = int(agree.sum(axis=1).argmax())
        if agree[most].sum() > best.sum():
            best = agree[most]
    return best


def _models(matches: Matches, reach: float) -> list[np.ndarray]:
    """Models that many matches agree with, by MAGSAC++ (Barath 2020): of all matches, and of those that one finds."""
    import cv2

    found = []
    for chosen in (np.ones(len(matches[0]), bool), _from_one(matches, reach)):
        here, there = (np.ascontiguousarray(points[chosen, :2]) for points in matches)
        if len(here) >= 8:
            found.append(cv2.findHomography(here, there, cv2.USAC_MAGSAC, _NEAR, None, _TRIALS, _CONFIDENCE)[0])
        if len(here) >= 5:
            affine = cv2.estimateAffine2D(here, there, None, cv2.USAC_MAGSAC, _NEAR, _TRIALS, _CONFIDENCE)[0]
            found.append(None if affine is None else np.vstack([affine, [0.0, 0.0, 1.0]]))
            alike = cv2.estimateAffinePartial2D(here, there, None, cv2.RANSAC, _NEAR, _TRIALS, _CONFIDENCE)[0]
            found.append(None if alike is None else np.vstack([alike, [0.0, 0.0, 1.0]]))
    return [matrix for matrix in found if matrix is not None and np.isfinite(matrix).all()]


def guesses(frame: Frame, longest: int) -> list[np.ndarray]:
    """Models [3, 3] to be looked at closer, from images of at most about `longest` pixels a side; none is checked.

    Raises:
        MissingExtraError: if OpenCV is not installed.
    """
    extent = frame.extent()
    if min(extent.height, extent.width) < 16:
        return []
    (one, step), (other, other_step) = (
        whole_view(frame, None, frame.whole, longest), whole_view(frame, np.eye(3), extent, longest)
    )  # fmt: skip
    matches = _matches(one, other)
    if len(matches[0]) < 5:
        return []
    lead = scaling(other_step, extent.col, extent.row)
    back = np.linalg.inv(scaling(step))
    found = [lead @ matrix @ back for matrix in _models(matches, _ROUGH * max(one[0].shape))]
    size = frame.whole.height, frame.whole.width
    return [matrix / matrix[2, 2] for matrix in found if is_sensible(matrix / matrix[2, 2], *size)]


def sizes(frame: Frame) -> list[int]:
    """Those of `SIZES` that differ for these images."""
    longest = max(frame.whole.longest, frame.extent().longest)
    steps = {step_for(Box(0, 0, longest, longest), size): size for size in reversed(SIZES)}
    return sorted(steps.values(), reverse=True)
