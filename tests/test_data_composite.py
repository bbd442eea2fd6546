"""Two dates in one RGB image: told by content, checked, and said by a flag instead."""

import numpy as np
import PIL.Image
import pytest
from image_files import write_image

from planetcd_jax.errors import DataError
from planetcd_jax.pairs import open_dataset
from planetcd_jax.pairs.composite import CHANNELS, dates


def write_set(root, texture, order="0ab", n=8, unlike=False, channel=None):
    """n composites, odd ones unchanged; `unlike`: of two places. Returns before and after [n, 60, 60] uint8."""
    before = (texture(n, 60, 60, seed=1) * 250 + 2).astype(np.uint8)
    after = np.roll(before, (3, 5), (1, 2))  # misregistered, as CTX pairs are
    after[::2, 20:35, 20:35] = 4
    if unlike:
        after = np.roll(before, 2, 0)  # the next unchanged pair's
    for i in range(n):
        bands = {"0": np.zeros((60, 60), np.uint8) if channel is None else channel, "a": after[i], "b": before[i]}
        folder = root / "test" / ("no_change" if i % 2 else "change")
        write_image(folder / f"{i}.png", np.stack([bands[letter] for letter in order], -1))
    return before, after


def in_order(pairs):
    return [pairs.read(int(i)) for i in np.argsort(pairs.ids)]


@pytest.mark.parametrize(
    ("order", "told"), [("0ab", ("empty", "after", "before")), ("ba0", ("before", "after", "empty"))]
)
def test_content_tells_which_channel_is_empty(tmp_path, texture, order, told):
    before, after = write_set(tmp_path, texture, order)
    pairs = open_dataset("ctx", data_dir=str(tmp_path))
    facts = pairs.provenance["composite"]
    assert tuple(facts["channels"].values()) == told and facts["told_by"].startswith("content")
    assert facts["likeness_of_unchanged_pairs"]["pairs"] == 4
    alike = facts["likeness_of_unchanged_pairs"]
    assert alike["own"] > alike["other"] and alike["rank"] == 1 and not pairs.provenance["notes"]
    read = in_order(pairs)
    np.testing.assert_array_equal(np.stack([p.before for p in read]), before / np.float32(255))
    np.testing.assert_array_equal(np.stack([p.after for p in read]), after / np.float32(255))
    assert pairs.shape(0) == (60, 60) and len(pairs.files(0)) == 1


@pytest.mark.parametrize("order", CHANNELS)
def test_a_flag_says_it_instead(tmp_path, texture, order):
    before, after = write_set(tmp_path, texture, order, n=2)
    pairs = open_dataset("ctx", data_dir=str(tmp_path), composite=order)
    read = in_order(pairs)
    np.testing.assert_array_equal(read[1].after, after[1] / np.float32(255))
    np.testing.assert_array_equal(read[1].before, before[1] / np.float32(255))
    assert pairs.provenance["composite"]["told_by"] == "--composite"


def test_what_is_no_composite_is_refused(tmp_path, texture):
    write_set(tmp_path / "green", texture, "a0b")  # which of the two is which, nobody has said
    with pytest.raises(
        DataError, match=r"red, green and blue reach .*wanted red 0 everywhere.*--composite, one of 0ab"
    ):
        open_dataset("ctx", data_dir=str(tmp_path / "green"))
    write_set(tmp_path / "full", texture, channel=np.full((60, 60), 3, np.uint8))  # as JPEG may leave it
    with pytest.raises(DataError, match="red, green and blue reach 3, "):
        open_dataset("ctx", data_dir=str(tmp_path / "full"))
    write_set(tmp_path / "unlike", texture, unlike=True)
    with pytest.raises(DataError, match="the two dates of 4 unchanged pairs are no more alike"):
        open_dataset("ctx", data_dir=str(tmp_path / "unlike"))
    assert len(open_dataset("ctx", data_dir=str(tmp_path / "unlike"), composite="0ab")) == 8


def test_jpeg_keeps_no_zero_and_is_told_all_the_same(tmp_path, texture):
    before, _ = write_set(tmp_path, texture)
    for path in list(tmp_path.rglob("*.png")):
        image = PIL.Image.open(path)
        image.save(path.with_suffix(".jpg"), quality=75)
        path.unlink()
    pairs = open_dataset("ctx", data_dir=str(tmp_path))
    assert pairs.provenance["composite"]["channels"]["red"] == "empty"
    assert pairs.provenance["composite"]["largest_value_of_empty_channel"] > 0
    assert "compressed as one JPEG image" in pairs.provenance["notes"][0]
    read = np.stack([pair.before for pair in in_order(pairs)])
    assert 0 < np.abs(read * 255 - before).mean() < 40  # rough texture, strong compression


def test_what_could_not_be_checked_is_noted(tmp_path, texture):
    write_set(tmp_path, texture, n=2)
    assert "too few pairs are labelled unchanged" in open_dataset("ctx", data_dir=str(tmp_path)).provenance["notes"][0]


def test_no_data_is_looked_for_in_the_dates_alone(tmp_path, texture):
    write_set(tmp_path, texture, n=2)
    path = next(tmp_path.rglob("0.png"))
    before, after = dates(path, "0ab", nodata=0)
    assert before.valid.all() and after.valid.all()  # the empty channel is no date
    assert not dates(path, "0ab", nodata=4)[1].valid.all()
