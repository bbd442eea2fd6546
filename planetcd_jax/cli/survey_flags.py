"""The flags of `planetcd-survey`, command by command, and what it prints without one."""

from planetcd_jax.cli.commandline import Flag
from planetcd_jax.version import __version__

PROGRAM = "planetcd-survey"

_SURVEY = Flag("output_dir", "str", None, "Folder of the survey; it may be given without the flag's name.")

CATALOGUE = {
    "The survey": (
        _SURVEY,
        Flag("fdr", "float", 0.1, "False discovery rate of the column discovery."),
        Flag("strata", "str", None, "Column whose values are reviewed in turn, such as kind or light_difference; "
             "numbers in thirds. Default: none."),
    )
}  # fmt: skip

MARKS = {
    "The survey": (
        *CATALOGUE["The survey"],
        Flag("merge", "multi", [], "File of exported marks, CSV or JSON; it may be given without the flag's name."),
    )
}

RUN: dict[str, tuple[Flag, ...]] = {
    "The survey": (
        Flag("pairs", "str", None, "CSV with before,after[,id,...]; it may be given without the flag's name."),
        Flag("output_dir", "str", None, "Folder of the survey. A survey that is there goes on."),
        Flag("shard", "str", "1/1", "Part i/n of the pairs, for job arrays: each part has a ledger of its own."),
        Flag("scene", "multi", [], "A flag of planetcd-scene as name=value, such as window=64; repeatable."),
        Flag("program", "str", None, "What scores one pair, taking the flags of planetcd-scene, such as a container's "
             "command line. Default: planetcd-scene of this installation."),
    ),
    "Who does the work": (
        Flag("scheduler", "str", "local", "Address of a running Dask scheduler; local: workers on this machine."),
        Flag("workers", "int", 0, "Local workers. 0: as many as cores and memory allow."),
        Flag("cores", "int", 0, "Cores that each pair keeps to. 0: all, shared."),
        Flag("gpus", "int", 0, "GPUs of this machine: one worker each."),
        Flag("time_limit", "float", 3600.0, "Seconds after which a pair is ended; 0: never."),
        Flag("memory_limit", "float", 0.0, "MB from which on a pair is ended; 0: what is free, divided by the workers; "
             "with --scheduler=ADDRESS none."),
        Flag("wait", "float", 300.0, "Seconds to wait for a scheduler that does not answer."),
        Flag("process_pairs", "int", 100, "Pairs that one process scores before a fresh one takes its place; 1: a "
             "process for each pair. A pair that ends its process costs no other one."),
    ),
    "What comes out": (
        *CATALOGUE["The survey"][1:],
        Flag("catalogue_every", "float", 60.0, "Least seconds between two catalogues while pairs end; more where one "
             "takes long, so that it is at most a thirtieth of the time. 0: at the end only."),
        Flag("quiet", "bool", False, "No progress."),
    ),
}  # fmt: skip

FIND: dict[str, tuple[Flag, ...]] = {
    "The archive": (
        Flag("images", "str", None, "Folder of images, CSV, label of a PDS index table, STAC catalogue (.json) or "
             "address of a STAC API; it may be given without the flag's name."),
        Flag("longitudes", ("auto", "east", "west"), "auto", "How a table counts them; auto: as its label says."),
        Flag("out", "str", "pairs.csv", "Table of pairs to write."),
    ),
    "What makes a pair": (
        Flag("min_overlap", "float", 0.2, "Share of the smaller image that the other covers."),
        Flag("max_resolution_ratio", "float", 2.0, "Larger pixel divided by the smaller."),
        Flag("max_incidence", "float", 85.0, "Incidence of both, degrees."),
        Flag("max_emission", "float", None, "Emission of both, degrees. Default: no bound."),
        Flag("max_incidence_difference", "float", 20.0, "Degrees."),
        Flag("max_emission_difference", "float", 20.0, "Degrees."),
        Flag("max_phase_difference", "float", 40.0, "Degrees."),
        Flag("max_azimuth_difference", "float", 45.0, "Of the sun, degrees."),
        Flag("min_days", "float", 0.0, "Time between both."),
        Flag("max_days", "float", None, "Time between both. Default: no bound."),
        Flag("unknown", ("keep", "drop"), "keep", "Pairs of which a bound cannot be told."),
        Flag("chain", "bool", False, "Of one place only pairs that follow each other in time."),
        Flag("explain", "bool", False, "Write OUT.left_out.csv: images that overlap and make no pair, and why."),
    ),
}  # fmt: skip

STATUS = {"The survey": (_SURVEY, Flag("all", "bool", False, "List every pair that was set aside."))}

RETRY = {
    "The survey": (
        _SURVEY,
        Flag("failed", "bool", False, "Let all pairs that were set aside be tried again."),
        Flag("since", "str", None, "Only those that failed after a time, such as 2026-05-01 or 2026-05-01T12:00."),
        Flag("ids", "str", None, "Only these pairs, with commas between them."),
    )
}

DEMO = {
    "The demo": (
        Flag("demo", "bool", False, "Simulate a small archive, find its pairs, run them and write the index."),
        Flag("output_dir", "str", None, "Folder of the survey. Default: runs/survey-<date>-<time>."),
        Flag("demo_places", "int", 10, "Places of the archive, each seen three times."),
        Flag("workers", "int", 0, "Local workers. 0: as many as cores and memory allow."),
        Flag("quiet", "bool", False, "No progress."),
    )
}

DEMO_SCENES = ["page_candidates=5", "pixel_maps=0", "null_draws=64"]
"""Flags of the scenes of the demo, so that it takes minutes. With fewer null tiles no tail can be fitted, and nothing
could be a discovery."""

USAGE = f"""{PROGRAM} {__version__}: from an archive of images to a catalogue of changes

  planetcd-survey --demo                                  no data: simulates an archive of 30 images and runs on it
  planetcd-survey find --images=FOLDER --out=pairs.csv    which images make pairs
  planetcd-survey run pairs.csv --output_dir=S            score every pair; repeat it to go on
  planetcd-survey catalogue S --strata=kind               the table of all places so far, written anew
  planetcd-survey marks S marks.csv more.json             merge marks that were exported from pages
  planetcd-survey status S                                how far it is, what failed and why
  planetcd-survey retry S --failed                        let what was set aside be tried again

`planetcd-survey COMMAND --help` lists the flags of a command.
"""
