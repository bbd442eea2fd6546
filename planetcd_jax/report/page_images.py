"""Pictures for the page of a scene, small enough to be kept inside it."""

import base64
import io
from typing import NamedTuple

import matplotlib
import matplotlib.colors
import numpy as np
from PIL import Image

# What the pictures of one place may take, bytes of the finished page: 500 places stay under 20 MB.
CHIP_BYTES = 22_000
WIDE_BYTES = 7_000
PAIR_BYTES = 32_000
THUMBNAIL_BYTES = 2_600  # one date of a place beside others
OVERVIEW_BYTES = 1_200_000  # the map of both dates

PERCENTS = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 95.0, 98.0, 99.0, 99.5, 99.9, 100.0)
"""Percentiles of brightness that the page knows of each place, for its stretch."""

LEVELS = (16, 40, 235, 255)
"""Grey levels of a coded picture that stand for its percentiles 0, 1, 99 and 100; 0 is no data."""

_QUALITIES = (90, 80, 70, 60, 45, 30, 20, 12)
_NO_DATA = 64  # grey level of what is masked in pictures that are shown as they are
_HEAT_SIDE = 75
_THUMBNAIL_SIDE = 72


def _data_url(image: Image.Image, kind: str, **options) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _levels(pixels: np.ndarray, valid: np.ndarray, low: float, high: float) -> np.ndarray:
    """8-bit grey or RGB; masked pixels dark grey."""
    scaled = np.clip((pixels - low) / (high - low), 0.0, 1.0) * 255.0
    if scaled.ndim == 3 and scaled.shape[-1] != 3:
        scaled = scaled.mean(axis=-1)
    mask = valid.reshape(valid.shape + (1,) * (scaled.ndim - 2))
    return np.where(mask, scaled, _NO_DATA).round().astype(np.uint8)


def _limits(images: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """One black and one white point for both dates, so that a change of brightness stays visible."""
    values = np.concatenate([pixels[valid].ravel() for pixels, valid in images])
    low, high = np.percentile(values, [0.5, 99.5]) if values.size else (0.0, 1.0)
    return float(low), float(max(high, low + 0.02))


class CodedPair(NamedTuple):
    """Both dates of one place as grey or coloured pictures that the page stretches as its reader likes.

    Attributes:
        before, after: JPEG as data URLs.
        knots: Brightness that each of `LEVELS` stands for; straight lines lie between.
        spread: Brightness at each of `PERCENTS`, of before, of after, and of both together.
    """

    before: str
    after: str
    knots: list[float]
    spread: list[list[float]]


def coded_pair(
    dates: tuple[np.ndarray, np.ndarray], valid: tuple[np.ndarray, np.ndarray], side: int, most: int = CHIP_BYTES
) -> CodedPair:
    """Both dates of one place, with nothing saturated: the brightest and darkest percent get fewer grey levels.

    Args:
        dates: Before and after, [h, w] or [h, w, B] float.
        valid: Where each has data, [h, w] bool.
        side: Side of the pictures, pixels; smaller than the chips shrinks them.
        most: Bytes that both may take together, about.
    """
    values = [pixels[mask].ravel() for pixels, mask in zip(dates, valid, strict=True)]
    spread = [_spread(part) for part in (*values, np.concatenate(values))]
    knots = np.maximum.accumulate([spread[2][PERCENTS.index(p)] for p in (0.0, 1.0, 99.0, 100.0)])
    knots = knots + 1e-5 * np.arange(len(LEVELS))  # they rise, even where the ground is plain
    pictures = [_coded(pixels, mask, knots, side) for pixels, mask in zip(dates, valid, strict=True)]
    before, after = _under(pictures, most)
    return CodedPair(before, after, [float(knot) for knot in knots], spread)


def _spread(values: np.ndarray) -> list[float]:
    found = np.percentile(values, PERCENTS) if values.size else np.linspace(0.0, 1.0, len(PERCENTS))
    return [float(f"{value:.4g}") for value in found]


def _coded(pixels: np.ndarray, valid: np.ndarray, knots: np.ndarray, side: int) -> Image.Image:
    levels = np.interp(pixels, knots, LEVELS)
    if levels.ndim == 3 and levels.shape[-1] != 3:
        levels = levels.mean(axis=-1)
    mask = valid.reshape(valid.shape + (1,) * (levels.ndim - 2))
    picture = Image.fromarray(np.where(mask, levels, 0).round().astype(np.uint8))
    if picture.width == side:
        return picture
    shown = np.asarray(picture.resize((side, side), Image.Resampling.BOX))
    whole = np.asarray(Image.fromarray(255 * valid.astype(np.uint8)).resize((side, side), Image.Resampling.BOX)) == 255
    return Image.fromarray(np.where(whole.reshape(whole.shape + (1,) * (shown.ndim - 2)), shown, 0).astype(np.uint8))


def _under(pictures: list[Image.Image], most: int) -> list[str]:
    """Pictures as JPEG of the best quality at which they take at most so many bytes together."""
    urls: list[str] = []
    for quality in _QUALITIES:
        urls = [_data_url(picture, "JPEG", quality=quality, optimize=True) for picture in pictures]
        if sum(map(len, urls)) <= most:
            break
    return urls


def thumbnail(pixels: np.ndarray, valid: np.ndarray) -> str:
    """One date of a place as a small JPEG, stretched by itself so that dates in unlike light can be compared.

    Args:
        pixels: [h, w] or [h, w, B] float.
        valid: [h, w] bool.

    Returns:
        A data URL of at most about `THUMBNAIL_BYTES`.
    """
    picture = Image.fromarray(_levels(pixels, valid, *_limits([(pixels, valid)])))
    small = picture.resize((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE), Image.Resampling.BOX)
    return _under([small], THUMBNAIL_BYTES)[0]


def shown_side(side: int) -> int:
    """Side at which chips of a given side fit `CHIP_BYTES` even where they are pure noise."""
    shrink = 1
    while side // shrink > 200:
        shrink += 1
    return side // shrink


def heat_picture(heat: np.ndarray) -> str:
    """Change of each pixel as a small grey PNG: 0 where not known, from 1 for none to 253 for the map's largest.

    Args:
        heat: [h, w] float, NaN where not known. Blocks of pixels keep their largest value.
    """
    block = -(-max(heat.shape) // _HEAT_SIDE)
    rows, cols = (-(-n // block) for n in heat.shape)
    padded = np.full((rows * block, cols * block), -1.0, np.float32)
    padded[: heat.shape[0], : heat.shape[1]] = np.where(np.isfinite(heat), heat, -1.0)
    largest = padded.reshape(rows, block, cols, block).max(axis=(1, 3))
    top = max(float(largest.max()), 1e-9)
    levels = np.where(
        largest < 0, 0, 1 + 6 * np.round(42 * largest / top - 1e-6).clip(0, 42)
    )  # few levels: small files
    return _data_url(Image.fromarray(levels.astype(np.uint8)), "PNG", optimize=True)


def _fitting(image: Image.Image, most: int) -> Image.Image:
    """The picture with no side longer than `most`, pixels averaged."""
    shrink = max(image.size) / most
    if shrink <= 1:
        return image
    return image.resize(
        (max(1, round(image.width / shrink)), max(1, round(image.height / shrink))), Image.Resampling.BOX
    )


def date_pair(before: np.ndarray, after: np.ndarray, most: int = 240) -> tuple[str, str]:
    """Both dates of a pair as JPEG data URLs of together at most about `PAIR_BYTES`, stretched alike.

    Args:
        before, after: [H, W] or [H, W, C] float; NaN is no data.
        most: Longest side of the pictures, pixels.
    """
    dates = [(image, np.isfinite(image if image.ndim == 2 else image.sum(axis=-1))) for image in (before, after)]
    low, high = _limits(dates)
    filled = [(np.nan_to_num(pixels), valid) for pixels, valid in dates]
    pictures = [_fitting(Image.fromarray(_levels(pixels, valid, low, high)), most) for pixels, valid in filled]
    before_url, after_url = _under(pictures, PAIR_BYTES)
    return before_url, after_url


def change_picture(heat: np.ndarray, most: int = 75) -> str:
    """Change of each pixel of a pair, [H, W] float >= 0, as a small PNG, dark to bright from 0 to its own maximum."""
    top = float(np.nanmax(heat, initial=0.0))
    share = np.nan_to_num(heat / top if top > 0 else heat * 0.0)
    levels = Image.fromarray((matplotlib.colormaps["magma"](share)[..., :3] * 255).round().astype(np.uint8))
    return _data_url(_fitting(levels, most).quantize(64), "PNG", optimize=True)


def overview_pair(dates: tuple[np.ndarray, np.ndarray], valid: tuple[np.ndarray, np.ndarray]) -> list[str]:
    """Both images of a scene, reduced, as JPEG data URLs of together about `OVERVIEW_BYTES`, stretched alike.

    Args:
        dates: Before and after, [h, w] or [h, w, B] float.
        valid: Where each has data, [h, w] bool.
    """
    pairs = list(zip(dates, valid, strict=True))
    low, high = _limits(pairs)
    return _under([Image.fromarray(_levels(*pair, low, high)) for pair in pairs], OVERVIEW_BYTES)


def heat_overlay(rho: np.ndarray, top: float, most: int = 900) -> str:
    """The score map as a PNG with colours from 0 to `top`, see-through where not scored.

    Args:
        rho: [R, S] float, NaN where not scored.
        top: Score of the brightest colour.
        most: Longest side, pixels; a larger map keeps the maximum of each block.
    """
    block = -(-max(rho.shape) // most)
    rows, cols = (-(-n // block) for n in rho.shape)
    padded = np.full((rows * block, cols * block), np.nan, np.float32)
    padded[: rho.shape[0], : rho.shape[1]] = rho
    filled = np.where(np.isfinite(padded), padded, -np.inf).reshape(rows, block, cols, block).max(axis=(1, 3))
    levels = np.where(np.isfinite(filled), 1 + np.clip(filled / top, 0, 1) * 254, 0).round().astype(np.uint8)
    picture = Image.frombytes("P", (cols, rows), levels.tobytes())
    table = matplotlib.colormaps["magma"](np.linspace(0, 1, 255))[:, :3] * 255
    picture.putpalette([0, 0, 0, *table.round().astype(int).ravel().tolist()])
    return _data_url(picture, "PNG", transparency=0, optimize=True)


def ramp() -> str:
    """The colours of the score, as CSS stops."""
    colours = matplotlib.colormaps["magma"](np.linspace(0, 1, 6))
    return ", ".join(matplotlib.colors.to_hex(colour) for colour in colours)
