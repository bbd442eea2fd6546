"""One scene from two images to a folder of results: what `scene.py` runs."""

import contextlib
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from planetcd_jax.errors import ConfigError, DataError, OutputError
from planetcd_jax.files.room import check_place
from planetcd_jax.report import page_images
from planetcd_jax.scenes import checkpoint as checkpoints
from planetcd_jax.scenes import (
    scoring,
    stable,
)
from planetcd_jax.scenes.checkpoint import Checkpoint
from planetcd_jax.scenes.pictures import OVERVIEW_PX
from planetcd_jax.scenes.place_measures import chip_size
from planetcd_jax.scenes.request import Request, identity
from planetcd_jax.scenes.scene_files import RUN_FILE, write_results
from planetcd_jax.scenes.scored import score
from planetcd_jax.scenes.scoring import Scene


def finished(target: pathlib.Path, wanted: Mapping[str, Any], *, resume: bool, overwrite: bool) -> bool:
    """Whether `target` holds this very run, whole.

    Raises:
        OutputError: if it holds something else that may not be replaced.
    """
    if not target.exists() or (target.is_dir() and checkpoints.is_empty(target)):
        return False
    path = target / RUN_FILE
    if not path.is_file():
        raise OutputError(f"--output_dir={target} holds other files and is left as it is; name a new or empty folder.")
    if resume:
        found = json.loads(path.read_text(encoding="utf-8")).get("identity")
        if found == json.loads(json.dumps(wanted)):
            return True
    if not overwrite:
        raise OutputError(f"--output_dir={target} holds earlier results; name another folder or add --overwrite.")
    return False


def room(request: Request, scene: Scene) -> int:
    """Bytes that a run may write at most, apart from rounding."""
    rows, cols = scoring.map_shape(scene.plan, scene.pair)
    side = chip_size(scene.plan, scene.config)
    maps = min(request.pixel_maps, rows * cols) * side**2 * 4
    thumbnails = 0 if scene.dates is None else len(scene.dates.names) * page_images.THUMBNAIL_BYTES
    page = request.on_page * (2 * page_images.CHIP_BYTES + thumbnails) + OVERVIEW_PX**2
    return 5 * rows * cols * 4 + maps + page


def check_possible(request: Request, scene: Scene, target: pathlib.Path) -> None:
    """What would stop the run at its end stops it here.

    Raises:
        DataError: if the file of stable ground cannot be used.
        OutputError: if the results cannot be written or have no room.
    """
    check_place(target, room(request, scene))
    if request.stable_ground is not None:
        stable.check(request.stable_ground, scene.pair, scene.plan)


@contextlib.contextmanager
def _dropping(kept: Checkpoint, pair) -> Iterator[None]:
    """Removes unfinished work when the images themselves end the run; a server that fails may answer the next time."""
    try:
        yield
    except (DataError, ConfigError):
        if not any("://" in image.name or image.name.startswith("/vsi") for image in (pair.before, pair.after)):
            kept.remove()
        raise


def run_scene(
    request: Request, scene: Scene, target: pathlib.Path, *, resume: bool, overwrite: bool, quiet: bool = False
) -> dict[str, Any] | None:
    """Runs one scene and leaves its results in `target`, all of them at once.

    Returns:
        What run.json says; None if the results were there already.

    Raises:
        DataError, ConfigError, OutputError: in one line, for what a user can mend.
    """
    who = identity(request, scene)
    check_possible(request, scene, target)
    if finished(target, who, resume=resume, overwrite=overwrite):
        return None
    kept = Checkpoint(checkpoints.work_folder(target), who, resume=resume)
    with _dropping(kept, scene.pair):
        scored = score(request, scene, kept, quiet=quiet)
        with checkpoints.as_output_errors(target):
            report = write_results(request, scene, scored, kept, quiet=quiet)
            kept.publish(target, RUN_FILE)
    return report
