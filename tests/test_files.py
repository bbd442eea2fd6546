"""Files and folders that are there whole or not at all, digests, JSON."""

import errno
import hashlib
import json
import os

import pytest

from planetcd_jax.errors import DataError, OutputError
from planetcd_jax.files import digests, folders, json_files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_name_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with folders.whole_file(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_file_that_is_not_ended_leaves_what_was_there(tmp_path, error):
    folders.write_whole(tmp_path / "a.txt", b"old")
    with pytest.raises(error), folders.whole_file(tmp_path / "a.txt") as file:
        file.write(b"half")
        raise error
    assert (tmp_path / "a.txt").read_bytes() == b"old" and names(tmp_path) == ["a.txt"]


def test_a_folder_replaces_the_earlier_one_in_one_step(tmp_path):
    old, new = tmp_path / "run", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / f"{folder.name}.txt").touch()
    (tmp_path / ".run.old").mkdir()  # left by a program that was killed here
    folders.move_into_place(new, old)
    assert names(tmp_path) == ["run"] and names(old) == ["new.txt"]


def test_what_was_there_comes_back_when_the_new_folder_cannot_be_moved(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "old.txt").touch()
    with pytest.raises(FileNotFoundError):
        folders.move_into_place(tmp_path / "not there", tmp_path / "run")
    assert names(tmp_path) == ["run"] and names(tmp_path / "run") == ["old.txt"]


def test_folders_made_for_nothing_are_taken_back(tmp_path):
    unfinished = folders.begin_folder(tmp_path / "a" / "b" / "run")
    assert unfinished.folder.is_dir() and unfinished.folder.parent == tmp_path / "a" / "b"
    unfinished.clean_up()
    assert names(tmp_path) == []


def _raised(error, **options):
    with pytest.raises(Exception) as caught, folders.output_errors("out", "free some space", **options):
        raise error
    return caught.value


def test_an_error_of_the_operating_system_is_one_line_with_a_remedy(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    said = "out cannot be written (No space left on device); free some space."
    assert isinstance(_raised(full), OutputError) and str(_raised(full)) == said
    assert str(_raised(full, within=tmp_path)) == said
    there = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "a"))
    assert str(_raised(there, within=tmp_path)) == "out cannot be written (Permission denied); free some space."
    assert str(_raised(KeyError("a\nb"), kinds=(KeyError,))).count("\n") == 0


def test_errors_of_inputs_and_of_this_package_pass_as_they_are(tmp_path):
    elsewhere = FileNotFoundError(errno.ENOENT, "No such file", "input.png")
    assert _raised(elsewhere, within=tmp_path) is elsewhere
    for own in (DataError("one"), OutputError("two"), ValueError("three")):
        assert _raised(own) is own


def test_digests_of_a_file_and_of_bytes_are_those_of_hashlib(tmp_path):
    content = bytes(range(256)) * 5000  # more than one part
    (tmp_path / "a").write_bytes(content)
    wanted = hashlib.sha256(content).hexdigest()
    assert digests.sha256_of_file(tmp_path / "a") == digests.sha256_of(content) == wanted


def test_json_comes_back_and_is_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    json_files.write_json(path, {"b": "ä", "a": (1, 2.5)})
    assert list(json.loads(path.read_text(encoding="utf-8")).items()) == [("b", "ä"), ("a", [1, 2.5])]
    with pytest.raises(TypeError, match="has no form in JSON"):
        json_files.write_json(path, object())
    assert names(tmp_path) == ["a.json"] and "ä" in path.read_text(encoding="utf-8")
