"""What a run of one scene is asked for, and what decides its results."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from planetcd_jax import records
from planetcd_jax.errors import DataError
from planetcd_jax.files.digests import sha256_of_file
from planetcd_jax.images.pair_quality import Quality
from planetcd_jax.scenes.coregister.deciding import Registration
from planetcd_jax.scenes.scoring import Scene
from planetcd_jax.version import __version__

_PAGE_MOST = 500


@dataclasses.dataclass(frozen=True)
class Request:
    """What a run is asked for, apart from the scene itself.

    Attributes:
        weights: SHA-256 of the weights.
        seed: Decides every random draw.
        page_candidates: Most candidates on the page; those below tau fill it up.
        pixel_maps: Candidates, from the first, whose pixel maps are written as GeoTIFF.
        parquet: Whether candidates are written as GeoParquet too.
        settings: Flags by name, for run.json.
        simulated: Whether the images are simulated.
        fdr: None to decide by tau, or the false discovery rate of Benjamini-Hochberg.
        stable_ground: None, or a vector file of unchanged ground that the null scores come from.
        registration: How the second image was registered to the first; None: not asked for.
        quality: How good the pair is; None: not measured.
    """

    weights: str
    seed: int
    page_candidates: int
    pixel_maps: int
    parquet: bool
    settings: Mapping[str, Any]
    simulated: bool
    fdr: float | None = None
    stable_ground: str | None = None
    registration: Registration | None = None
    quality: Quality | None = None

    @property
    def on_page(self) -> int:
        """Most candidates that the page really shows."""
        return min(self.page_candidates, _PAGE_MOST)


def _digest(path: str) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        DataError: if it cannot be read.
    """
    try:
        return sha256_of_file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); name a vector file of polygons.") from None


def identity(request: Request, scene: Scene) -> dict[str, Any]:
    """Everything that decides the results; two runs with the same identity end with the same files."""
    return {
        "images": scene.samples.digest,
        "before": scene.pair.before.name,
        "after": scene.pair.after.name,
        "after_shift": list(scene.pair.after_shift),
        **({} if scene.dates is None else {"dates": scene.dates.identity()}),
        "registration": None if request.registration is None else request.registration.record(),
        "config": records.plain(scene.config),
        "plan": dataclasses.asdict(scene.plan),
        "seed": request.seed,
        "page_candidates": request.page_candidates,
        "pixel_maps": request.pixel_maps,
        "parquet": request.parquet,
        "fdr": request.fdr,
        "stable_ground": None if request.stable_ground is None else _digest(request.stable_ground),
        "engine": scene.engine,
        "weights": request.weights,
        "version": __version__,
    }
