"""Pictures for the page of a scene, small enough to be kept inside it."""

import base64
import io

import matplotlib
import matplotlib.colors
import numpy as np
from PIL import Image

# What the pictures of one candidate may take, bytes of the finished page: 500 of them stay well under 20 MB.
CHIP_BYTES = 32_000

_QUALITIES = (90, 80, 70, 60, 45, 30)
_NO_DATA = 64  # grey level of what is masked


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


def chip_pair(
    before: np.ndarray, after: np.ndarray, valid_before: np.ndarray, valid_after: np.ndarray, side: int
) -> tuple[str, str]:
    """Both dates of one place as JPEG data URLs of together at most about `CHIP_BYTES`, stretched alike.

    Args:
        before, after: [h, w] or [h, w, B] float.
        valid_before, valid_after: [h, w] bool.
        side: Side of the pictures, pixels; smaller than the chips shrinks them.
    """
    dates = [(before, valid_before), (after, valid_after)]
    low, high = _limits(dates)
    pictures = [Image.fromarray(_levels(pixels, valid, low, high)) for pixels, valid in dates]
    if side != before.shape[0]:
        pictures = [picture.resize((side, side), Image.Resampling.BOX) for picture in pictures]
    for quality in _QUALITIES:
        urls = [_data_url(picture, "JPEG", quality=quality, optimize=True) for picture in pictures]
        if sum(map(len, urls)) <= CHIP_BYTES:
            break
    return urls[0], urls[1]


def shown_side(side: int) -> int:
    """Side at which chips of a given side fit `CHIP_BYTES` even where they are pure noise."""
    shrink = 1
    while side // shrink > 200:
        shrink += 1
    return side // shrink


def heat_picture(heat: np.ndarray, side: int) -> str:
    """Change of each pixel as a small PNG, dark to bright from 0 to its own maximum; grey where not known."""
    known = np.isfinite(heat)
    top = float(heat[known].max()) if known.any() else 0.0
    step = max(1, heat.shape[0] // 50)  # features are coarser than pixels, so that little is lost
    coarse = heat[::step, ::step]
    share = np.nan_to_num(coarse / top if top > 0 else coarse * 0.0)
    colours = matplotlib.colormaps["magma"](share)[..., :3] * 255
    colours[~np.isfinite(coarse)] = (200, 208, 216)
    picture = Image.fromarray(colours.round().astype(np.uint8)).quantize(64)
    return _data_url(picture.resize((side // 2, side // 2), Image.Resampling.NEAREST), "PNG", optimize=True)


def _fitting(image: Image.Image, most: int) -> Image.Image:
    """The picture with no side longer than `most`, pixels averaged."""
    shrink = max(image.size) / most
    if shrink <= 1:
        return image
    return image.resize(
        (max(1, round(image.width / shrink)), max(1, round(image.height / shrink))), Image.Resampling.BOX
    )


def date_pair(before: np.ndarray, after: np.ndarray, most: int = 240) -> tuple[str, str]:
    """Both dates of a pair as JPEG data URLs of together at most about `CHIP_BYTES`, stretched alike.

    Args:
        before, after: [H, W] or [H, W, C] float; NaN is no data.
        most: Longest side of the pictures, pixels.
    """
    dates = [(image, np.isfinite(image if image.ndim == 2 else image.sum(axis=-1))) for image in (before, after)]
    low, high = _limits(dates)
    filled = [(np.nan_to_num(pixels), valid) for pixels, valid in dates]
    pictures = [_fitting(Image.fromarray(_levels(pixels, valid, low, high)), most) for pixels, valid in filled]
    for quality in _QUALITIES:
        urls = [_data_url(picture, "JPEG", quality=quality, optimize=True) for picture in pictures]
        if sum(map(len, urls)) <= CHIP_BYTES:
            break
    return urls[0], urls[1]


def change_picture(heat: np.ndarray, most: int = 75) -> str:
    """Change of each pixel of a pair, [H, W] float >= 0, as a small PNG, dark to bright from 0 to its own maximum."""
    top = float(np.nanmax(heat, initial=0.0))
    share = np.nan_to_num(heat / top if top > 0 else heat * 0.0)
    levels = Image.fromarray((matplotlib.colormaps["magma"](share)[..., :3] * 255).round().astype(np.uint8))
    return _data_url(_fitting(levels, most).quantize(64), "PNG", optimize=True)


def overview_picture(pixels: np.ndarray, valid: np.ndarray) -> str:
    """The whole before-image, reduced, as a JPEG data URL. [h, w(, B)] float."""
    low, high = _limits([(pixels, valid)])
    return _data_url(Image.fromarray(_levels(pixels, valid, low, high)), "JPEG", quality=80, optimize=True)


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
