"""The flags of the program for scenes, by groups, and the text above them in --help."""

from planetcd_jax import constants
from planetcd_jax.cli import commandline
from planetcd_jax.cli.commandline import Flag
from planetcd_jax.version import __version__

PROGRAM = "planetcd-scene"

FLAGS: dict[str, tuple[Flag, ...]] = {
    "The images": (
        Flag(
            "before",
            "files",
            None,
            "First image: any file or URL that GDAL reads. Results lie on its grid. Repeatable: places say on which of "
            "several before-images they are there, and ground that did not change between these helps to set tau.",
        ),
        Flag("after", "str", None, "Second image; brought to the grid of the first."),
        Flag(
            "times",
            "str",
            None,
            "With several --before: UTC times of all of them in turn and of --after, such as "
            "2010-05-01,2012-03-07T10:20:30,2014-01-09. Default: what the labels state; where one states none, the "
            "order of the flags counts.",
        ),
        Flag("demo", "bool", False, "Simulate a pair on Mars, write it to <output_dir>-images, and run on it."),
        Flag("demo_size", "int", 3000, "Side of the simulated images, pixels."),
        Flag("before_bands", "str", None, "Bands to use, counted from 1, such as 1 or 3,2,1. Default: all but alpha."),
        Flag("after_bands", "str", None, "The same for the second image. Default: as many, from the first."),
        Flag("before_nodata", "str", "auto", "Value to mask, as stored; auto: what the file says; none: nothing."),
        Flag("after_nodata", "str", "auto", "The same for the second image."),
        commandline.MASK_BANDS,
        Flag(
            "resampling",
            ("nearest", "bilinear", "cubic", "lanczos"),
            "cubic",
            "How the second image is interpolated; all but nearest average where its pixels are smaller.",
        ),
        Flag(
            "register",
            ("auto", "none", "shift", "affine", "homography", "file"),
            "auto",
            "How the second image is registered to the first as a whole; auto: where needed, by the stiffest model "
            "that does; none: as it lies, unchecked; file: by the tie points of --gcps.",
        ),
        Flag("gcps", "str", None, "Tie points for --register=file: .points of QGIS, ISIS control network, or CSV."),
        Flag(
            "after_shift",
            "str",
            "auto",
            "Misregistration to correct: whole pixels by which the second image lies down and right of the first, "
            "such as 4,-7; 0,0 for none; auto: what is measured, where many places agree on it.",
        ),
    ),
    "The windows": (
        Flag("window", "int", 100, "Side of a window, pixels; a multiple of 4."),
        Flag("stride", "int", 24, "Step from one window to the next, pixels; a multiple of 4."),
        Flag("min_valid", "float", 0.5, "Share of a window that must be valid in both images."),
        Flag(
            "chunk",
            "int",
            1024,
            "Side of what is scored at once, pixels: memory and speed, not results. Not used by robust.",
        ),
        Flag("null_draws", "int", constants.NULL_DRAWS, "Pseudo-unchanged tiles (of up to 16 windows) for tau."),
    ),
    "The method": (
        Flag("preset", constants.PRESET_NAMES, "robust", "Settings that the flags below change one by one."),
        *commandline.METHOD,
        Flag("weights", "str", None, "Weights file. Default: the shipped VGG-16."),
        Flag("noise_sigma", "float", None, "Standard deviation of the noise of pseudo-unchanged tiles, images 0 to 1."),
        Flag("max_shift", "int", None, "Largest shift of a pseudo-unchanged tile, pixels."),
        Flag("quantile", "float", None, "Share of pseudo-unchanged scores at or below tau."),
        *commandline.RATES,
        Flag("stable_ground", "str", None, "Polygons of unchanged ground to take null scores from. Default: none."),
        Flag("precision", constants.PRECISIONS, None, "Arithmetic of the network."),
        commandline.ENGINE,
        Flag("set", "multi", [], "Any other setting as field=value, such as feature_standardize=True; repeatable."),
        Flag("seed", "int", 0, "Decides every random draw."),
    ),
    "What comes out": (
        Flag("output_dir", "str", None, "Folder for the results. Default: runs/scene-<date>-<time>."),
        Flag("overwrite", "bool", False, "Whether earlier results in --output_dir may be replaced."),
        Flag("resume", "bool", False, "Go on where a run with the same settings and --output_dir was killed."),
        Flag("page_candidates", "int", 60, "Most candidates on the page, 1 to 500; those below tau fill it up."),
        Flag("pixel_maps", "int", 20, "Candidates, from the first, whose pixel maps are written as GeoTIFF."),
        Flag("parquet", "bool", False, "Write candidates.parquet (GeoParquet) too."),
        Flag(
            "marks",
            "str",
            None,
            "Marks that report.html has saved (JSON or CSV): writes the accepted places of --output_dir to its "
            "accepted.gpkg, and does nothing else.",
        ),
        Flag("quiet", "bool", False, "No progress bars."),
        commandline.COMPILATION_CACHE,
    ),
}  # fmt: skip

USAGE = f"""{PROGRAM} {__version__}: where do these two images of one place differ?

  python -m planetcd_jax.scene --before=A.tif --after=B.jp2 --output_dir=out
  python -m planetcd_jax.scene --demo

Then open report.html in the output folder. Marks that were set and saved there become a GeoPackage by

  python -m planetcd_jax.scene --marks=marks.json --output_dir=out
"""
