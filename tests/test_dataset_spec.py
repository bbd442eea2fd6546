"""A data set is one record: registered, imported by name, or handed over; and which published pairs a set is."""

import dataclasses
import pathlib
import subprocess
import sys

import pytest

from planetcd_jax.baselines.systems import PAPER_TEST_PAIRS
from planetcd_jax.errors import DataError, PlanetCDError
from planetcd_jax.pairs import DATASETS, DatasetSpec, find_spec, open_dataset, register
from planetcd_jax.pairs.dataset_spec import CTX_SPEC, HIRISE_RSL_SPEC, LROC_SPEC
from planetcd_jax.pairs.published import is_papers, published_count, publisher_of, which_pairs

FIXTURES = pathlib.Path(__file__).parent / "hub_fixtures"

OWN = """
from planetcd_jax.pairs import DatasetSpec
MERCURY = DatasetSpec(name="mercury", title="Hollows on Mercury", published={("Hollow Bench", "test"): 6})
NOTHING = 3
"""


def test_a_new_data_set_is_one_record(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    for dataset in ("mine:MERCURY", find_spec("mine:MERCURY")):
        pairs = open_dataset(dataset, data_dir=str(FIXTURES / "columns"), source="real")
        assert (pairs.name, len(pairs)) == ("mercury", 6)
    monkeypatch.setattr("planetcd_jax.pairs.dataset_spec._REGISTERED", dict(DATASETS))
    with pytest.raises(DataError, match="data set 'ctx' is registered already"):
        register(dataclasses.replace(CTX_SPEC, grey=False))
    assert register(CTX_SPEC) is CTX_SPEC


@pytest.mark.parametrize(
    ("dataset", "text"),
    [
        ("venus", "dataset is 'venus'; choose one of hirise_rsl, ctx, lroc, pairs, or name a record of your own"),
        ("no_such_module:X", "there is no module 'no_such_module'; give module:NAME of a module in this folder"),
        ("mine:ABSENT", "mine has no 'ABSENT'; name a DatasetSpec that it defines"),
        ("mine:NOTHING", "is int; name a DatasetSpec"),
    ],
)
def test_what_is_no_record_is_told(tmp_path, monkeypatch, dataset, text):
    (tmp_path / "mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PlanetCDError, match=text) as err:
        find_spec(dataset)
    assert "\n" not in str(err.value)


def test_a_record_says_what_it_lacks():
    with pytest.raises(DataError, match="give it a name and a title"):
        DatasetSpec(name="x", title="")
    with pytest.raises(DataError, match="give both simulated and simulated_pairs"):
        DatasetSpec(name="x", title="X", simulated_pairs={"test": 3})
    with pytest.raises(DataError, match="--dataset=pairs has no simulated stand-in"):
        open_dataset("pairs", source="simulated")


@pytest.mark.slow
def test_the_command_line_takes_a_module_beside_the_user(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    command = "import sys; from planetcd_jax.main import run; sys.argv[0] = 'planetcd'; run()"
    flags = ["--dataset=mine:MERCURY", f"--data_dir={FIXTURES / 'columns'}", "--method=rcva", "--num_devices=1"]
    flags += ["--figures=0", "--output_dir=out"]
    done = subprocess.run([sys.executable, "-P", "-c", command, *flags], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "mercury: Hollow Bench test, 6 pairs (by their number), real data" in " ".join(done.stdout.split())


def test_published_sets_are_counted():
    assert {name: DATASETS[name].published["paper", "test"] for name in PAPER_TEST_PAIRS} == dict(PAPER_TEST_PAIRS)
    assert published_count(CTX_SPEC, "Mars-Bench", "all") == 56
    assert published_count(HIRISE_RSL_SPEC, "Mars-Bench", "all") == 3103 + 670 + 670


@pytest.mark.parametrize(
    ("spec", "count", "split", "publisher", "title", "papers"),
    [
        (CTX_SPEC, 10, "test", "Mars-Bench", "Mars-Bench test, 10 pairs", False),
        (CTX_SPEC, 56, "all", "Mars-Bench", "Mars-Bench all, 56 pairs", False),
        (CTX_SPEC, 96, "test", None, "paper test, 96 pairs (by their number)", True),
        (CTX_SPEC, 96, "test", "Mars-Bench", "Mars-Bench test, 96 pairs where 10 are published", False),
        (HIRISE_RSL_SPEC, 254, None, "paper", "paper test, 254 pairs", True),
        (HIRISE_RSL_SPEC, 600, None, "paper", "paper test, 600 pairs where 254 are published", False),
        (HIRISE_RSL_SPEC, 670, "val", "Mars-Bench", "Mars-Bench val, 670 pairs", False),
        (LROC_SPEC, 10, None, None, "paper test, 10 pairs (by their number)", True),
        (LROC_SPEC, 11, None, None, "of no published set, 11 pairs", False),
    ],
)
def test_which_pairs(spec, count, split, publisher, title, papers):
    found = which_pairs(spec, count, split, publisher)
    assert found["title"] == title and is_papers({"pairs": found}) == papers


def test_the_publisher_is_known_by_origin():
    assert publisher_of(CTX_SPEC, {"repository": "a/b", "layout": "parquet"}) == "Mars-Bench"
    assert publisher_of(CTX_SPEC, {"layout": "Mars-Bench archive"}) == "Mars-Bench"
    assert publisher_of(HIRISE_RSL_SPEC, {"layout": "authors"}) == "paper"
    assert publisher_of(CTX_SPEC, {"layout": "imagefolder"}) is None
    assert which_pairs(DATASETS["pairs"], 7, None, None)["title"] == "your own, 7 pairs"
    simulated = open_dataset("lroc", source="simulated")
    assert not is_papers(simulated.provenance) and "SIMULATED" in simulated.provenance["pairs"]["title"]
