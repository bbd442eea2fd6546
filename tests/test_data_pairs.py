"""Pairs, what makes one bad, and the cutting of large images."""

import numpy as np
import pytest

from planetcd_jax.errors import BadPairError, DataError
from planetcd_jax.pairs.cutting import cut_patches, grid_origins
from planetcd_jax.pairs.pair_set import PairSet, RawPair, checked


def _set(raws, labels=None, ids=None):
    return PairSet(
        "made", "real", ids or [f"p{i}" for i in range(len(raws))], lambda i: raws[i], labels=labels,
        files=lambda i: (f"b{i}.tif", f"a{i}.tif"),
    )  # fmt: skip


def _raw(shape=(30, 40), seed=0, valid=None):
    rng = np.random.default_rng(seed)
    return RawPair(*rng.random((2, *shape)).astype(np.float32), valid)


def test_a_good_pair_is_read_as_it_is():
    raw = _raw((30, 40, 3))
    pair = _set([raw], labels=[1]).read(0)
    np.testing.assert_array_equal(pair.before, raw.before)
    np.testing.assert_array_equal(pair.after, raw.after)
    assert pair.context is None and pair.before.dtype == np.float32


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda r: r._replace(after=r.after[:29]), "before has shape 30 x 40 and after 29 x 40.*--size_mismatch=crop"),
        (lambda r: r._replace(after=r.after[..., None]), "and after 30 x 40 x 1 bands; give both.*same bands"),
        (lambda r: r._replace(valid=np.arange(1200).reshape(30, 40) > 11), r"12 of 1200 pixels have no data.*crop"),
        (lambda r: r._replace(before=r.before * np.nan), "before holds NaN or infinite"),
        (lambda r: r._replace(after=r.after * 0 + 0.5), r"after is constant \(0\.5 everywhere\)"),
        (lambda r: r._replace(after=r.after * 300), r"after has values from .* to .*; wanted \[0, 1\]"),
    ],
)
def test_bad_pairs_are_told_with_id_files_and_remedy(change, text):
    with pytest.raises(BadPairError, match=r"^pair 'p0' \(b0.tif and a0.tif\): .*" + text) as err:
        _set([change(_raw())]).read(0)
    assert "\n" not in str(err.value)


def test_sets_with_wrong_ids_labels_or_source_are_told():
    with pytest.raises(DataError, match="ids must be unique; these come more than once: a"):
        _set([_raw()] * 3, ids=["a", "b", "a"])
    with pytest.raises(DataError, match=r"labels of 'made'.*wanted 1"):
        _set([_raw()], labels=[7])
    with pytest.raises(DataError, match="labels of 'made'"):
        _set([_raw()], labels=[0, 1])
    with pytest.raises(DataError, match="has no pairs"):
        PairSet("made", "real", [], lambda i: None)
    with pytest.raises(DataError, match="source of 'made' is 'dream'"):
        PairSet("made", "dream", ["a"], lambda i: None)
    with pytest.raises(IndexError, match="pair 1 of 'made': the set has 1 pair"):
        _set([_raw()]).read(1)


def test_closing_happens_once():
    calls = []
    with PairSet("made", "real", ["a"], lambda i: _raw(), close=lambda: calls.append(1)) as pairs:
        assert pairs.labels is None and pairs.shape(0) == (30, 40)
    pairs.close()
    assert calls == [1]


@pytest.mark.parametrize("patch", [1, 2, 7, 30, 100])
@pytest.mark.parametrize("length", [*range(1, 35), 99, 100, 101, 199, 200, 201, 227, 1000])
def test_the_grid_covers_everything_and_leaves_nothing_over(length, patch):
    origins = grid_origins(length, patch)
    covered = np.zeros(length, int)
    for o in origins:
        assert 0 <= o <= length - patch
        covered[o : o + patch] += 1
    if length < patch:
        assert origins == ()
    else:
        assert covered.min() == 1 and len(origins) == -(-length // patch) and len(set(origins)) == len(origins)


@pytest.mark.parametrize("bands", [(), (3,)])
def test_patches_are_the_pixels_and_their_context_the_true_neighbours(bands):
    raw = _raw((70, 95, *bands))
    patches = cut_patches(_set([raw]), 30, 7)
    assert len(patches) == 3 * 4
    reflected = np.pad(
        raw.before, ((7, 7), (7, 7)) + ((0, 0),) * len(bands), mode="reflect"
    )  # oracle: NumPy, whole image
    for i, id_ in enumerate(patches.ids):
        row, col = (int(s[1:]) for s in id_.split("_")[1:])
        pair = patches.read(i)
        np.testing.assert_array_equal(pair.before, raw.before[row : row + 30, col : col + 30])
        np.testing.assert_array_equal(pair.after, raw.after[row : row + 30, col : col + 30])
        np.testing.assert_array_equal(pair.context, reflected[row : row + 44, col : col + 44])
    assert patches.ids[:4] == ("p0_r0_c0", "p0_r0_c30", "p0_r0_c60", "p0_r0_c65")
    assert patches.provenance["patch_size"] == 30 and patches.shape(3) == (30, 30)


def test_no_data_spoils_its_own_patch_and_no_other():
    valid = np.ones((60, 60), bool)
    valid[33, 5] = False
    raw = _raw((60, 60), valid=valid)
    raw.before[33, 5] = np.nan
    patches = cut_patches(_set([raw]), 30, 5)
    good = [0, 1, 3]
    for i in good:
        assert np.isfinite(patches.read(i).context).all()
    # pixel (33, 5) is in the margin of patch 0, which is therefore filled by the patch's own reflection
    np.testing.assert_array_equal(patches.read(0).context, np.pad(raw.before[:30, :30], 5, mode="reflect"))
    with pytest.raises(BadPairError, match=r"pair 'p0_r30_c0' .*1 of \d+ pixels have no data"):
        patches.read(2)


def test_labels_of_patches():
    raws = [_raw((60, 60)), _raw((60, 60)), _raw((30, 30)), _raw((60, 60))]
    patches = cut_patches(_set(raws, labels=[0, 1, 1, -1]), 30, 0)
    assert patches.labels.tolist() == [0] * 4 + [-1] * 4 + [1] + [-1] * 4
    assert patches.read(0).context is None


def test_images_that_cannot_be_cut_stay_as_bad_pairs():
    small, unequal = _raw((20, 40)), _raw((60, 60))._replace(after=np.ones((60, 59), np.float32))
    patches = cut_patches(_set([small, unequal, _raw((30, 30))]), 30, 5)
    with pytest.raises(BadPairError, match=r"'p0' .*20 x 40 pixels are too few for a patch of 30 x 30.*at most 20"):
        patches.read(0)
    with pytest.raises(BadPairError, match="before has shape 60 x 60 and after 60 x 59"):
        patches.read(1)
    patches.read(len(patches) - 1)


def test_an_image_is_decoded_once_for_all_its_patches():
    calls = []

    def load(i):
        calls.append(i)
        return _raw((60, 60))

    patches = cut_patches(PairSet("made", "real", ["a", "b"], load, shape=lambda i: (60, 60)), 30, 5)
    for i in range(len(patches)):
        patches.read(i)
    assert calls == [0, 1]


@pytest.mark.parametrize(("size", "margin"), [(0, 0), (10, 10), (10, -1)])
def test_impossible_patch_sizes_are_told(size, margin):
    with pytest.raises(DataError, match="wanted 0 <= margin < patch_size"):
        cut_patches(_set([_raw()]), size, margin)


def test_check_alone():
    with pytest.raises(BadPairError, match=r"^here: shape \(5,\); wanted an image"):
        checked(RawPair(np.zeros(5), np.zeros(5)), "here")
