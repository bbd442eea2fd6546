"""What two images must agree on before they are brought together: their colours, and a system for unnamed points."""

from rasterio.crs import CRS

from planetcd_jax.errors import DataError
from planetcd_jax.scenes import body
from planetcd_jax.scenes.source import Source

_UNNAMED = CRS.from_wkt('LOCAL_CS["coordinates of control points",UNIT["unit",1]]')


def check_bands(before: Source, after: Source) -> None:
    """Raises DataError if one image is grey and the other has a colour table that is not."""
    for image, other in ((before, after), (after, before)):
        if image.has_colours and len(other.bands) == 1:
            raise DataError(
                f"{image.name} has a colour table, so it is a picture in red, green and blue, and {other.name} has one "
                "band; give two colour pictures, or the image from which the picture was made."
            )


def agree_on_system(before: Source, after: Source) -> None:
    """Gives control points and RPCs that name no system one that the other image has too, and says so in their notes.

    Where neither image names one, control points of both are taken to be of one system. RPCs are longitudes and
    latitudes of the Earth by their standard; those of an image of another body are of the body that the other image
    names.

    Raises:
        DataError: as `georeference.grid_of`.
    """
    kinds = before.unnamed, after.unnamed
    if kinds == ("control points", "control points"):
        for image in (before, after):
            image.place(_UNNAMED)
            image.note += ", which name no system and are taken to be of one with the other image's"
        return
    for image, other in ((before, after), (after, before)):
        system = other.grid.crs
        if image.unnamed != "RPCs" or other.unnamed or system is None or body.degrees_of(system) is None:
            continue
        if not body.is_same_body(system, image.grid.crs):
            image.place(system)
            image.note += f", taken to be of the body of {other.name}"
