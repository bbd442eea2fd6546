"""One door to every data set."""

import inspect
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from planetcd_jax.errors import DataError
from planetcd_jax.images.missing import MASK_BANDS, parse_nodata
from planetcd_jax.images.stretch import STRETCHES, describe
from planetcd_jax.pairs import contents, hub, packed, user_pairs, zenodo
from planetcd_jax.pairs.composite import COMPOSITES, composite_set, describe_channels, doubts
from planetcd_jax.pairs.cutting import cut_patches
from planetcd_jax.pairs.dataset_spec import DatasetSpec, find_spec
from planetcd_jax.pairs.files import SIZE_MISMATCHES, file_set, hashes
from planetcd_jax.pairs.pair_set import PairSet
from planetcd_jax.pairs.placing import PLACEMENTS
from planetcd_jax.pairs.published import KEY, publisher_of, stand_in, which_pairs
from planetcd_jax.words import counted

SOURCES = ("auto", "real", "simulated")
_HDF5 = (".h5", ".hdf5", ".hdf")


def open_dataset(
    name: str | DatasetSpec,
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
    placement: str = "auto",
    missing: str = "error",
    composite: str = "auto",
) -> PairSet:
    """A data set by name.

    Args:
        name: "hirise_rsl", "ctx", "lroc" (the paper's three), "pairs" (your own), another registered name,
            "module:NAME" of a record of your own, or a `DatasetSpec`.
        data_dir: For sets with splits a folder, .zip, .tar or parquet file of any of `contents.LAYOUTS`; for lroc and
            pairs a folder of before/after files, or an HDF5 file.
        pairs_csv: A table id,before,after[,label], or an HDF5 file; for sets without splits.
        source: "real", "simulated", or "auto": real data from `data_dir`, `pairs_csv`, or the hub if it answers within
            five seconds or a copy of it, or of a record of Zenodo, is stored; else simulated, with the reason in
            `provenance["notes"]`.
        split: For sets with splits: "train", "val", "test" or "all"; None is "test", as in the paper. Sets without
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
        placement: "auto": by the files' grids where both dates have one and these differ; "pixels": pixel on pixel.
        missing: "error", or "keep": pairs with a missing file stay in the set and raise BadPairError when read.
        composite: What the channels hold where one RGB image holds both dates, see `composite.COMPOSITES`.

    Returns:
        A `PairSet`. `provenance` tells which pairs they are, layout, files, hashes, commit, stretch and notes.

    Raises:
        DataError: if an argument is wrong, or the data are not there, with what to do.
    """
    spec = find_spec(name)
    _check_choices(
        source=(source, SOURCES),
        size_mismatch=(size_mismatch, SIZE_MISMATCHES),
        placement=(placement, PLACEMENTS),
        missing=(missing, user_pairs.MISSING),
        stretch=(stretch, STRETCHES),
        composite=(composite, COMPOSITES),
        mask_bands=(mask_bands, MASK_BANDS),
    )
    describe(stretch)
    nodata = parse_nodata(nodata, "value of --nodata")
    reading = {
        "stretch": stretch,
        "grey": spec.grey if grey is None else grey,
        "nodata": nodata,
        "mask_bands": mask_bands,
        "size_mismatch": size_mismatch,
        "placement": placement,
    }
    asked = _Asked(spec, data_dir, pairs_csv, source, split, revision, seed, missing, composite, reading)
    if source == "simulated":
        pairs = _simulated(asked, [])
    else:
        pairs = _published(asked) if spec.splits else _own(asked)
    return pairs if patch_size is None else _cut(pairs, patch_size, margin)


def open_as_asked(settings: Mapping[str, Any], **others: Any) -> PairSet:
    """`open_dataset` with what flags say: every argument of it that is among `settings`, by its name.

    Args:
        settings: Values by name, those of other arguments too. "dataset" is the data set's name.
        others: Arguments that have no flag, or take another value than the flag's.
    """
    known = inspect.signature(open_dataset).parameters
    chosen = {name: value for name, value in settings.items() if name in known} | others
    return open_dataset(chosen.pop("name", settings["dataset"]), **chosen)


class _Asked(NamedTuple):
    """What `open_dataset` was asked for; `reading` holds the options of `file_set`."""

    spec: DatasetSpec
    data_dir: str | None
    pairs_csv: str | None
    source: str
    split: str | None
    revision: str
    seed: int
    missing: str
    composite: str
    reading: dict[str, Any]


class UnknownContents(DataError):
    """The hub answered, and what it holds cannot be read as pairs."""


def _cut(images: PairSet, patch_size: int, margin: int) -> PairSet:
    """The set cut into patches, which are no published pairs any more where an image gave several."""
    pairs = cut_patches(images, patch_size, margin)
    if KEY in images.provenance and len(pairs) != len(images):
        title = f"{counted(len(pairs), 'patch', 'patches')} of: {images.provenance[KEY]['title']}"
        pairs.provenance[KEY] = {**images.provenance[KEY], "publisher": None, "count": len(pairs), "title": title}
    return pairs


def _published(asked: _Asked) -> PairSet:
    """A set with splits: from a folder or archive, from the hub, from a stored record of Zenodo, or simulated."""
    name = asked.spec.name
    if asked.pairs_csv is not None:
        raise DataError(f"--pairs_csv is for --dataset=pairs and lroc; {name} is read from --data_dir or the hub.")
    if asked.data_dir is not None:
        return _unless_made_up(asked, _from_files(asked, pathlib.Path(asked.data_dir), {}))
    try:
        return _from_hub(asked)
    except (hub.HubUnreachable, UnknownContents) as err:
        kept = zenodo.stored(asked.spec)
        if kept is not None:
            return _unless_made_up(asked, _from_files(asked, *kept))
        if asked.source == "real" or asked.spec.simulated is None:
            raise
        return _simulated(asked, [f"SIMULATED data are used instead of {name}: {err}"])


def _from_hub(asked: _Asked) -> PairSet:
    repository = asked.spec.repository
    if repository is None:
        raise hub.HubUnreachable(f"{asked.spec.name} is on no hub; name its folder by --data_dir.")
    root, facts = hub.fetch(
        repository, asked.revision, choose=lambda names: contents.files_to_fetch(names, asked.split)
    )
    try:
        return _unless_made_up(asked, _from_files(asked, root, facts))
    except DataError as err:
        raise UnknownContents(f"{repository} at commit {facts['commit']}: {err}") from err


def _from_files(asked: _Asked, path: pathlib.Path, facts: dict[str, Any]) -> PairSet:
    """The pairs below a path, in any layout; `facts` is what is known of their origin."""
    spec = asked.spec
    pairs, is_composite, more = contents.read_contents(path, spec, asked.split)
    facts = {**facts, **more, "notes": [*facts.get("notes", ()), *more.get("notes", ())]}
    made_up = facts.get("source") == "simulated"
    publisher = publisher_of(spec, facts)
    facts[KEY] = (stand_in if made_up else which_pairs)(spec, len(pairs), facts.get("split"), publisher)
    if is_composite:
        channels, facts["composite"] = describe_channels(pairs, asked.composite, str(path))
        facts["notes"] += doubts(facts["composite"])
        how = {name: asked.reading[name] for name in ("stretch", "nodata")}
        found = composite_set(spec.name, pairs, channels, provenance=facts, **how)
    else:
        found = file_set(spec.name, pairs, provenance=facts, **asked.reading)
    found.source = "simulated" if made_up else "real"
    return found


def _unless_made_up(asked: _Asked, pairs: PairSet) -> PairSet:
    """The set, unless real pairs were asked for and its file says that it holds simulated ones."""
    if asked.source == "real" and pairs.source == "simulated":
        where = asked.pairs_csv or asked.data_dir or asked.spec.repository
        pairs.close()
        raise DataError(f"{where}: its pairs say that they are simulated; name real ones, or leave --source out.")
    return pairs


def _own(asked: _Asked) -> PairSet:
    """A set without splits: from a table, an HDF5 file or a folder; where it has a stand-in, also simulated."""
    name = asked.spec.name
    if asked.data_dir is not None and asked.pairs_csv is not None:
        raise DataError("--data_dir and --pairs_csv are both given; give the one that holds your pairs.")
    given = asked.data_dir if asked.pairs_csv is None else asked.pairs_csv
    if given is None:
        advice = "give a folder by --data_dir, or a table or HDF5 file by --pairs_csv"
        if asked.spec.simulated is not None and asked.source == "auto":
            return _simulated(asked, [f"SIMULATED data are used instead of {name}: no --data_dir; {advice}."])
        raise DataError(f"--dataset={name} needs your data: {advice}.")
    path = pathlib.Path(given)
    _no_split(name, asked.split, str(path))
    return _from_hdf5(asked, path) if path.suffix.lower() in _HDF5 else _from_own_files(asked, path)


def _from_hdf5(asked: _Asked, path: pathlib.Path) -> PairSet:
    reading = {key: asked.reading[key] for key in ("stretch", "nodata", "mask_bands")}
    pairs = packed.packed_set(path, name=asked.spec.name, **reading)
    _unless_made_up(asked, pairs)
    told = stand_in if pairs.source == "simulated" else which_pairs
    pairs.provenance[KEY] = told(asked.spec, len(pairs), None, None)
    return pairs


def _from_own_files(asked: _Asked, path: pathlib.Path) -> PairSet:
    """From a table, or a folder whose names tell the dates apart."""
    read = user_pairs.folder_pairs if asked.pairs_csv is None else user_pairs.csv_pairs
    pairs, facts = read(path, asked.missing)
    facts = {**facts, KEY: which_pairs(asked.spec, len(pairs), None, None)}
    if asked.spec.published:
        root = path if asked.pairs_csv is None else path.parent
        files = [f for p in pairs for f in (p.before, p.after) if f.is_file() and f.is_relative_to(root)]
        facts = {**facts, "sha256": {**facts.get("sha256", {}), **hashes(files, root)}}
    return file_set(asked.spec.name, pairs, provenance=facts, **asked.reading)


def _simulated(asked: _Asked, notes: list[str]) -> PairSet:
    from planetcd_jax.pairs.simulated import simulated_set

    spec = asked.spec
    if spec.simulated is None:
        raise DataError(f"--dataset={spec.name} has no simulated stand-in; choose hirise_rsl, ctx or lroc.")
    pairs = simulated_set(spec, split=asked.split, seed=asked.seed)
    pairs.provenance |= {"notes": notes, KEY: stand_in(spec, len(pairs), asked.split, None)}
    return pairs


def _no_split(name: str, split: str | None, where: str) -> None:
    if split not in (None, "all"):
        raise DataError(f"{where}: has no splits, so --split={split} cannot be chosen for {name}; leave --split out.")


def _check_choices(**choices: tuple[str, tuple[str, ...]]) -> None:
    for option, (value, allowed) in choices.items():
        if value not in allowed:
            raise DataError(f"{option} is {value!r}; choose one of {', '.join(allowed)}.")
