"""What the package knows of a data set, as one record each. A new data set is a new record."""

import dataclasses
import types
from collections.abc import Mapping

from planetcd_jax.errors import DataError
from planetcd_jax.files.own_values import named_value
from planetcd_jax.simulate.ranges import CTX, HIRISE_RSL, LROC, SceneRanges

SPLITS = ("train", "val", "test")
"""Names of splits here; files may say "validation" or "dev" for the second (see `pairs.splits`)."""

PAPER, MARS_BENCH = "paper", "Mars-Bench"
"""Publishers of sets that are counted in `DatasetSpec.published`."""


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """One data set: where it is found, how large its published sets are, and what stands in for it.

    Attributes:
        name: Value of `--dataset`.
        title: Heading of its table of results.
        repository: Owner and name on the Hugging Face hub; None where it is not there.
        zenodo: Words of its record's title in the community `zenodo.COMMUNITY`; None where it has none there.
        publisher: Whose pairs the repository holds, a name in `published`; None where nobody counted them.
        splits: Whether it is published in splits; without, it is read from a table or a folder of before/after files.
        authors_folders: Whether the folders of the authors' public script are this set.
        published: Number of pairs of each published set by (publisher, split).
        grey: Whether coloured files are read as the mean of their bands: True for cameras with one band.
        simulated: Ranges that its simulated stand-in draws from, or None without a stand-in.
        simulated_pairs: Number of pairs of the stand-in by split.

    Raises:
        DataError: if name or title is empty, or a stand-in has ranges and no sizes, or sizes and no ranges.
    """

    name: str
    title: str
    repository: str | None = None
    zenodo: str | None = None
    publisher: str | None = None
    splits: bool = True
    authors_folders: bool = False
    published: Mapping[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    grey: bool = True
    simulated: SceneRanges | None = None
    simulated_pairs: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if not (self.name and self.title):
            raise DataError(f"data set {self.name!r} with title {self.title!r}; give it a name and a title.")
        if (self.simulated is None) != (not self.simulated_pairs):
            raise DataError(f"data set {self.name!r}: give both simulated and simulated_pairs, or neither.")


HIRISE_RSL_SPEC = DatasetSpec(
    name="hirise_rsl",
    title="Table I: HiRISE RSL",
    repository="Mirali33/mb-change_cls_hirise",
    zenodo="change hirise",
    publisher=MARS_BENCH,
    authors_folders=True,
    published={
        (PAPER, "test"): 254,
        (MARS_BENCH, "train"): 3103,
        (MARS_BENCH, "val"): 670,
        (MARS_BENCH, "test"): 670,
    },
    simulated=HIRISE_RSL,
    simulated_pairs={"test": 254, "train": 3103, "val": 670},
)

CTX_SPEC = DatasetSpec(
    name="ctx",
    title="Table II: CTX meteorite impacts",
    repository="Mirali33/mb-change_cls_ctx",
    zenodo="change ctx",
    publisher=MARS_BENCH,
    published={(PAPER, "test"): 96, (MARS_BENCH, "train"): 36, (MARS_BENCH, "val"): 10, (MARS_BENCH, "test"): 10},
    simulated=CTX,
    simulated_pairs={"test": 96, "train": 36, "val": 10},
)

LROC_SPEC = DatasetSpec(
    name="lroc",
    title="LROC Moon data set (section IV-C)",
    splits=False,
    published={(PAPER, "test"): 10},
    simulated=LROC,
    simulated_pairs={"test": 10},
)

PAIRS_SPEC = DatasetSpec(name="pairs", title="All systems on your pairs", splits=False, grey=False)

_REGISTERED = {spec.name: spec for spec in (HIRISE_RSL_SPEC, CTX_SPEC, LROC_SPEC, PAIRS_SPEC)}

DATASETS: Mapping[str, DatasetSpec] = types.MappingProxyType(_REGISTERED)
"""Every registered data set by name; numbers of pairs from Saha & Zhu, section IV-A, and Purohit et al. 2025."""


def register(spec: DatasetSpec) -> DatasetSpec:
    """Adds a data set, so that its name can be used wherever a name is asked for; returns it.

    Raises:
        DataError: if another record has the name.
    """
    if _REGISTERED.setdefault(spec.name, spec) != spec:
        raise DataError(f"data set {spec.name!r} is registered already; choose another name.")
    return spec


def find_spec(dataset: "str | DatasetSpec") -> DatasetSpec:
    """The record of a data set.

    Args:
        dataset: A registered name; "module:NAME", a record in a Python module that can be imported; or the record.

    Raises:
        DataError: if there is no such name. ConfigError: if there is no such module or record.
    """
    if isinstance(dataset, DatasetSpec):
        return dataset
    if ":" in dataset:
        return named_value(dataset, DatasetSpec, "--dataset")
    if dataset not in DATASETS:
        raise DataError(
            f"dataset is {dataset!r}; choose one of {', '.join(DATASETS)}, or name a record of your own as module:NAME."
        )
    return DATASETS[dataset]
