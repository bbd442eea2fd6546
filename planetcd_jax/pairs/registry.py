"""One door to every data set."""

import pathlib
from typing import Any

from planetcd_jax.errors import DataError
from planetcd_jax.images.missing import MASK_BANDS, parse_nodata
from planetcd_jax.images.stretch import STRETCHES, describe
from planetcd_jax.pairs import hub, layouts, packed, user_pairs
from planetcd_jax.pairs.cutting import cut_patches
from planetcd_jax.pairs.files import SIZE_MISMATCHES, file_set, hashes
from planetcd_jax.pairs.pair_set import PairSet

DATASETS = ("hirise_rsl", "ctx", "lroc", "pairs")
SOURCES = ("auto", "real", "simulated")
_GREY = ("hirise_rsl", "ctx", "lroc")
_HDF5 = (".h5", ".hdf5", ".hdf")


def open_dataset(
    name: str,
    *,
    data_dir: str | None = None,
    pairs_csv: str | None = None,
    source: str = "auto",
    split: str | None = None,
    revision: str = "main",
    patch_size: int | None = None,
    margin: int = 10,
    stretch: str = "auto",
    seed: int = 0,
    grey: bool | None = None,
    nodata: float | str | None = "auto",
    mask_bands: str = "any",
    size_mismatch: str = "error",
    missing: str = "error",
) -> PairSet:
    """A data set by name.

    Args:
        name: "hirise_rsl", "ctx", "lroc" (the paper's three) or "pairs" (your own).
        data_dir: For hirise_rsl and ctx a folder in the Mars-Bench layout (hirise_rsl: or the authors' original
            folders); for lroc and pairs a folder of before/after files, or an HDF5 file.
        pairs_csv: A table id,before,after[,label], or an HDF5 file; for lroc and pairs.
        source: "real", "simulated", or "auto": real data from `data_dir`, `pairs_csv`, or the hub if it answers within
            five seconds or a copy is stored; else simulated, with the reason in `provenance["notes"]`.
        split: For hirise_rsl and ctx: "train", "val", "test" or "all"; None is "test", as in the paper. Sets without
            splits take None and "all".
        revision: Branch, tag or commit on the hub.
        patch_size: Cut larger images into square patches of this side, pixels.
        margin: Margin of true pixels around each cut patch in `Pair.context`, pixels.
        stretch: "auto", "dtype", "percentile" or "none" (see `stretch.describe`); for files.
        seed: Of the simulated sets.
        grey: Read coloured files as the mean of their bands. None is True for the paper's sets, whose cameras have one
            band, and False for your own pairs, where the file's shape decides.
        nodata: A value that means no data, beside what files say themselves; "auto" (None is the same), or "none".
        mask_bands: "any" or "all": in how many bands a pixel must be no data to be missing.
        size_mismatch: "error", or "crop" to the centre that two images of different size share.
        missing: "error", or "keep": pairs with a missing file stay in the set and raise BadPairError when read.

    Returns:
        A `PairSet`. `provenance` tells layout, files, hashes, commit, stretch and notes.

    Raises:
        DataError: if an argument is wrong, or the data are not there, with what to do.
    """
    _check_choices(
        dataset=(name, DATASETS),
        source=(source, SOURCES),
        size_mismatch=(size_mismatch, SIZE_MISMATCHES),
        missing=(missing, user_pairs.MISSING),
        stretch=(stretch, STRETCHES),
        mask_bands=(mask_bands, MASK_BANDS),
    )
    describe(stretch)
    nodata = parse_nodata(nodata, "value of --nodata")
    options = {
        "stretch": stretch,
        "grey": name in _GREY if grey is None else grey,
        "nodata": nodata,
        "mask_bands": mask_bands,
        "size_mismatch": size_mismatch,
    }
    if source == "simulated":
        pairs = _simulated(name, split, seed, [])
    elif name in hub.REPOSITORIES:
        pairs = _published(name, data_dir, pairs_csv, source, split, revision, seed, options)
    else:
        pairs = _own(name, data_dir, pairs_csv, source, split, missing, seed, options)
    return pairs if patch_size is None else cut_patches(pairs, patch_size, margin)


def _published(name, data_dir, pairs_csv, source, split, revision, seed, options: dict[str, Any]) -> PairSet:
    """hirise_rsl or ctx: from a folder, from the hub, or simulated."""
    if pairs_csv is not None:
        raise DataError(f"--pairs_csv is for --dataset=pairs and lroc; {name} is read from --data_dir or the hub.")
    if data_dir is not None:
        return _from_folder(name, pathlib.Path(data_dir), split, options, {})
    patterns = None if split == "all" else [layouts.ANNOTATION, f"data/{split or 'test'}/*"]
    try:
        root, facts = hub.fetch(hub.REPOSITORIES[name], revision, patterns=patterns)
        if not (root / layouts.ANNOTATION).is_file():
            raise hub.HubUnreachable(
                f"{hub.REPOSITORIES[name]} at commit {facts['commit']} has no {layouts.ANNOTATION}, so it is not in "
                "the Mars-Bench layout; fetch that from Zenodo and name its folder by --data_dir, or choose a "
                "--revision that has it."
            )
    except hub.HubUnreachable as err:
        if source == "real":
            raise
        return _simulated(name, split, seed, [f"SIMULATED data are used instead of {name}: {err}"])
    return _from_folder(name, root, split, options, facts)


def _from_folder(name: str, root: pathlib.Path, split, options: dict[str, Any], facts: dict[str, Any]) -> PairSet:
    if (root / layouts.ANNOTATION).is_file():
        pairs, more = layouts.mars_bench(root, split)
    elif name == "hirise_rsl" and layouts.has_authors_layout(root):
        _no_split(name, split, f"{root}: the authors' folders")
        pairs, more = layouts.authors_folders(root)
    else:
        wanted = f"{layouts.ANNOTATION} (Mars-Bench layout)"
        wanted += f" or {layouts.AUTHORS_IMAGES} (the authors' folders)" if name == "hirise_rsl" else ""
        found = sorted(p.name for p in root.iterdir())[:8] if root.is_dir() else None
        seen = "no such folder" if found is None else f"found {', '.join(found) or 'nothing'}"
        raise DataError(f"{root}: {seen}; wanted {wanted}; correct --data_dir, or use --source=simulated.")
    notes = [*facts.get("notes", ()), *more.get("notes", ())]
    return file_set(name, pairs, provenance={**facts, **more, "notes": notes}, **options)


def _own(name, data_dir, pairs_csv, source, split, missing, seed, options: dict[str, Any]) -> PairSet:
    """lroc or pairs: from a table, an HDF5 file or a folder; lroc also simulated."""
    if data_dir is not None and pairs_csv is not None:
        raise DataError("--data_dir and --pairs_csv are both given; give the one that holds your pairs.")
    if data_dir is None and pairs_csv is None:
        advice = "give a folder by --data_dir, or a table or HDF5 file by --pairs_csv"
        if name == "lroc" and source == "auto":
            return _simulated(name, split, seed, [f"SIMULATED data are used instead of lroc: no --data_dir; {advice}."])
        raise DataError(f"--dataset={name} needs your data: {advice}.")
    path = pathlib.Path(pairs_csv or data_dir)
    _no_split(name, split, str(path))
    if path.suffix.lower() in _HDF5:
        return packed.packed_set(path, name=name, **{key: options[key] for key in ("stretch", "nodata", "mask_bands")})
    if pairs_csv is not None:
        pairs, facts = user_pairs.csv_pairs(path, missing)
    else:
        pairs, facts = user_pairs.folder_pairs(path, missing)
    if name == "lroc":
        root = path if data_dir is not None else path.parent
        files = [f for p in pairs for f in (p.before, p.after) if f.is_file() and f.is_relative_to(root)]
        facts = {**facts, "sha256": {**facts.get("sha256", {}), **hashes(files, root)}}
    return file_set(name, pairs, provenance=facts, **options)


def _simulated(name: str, split: str | None, seed: int, notes: list[str]) -> PairSet:
    from planetcd_jax.pairs.simulated import simulated_set

    if name == "pairs":
        raise DataError("--dataset=pairs has no simulated stand-in; choose hirise_rsl, ctx or lroc.")
    pairs = simulated_set(name, split=split, seed=seed)
    pairs.provenance["notes"] = notes
    return pairs


def _no_split(name: str, split: str | None, where: str) -> None:
    if split not in (None, "all"):
        raise DataError(f"{where}: has no splits, so --split={split} cannot be chosen for {name}; leave --split out.")


def _check_choices(**choices: tuple[str, tuple[str, ...]]) -> None:
    for option, (value, allowed) in choices.items():
        if value not in allowed:
            raise DataError(f"{option} is {value!r}; choose one of {', '.join(allowed)}.")
