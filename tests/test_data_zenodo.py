"""`--fetch` from Zenodo, against a stand-in on this machine: sizes first, broken downloads gone on with, checksums."""

import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
from image_files import write_image
from zenodo_server import Zenodo, serving

from planetcd_jax import main
from planetcd_jax.errors import DataError
from planetcd_jax.pairs import hub, open_dataset, zenodo

TITLE = "Mars-Bench: Change Classification (CTX)"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Bytes of a zip with two test pairs and a train pair in Mars-Bench's layout."""
    root, rng = tmp_path_factory.mktemp("made"), np.random.default_rng(0)
    rows, packed = ["file_id,split,feature_name,label"], io.BytesIO()
    with zipfile.ZipFile(packed, "w") as out:
        for split, name, label in (("test", "a", 1), ("test", "b", 0), ("train", "c", 1)):
            rows.append(f"{name}_before.png,{split},impact,{label}")
            for date in ("before", "after"):
                image = root / f"{name}_{date}.png"
                write_image(image, rng.integers(0, 255, (40, 40), np.uint8))
                out.write(image, f"change_ctx/data/{split}/impact/{image.name}")
        out.writestr("change_ctx/annotation.csv", "\n".join(rows) + "\n")
    return packed.getvalue()


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A cache of its own, no hub, and no pause before a file is gone on with."""

    def unreachable(repository, revision, **kwargs):
        raise hub.HubUnreachable(f"{repository}: the hub is not reachable")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "fetch", unreachable)
    monkeypatch.setattr(zenodo, "PAUSE_S", 0.0)
    return tmp_path


def _fetch(monkeypatch, capsys, served, *flags):
    """Exit status, output and error of `planetcd --fetch=ctx`, words apart by one blank each."""
    with serving(served) as address:
        monkeypatch.setattr(zenodo, "ENDPOINT", address)
        status = main.execute(["--fetch=ctx", *flags])
    said = capsys.readouterr()
    return status, " ".join(said.out.split()), said.err


def test_the_record_is_found_told_fetched_once_and_read_without_a_network(alone, archive, monkeypatch, capsys):
    readme = {"README.md": b"about"}
    served = Zenodo({7: (TITLE, {"ctx.zip": archive, **readme}), 8: ("Mars-Bench: Frost", {"frost.zip": b"x"})})
    status, said, _ = _fetch(monkeypatch, capsys, served, "--archive=zenodo")
    folder = alone / "cache/planetcd_jax/zenodo/ctx-7"
    assert status == 0 and f"record 7 of Zenodo, {TITLE!r}: 1 file, {len(archive) / 1000:.1f} kB: ctx.zip" in said
    assert said.index("1 file") < said.index(str(folder))
    kept = next((alone / "cache").rglob("*.sha256")).read_text()
    assert kept == f"{hashlib.sha256(archive).hexdigest()}  {folder / 'ctx.zip'}\n"  # oracle: hashlib

    pairs = open_dataset("ctx", split="all", source="real")
    assert pairs.source == "real" and pairs.labels.tolist() == [1, 0, 1]
    facts = pairs.provenance
    assert (facts["zenodo_record"], facts["doi"], facts["layout"]) == (7, "10.5281/zenodo.7", "Mars-Bench archive")
    assert facts["pairs"]["title"] == "Mars-Bench all, 3 pairs where 56 are published"
    assert any("record 7 of Zenodo" in note for note in facts["notes"])

    served.requests.clear()
    assert _fetch(monkeypatch, capsys, served, "--archive=zenodo:7")[0] == 0
    assert served.requests == ["/api/records/7"]  # the file is whole: only the record was asked for


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_broke_goes_on_where_it_ended(alone, archive, monkeypatch, capsys, ranges):
    served = Zenodo({7: (TITLE, {"ctx.zip": archive})}, ranges=ranges, cuts=[1000, 500])
    assert _fetch(monkeypatch, capsys, served, "--archive=zenodo:7")[0] == 0
    assert (alone / "cache/planetcd_jax/zenodo/ctx-7/ctx.zip").read_bytes() == archive
    asked = [request.partition(" ")[2] for request in served.requests if "content" in request]
    # oracle: 1000 bytes came, then 500; a server without ranges sends the first bytes again
    assert asked == (["", "bytes=1000-", "bytes=1500-"] if ranges else ["", "bytes=1000-", "bytes=500-"])


def test_a_download_that_keeps_breaking_is_kept_and_the_next_command_goes_on(alone, archive, monkeypatch, capsys):
    served = Zenodo({7: (TITLE, {"ctx.zip": archive})}, cuts=[100] * zenodo.TRIES)
    status, _, told = _fetch(monkeypatch, capsys, served, "--archive=zenodo:7")
    assert status == 1 and f"after {100 * zenodo.TRIES} of {len(archive)} bytes; these are kept" in told
    with pytest.raises(DataError, match="SIMULATED|hub"):
        open_dataset("ctx", source="real")  # half an archive is no data set
    assert _fetch(monkeypatch, capsys, served, "--archive=zenodo:7")[0] == 0
    assert served.requests[-1].endswith(f"bytes={100 * zenodo.TRIES}-")
    assert (alone / "cache/planetcd_jax/zenodo/ctx-7/ctx.zip").read_bytes() == archive


def test_what_is_not_as_zenodo_says_is_not_kept(alone, archive, monkeypatch, capsys):
    served = Zenodo({7: (TITLE, {"ctx.zip": archive})}, md5="0" * 32)
    status, _, told = _fetch(monkeypatch, capsys, served, "--archive=zenodo:7")
    assert status == 1 and "does not have the MD5 that Zenodo gives" in told
    assert not any(path.is_file() for path in (alone / "cache/planetcd_jax/zenodo").rglob("*"))


@pytest.mark.parametrize(
    ("records", "flags", "told"),
    [
        ({7: (TITLE, {}), 8: ("CTX change", {})}, ["--archive=zenodo"], "2 records of Zenodo's community mars-bench"),
        ({8: ("Frost", {})}, ["--archive=zenodo"], "found none. Choose one by --archive=zenodo:NUMBER"),
        ({8: ("Frost", {})}, ["--archive=zenodo:9"], "404 Not Found; check the number of the record"),
        ({8: ("Frost", {})}, ["--archive=zenodo:8"], "record 8 of Zenodo shows no files"),
        ({8: ("Frost", {"../x.zip": b""})}, ["--archive=zenodo:8"], "an answer of another form"),
        ({}, ["--archive=ftp"], "wanted zenodo, or zenodo:NUMBER"),
        ({}, ["--archive=zenodo:8", "--split=test"], "a record of Zenodo is fetched whole; leave --split out"),
        ({}, ["--archive=zenodo:8", "--fetch=lroc"], "lroc is in no archive; name your own folder by --data_dir"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(alone, monkeypatch, capsys, records, flags, told):
    status, _, error = _fetch(monkeypatch, capsys, Zenodo(records), *flags)
    assert status == 1 and told in error and error.count("\n") == 1


def test_a_zenodo_that_does_not_answer_is_one_line(alone, monkeypatch, capsys):
    with serving(Zenodo({})) as address:
        monkeypatch.setattr(zenodo, "ENDPOINT", address)
    assert main.execute(["--fetch=ctx", "--archive=zenodo"]) == 1  # nobody listens there any more
    error = capsys.readouterr().err
    assert "no answer" in error and "check the network" in error and error.count("\n") == 1


def test_archive_without_fetch_is_refused(capsys):
    assert main.execute(["--dataset=ctx", "--archive=zenodo"]) == 2
    assert "give --fetch too" in capsys.readouterr().err


def test_what_is_kept_of_a_record_can_be_read_again(alone, archive, monkeypatch, capsys):
    served = Zenodo({7: (TITLE, {"ctx.zip": archive})})
    assert zenodo.stored(zenodo_spec()) is None
    assert _fetch(monkeypatch, capsys, served, "--archive=zenodo:7")[0] == 0
    folder, facts = zenodo.stored(zenodo_spec())
    known = json.loads((folder / ".record.json").read_text())
    assert known["title"] == TITLE and known["files"][0]["md5"] == hashlib.md5(archive).hexdigest()
    assert facts["zenodo_record"] == 7


def zenodo_spec():
    from planetcd_jax.pairs import find_spec

    return find_spec("ctx")
