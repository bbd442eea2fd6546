"""How good a pair of images is for telling changes: agreement, light, sharpness, common ground, and a verdict."""

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import scipy.fft
import scipy.ndimage

# Differences that the verdict names, each from the size on that is known to raise the scores.
_SUN_AZIMUTH_DEG = 20.0
_SUN_ELEVATION_DEG = 10.0
_VIEW_DEG = 15.0  # emission or phase
_LEAST_CORRELATION = 0.5
_LEAST_COMMON = 0.3
_SHARPNESS_RATIO = 1.7
_NOISE_RATIO = 2.0
_NOISE_SHARE = 0.5  # of an image's fine detail

# Standard deviations of the Gaussians between which fine and coarse detail lie, pixels.
_FINE, _COARSE = (0.7, 1.4), (2.8, 5.6)

# Pixels this near to a missing one are not used for blur and noise.
_FROM_MASKS = 2

# Fewest pixels of a square from which blur and noise are measured.
_LEAST_INSIDE = 256

NO_DOUBT = "nothing speaks against the pair"
"""The verdict of a good pair."""

# Largest shift between two patches that is searched, pixels, and as a share of the shorter side.
_LARGEST_SHIFT, _LARGEST_SHIFT_SHARE = 40, 0.45


@dataclasses.dataclass(frozen=True)
class Date:
    """One date of a pair.

    Attributes:
        noise: Standard deviation of noise from pixel to pixel, image 0 to 1 after its stretch; as the next two NaN
            where there is too little ground in one piece to tell.
        sharpness: Fine detail (about 1 px) over coarse detail (about 4 px), noise taken off; small where blurred.
        noise_share: Share of noise in what varies at about 1 px, 0 to 1.
        common: Share of the image's valid ground that the other shows too, 0 to 1.
        angles: What its label says of the light and the view, degrees.
    """

    noise: float
    sharpness: float
    noise_share: float
    common: float
    angles: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Quality:
    """What is known of a pair before it is scored.

    Attributes:
        correlation: Median over sampled squares of the correlation of the two dates, as they are compared; NaN if
            none could be told.
        before, after: The two `Date`s.
        angles: Second date less first, degrees, by name; only what both labels state.
    """

    correlation: float
    before: Date
    after: Date
    angles: Mapping[str, float]

    def doubts(self) -> list[str]:
        """What speaks against the pair, in words."""
        return [*_light(self.angles), *_agreement(self), *_detail(self.before, self.after)]

    def verdict(self) -> str:
        """All doubts in one line."""
        return "; ".join(self.doubts()) or NO_DOUBT

    def said(self) -> str:
        """Figures and verdict, for the page."""
        dates = (self.before, self.after)
        noise, sharp, common = ([getattr(date, name) for date in dates] for name in ("noise", "sharpness", "common"))
        light = ", ".join(f"{name.replace('_', ' ')} {value:+.0f}°" for name, value in self.angles.items())
        return (
            f"{self.verdict()}. Correlation {self.correlation:.2f}; noise {noise[0]:.3f} and {noise[1]:.3f}; sharpness "
            f"{sharp[0]:.2f} and {sharp[1]:.2f}; ground in common {100 * common[0]:.0f} % and {100 * common[1]:.0f} %; "
            f"light: {light or 'not in both labels'}"
        )

    def record(self) -> dict[str, Any]:
        """For run.json."""
        return {**dataclasses.asdict(self), "verdict": self.verdict()}


def _light(angles: Mapping[str, float]) -> list[str]:
    said = []
    turn = abs(angles.get("sun_azimuth", 0.0))
    if turn >= _SUN_AZIMUTH_DEG:
        said.append(f"light differs by {turn:.0f} degrees of azimuth: expect false alarms on slopes")
    climb = angles.get("incidence", -angles.get("sun_elevation", 0.0))
    if abs(climb) >= _SUN_ELEVATION_DEG:
        lower = "lower" if climb > 0 else "higher"
        said.append(
            f"the sun stands {abs(climb):.0f} degrees {lower} in the second image: expect false alarms at shadows"
        )
    for name in ("emission", "phase"):
        if abs(angles.get(name, 0.0)) >= _VIEW_DEG:
            said.append(f"{name} differs by {abs(angles[name]):.0f} degrees: expect false alarms on relief")
    return said


def _agreement(pair: Quality) -> list[str]:
    said = []
    if not pair.correlation >= _LEAST_CORRELATION:
        said.append(
            f"the dates correlate by {pair.correlation:.2f} only: much differs between them, or they lie badly on each "
            "other"
            if np.isfinite(pair.correlation)
            else "whether the dates agree could not be told: too plain"
        )
    least = min(pair.before.common, pair.after.common)
    if least < _LEAST_COMMON:
        said.append(f"{100 * least:.0f} % of one image's ground is in both: the rest is not compared")
    return said


def _detail(before: Date, after: Date) -> list[str]:
    if not np.isfinite([before.sharpness, after.sharpness]).all():
        return ["blur and noise could not be told: too little ground in one piece"]
    said = []
    ratio = after.sharpness / max(before.sharpness, 1e-9)
    if max(ratio, 1 / max(ratio, 1e-9)) >= _SHARPNESS_RATIO:
        which = "second" if ratio < 1 else "first"
        said.append(f"the {which} image is blurred against the other: fine texture will differ")
    times = after.noise / max(before.noise, 1e-9)
    noisy = max(before.noise_share, after.noise_share)
    if noisy >= _NOISE_SHARE:
        which = "second" if after.noise_share > before.noise_share else "first"
        more = (
            f", {max(times, 1 / max(times, 1e-9)):.1f} times the other's"
            if not 1 / _NOISE_RATIO < times < _NOISE_RATIO
            else ""
        )
        said.append(
            f"{100 * noisy:.0f} % of the fine detail of the {which} image is noise{more}: small changes are lost"
        )
    return said


def angles_between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Second date less first, degrees, of the angles that both labels state; azimuths the short way round."""
    both = {name: after[name] - before[name] for name in before if name in after}
    if "sun_azimuth" in both:
        both["sun_azimuth"] = (both["sun_azimuth"] + 180.0) % 360.0 - 180.0
    return both


def correlation(before: np.ndarray, after: np.ndarray, valid: np.ndarray) -> float:
    """Pearson's correlation of two images over their valid pixels; NaN if one is constant."""
    a, b = before[valid], after[valid]
    if a.size < 2 or a.std() < 1e-6 or b.std() < 1e-6:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def of_patches(
    before: np.ndarray, after: np.ndarray, angles: tuple[Mapping[str, float], Mapping[str, float]] = ({}, {})
) -> Quality:
    """The quality of a pair of patches; correlation is that of where they lie best on each other, in whole pixels.

    Args:
        before, after: [H, W] or [H, W, C] in [0, 1], without missing pixels.
        angles: What their labels say of the light and the view, degrees.
    """
    one, two = (image if image.ndim == 2 else image.mean(axis=-1) for image in (before, after))
    dates = []
    for image, label in zip((one, two), angles, strict=True):
        noise, sharpness, share = texture([(image, np.ones(image.shape, bool))])
        dates.append(Date(noise, sharpness, share, 1.0, label))
    return Quality(_best_correlation(one, two), dates[0], dates[1], angles_between(*angles))


def _best_correlation(one: np.ndarray, two: np.ndarray) -> float:
    """The higher correlation of two images: as they lie, or after the shift that brings most detail together."""
    reach = min(_LARGEST_SHIFT, int(_LARGEST_SHIFT_SHARE * min(one.shape)))
    details = [_band(image - image.mean(), *_COARSE) for image in (one, two)]
    size = [scipy.fft.next_fast_len(n + reach, real=True) for n in one.shape]
    spectra = [cast(np.ndarray, scipy.fft.rfft2(detail, s=size)) for detail in details]
    product = cast(np.ndarray, scipy.fft.irfft2(np.conj(spectra[0]) * spectra[1], s=size))
    shifts = np.arange(-reach, reach + 1)
    around = product[np.ix_(shifts, shifts)]
    down, along = (int(k) - reach for k in np.unravel_index(int(np.argmax(around)), around.shape))
    height, width = one.shape
    here = one[max(0, -down) : height - max(0, down), max(0, -along) : width - max(0, along)]
    there = two[max(0, down) : height - max(0, -down), max(0, along) : width - max(0, -along)]
    known = [correlation(*pair, np.ones(pair[0].shape, bool)) for pair in ((one, two), (here, there))]
    return max(known, key=lambda value: value if np.isfinite(value) else -2.0)


def texture(squares: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float, float]:
    """Noise, sharpness, and the share of noise in fine detail, of one date; medians over squares.

    Noise is what a Laplacian of second differences leaves of an image (Immerkaer 1996). Blurs are means over the valid
    pixels alone, and those next to a missing one have no say: the edge of a mask is no detail. NaN where no square has
    ground enough.
    """
    kernel = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
    found = []
    for image, valid in squares:
        inside = cast(np.ndarray, scipy.ndimage.binary_erosion(valid, iterations=_FROM_MASKS))
        if inside.sum() < _LEAST_INSIDE:
            continue
        filled = np.where(valid, image, image[valid].mean())
        noise = float(np.median(np.abs(scipy.ndimage.convolve(filled, kernel)[inside]))) / 0.6745 / 6.0
        fine, coarse = (_band(filled, *scales, valid)[inside].std() ** 2 for scales in (_FINE, _COARSE))
        own = noise**2 * _NOISE_IN_FINE
        found.append((noise, np.sqrt(max(fine - own, 0.0) / max(coarse, 1e-12)), min(1.0, own / max(fine, 1e-12))))
    if not found:
        return float("nan"), float("nan"), float("nan")
    noise, sharpness, share = np.median(np.array(found, float), axis=0)
    return float(noise), float(sharpness), float(share)


def _band(image: np.ndarray, fine: float, coarse: float, valid: np.ndarray | None = None) -> np.ndarray:
    """What lies between two blurs of an image, over its valid pixels."""
    if valid is None or valid.all():
        return scipy.ndimage.gaussian_filter(image, fine) - scipy.ndimage.gaussian_filter(image, coarse)
    weight, known = valid.astype(float), np.where(valid, image, 0.0)
    blurs = [
        scipy.ndimage.gaussian_filter(known, s) / (scipy.ndimage.gaussian_filter(weight, s) + 1e-9)
        for s in (fine, coarse)
    ]
    return blurs[0] - blurs[1]


def _noise_in_fine() -> float:
    """Variance that white noise of variance 1 leaves in the fine band."""
    impulse = np.zeros((33, 33))
    impulse[16, 16] = 1.0
    return float((_band(impulse, *_FINE) ** 2).sum())


_NOISE_IN_FINE = _noise_in_fine()
