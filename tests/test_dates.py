"""Several dates: what a date shows of a change, between which dates it came, null scores of unchanged windows."""

import functools
import math

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import ndimage

import planetcd_jax as pcd
from planetcd_jax.errors import ConfigError
from planetcd_jax.ops.projection import project
from planetcd_jax.scenes import dates as scene_dates
from planetcd_jax.scenes.presence import NOT_SEEN, SEEN, UNSURE, PresenceRules, bracket
from planetcd_jax.thresholds import Decision, threshold

chance_of = pytest.importorskip("planetcd_jax.scenes.chance", reason="needs the extra 'scene'").of_scene
unchanged = pytest.importorskip("planetcd_jax.scenes.unchanged", reason="needs the extra 'scene'")
dating = pytest.importorskip("planetcd_jax.scenes.dating", reason="needs the extra 'scene'")

SIDE = 64

compiled = jax.jit(functools.partial(project, least_seen=PresenceRules().least_seen))


def spot(row=32, col=32, radius=6):
    return np.hypot(*np.ogrid[-row : SIDE - row, -col : SIDE - col]) < radius


def noise(seed, size=1.0):
    return (size * np.random.default_rng(seed).standard_normal((SIDE, SIDE))).astype(np.float32)


def projected(difference, change, place, known=None):
    known = np.ones((SIDE, SIDE), bool) if known is None else known
    return tuple(map(float, compiled(difference, change, place, known, ~ndimage.binary_dilation(place, None, 4))))


@hypothesis.given(st.floats(-2, 2), st.integers(0, 99))
def test_the_share_of_a_multiple_of_the_change_is_the_factor(factor, seed):
    change = noise(seed)
    share, error, known = projected(np.float32(factor) * change * spot(), change, spot())
    assert share == pytest.approx(factor, abs=1e-5) and error == pytest.approx(0, abs=1e-5) and known == 1


@hypothesis.given(st.integers(0, 99), st.floats(0.1, 5))
def test_share_and_error_do_not_depend_on_the_unit(seed, unit):
    change, difference = noise(seed), noise(seed + 100)
    one, two = (projected(u * difference, u * change, spot()) for u in (np.float32(1), np.float32(unit)))
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)


def test_the_error_is_what_noise_makes_of_the_share():
    change = np.where(spot(), np.float32(3), np.float32(0))
    found = [projected(noise(seed), change, spot()) for seed in range(60)]
    # Oracle: white noise of 1 projected on n pixels of 3 has a standard deviation of 1 / (3 sqrt n).
    wanted = 1 / (3 * math.sqrt(spot().sum()))
    assert np.std([share for share, _, _ in found]) == pytest.approx(wanted, rel=0.25)
    assert np.median([error for _, error, _ in found]) == pytest.approx(wanted, rel=0.25)


def test_missing_ground_is_told_and_does_not_count():
    change = np.where(spot(), noise(0) + 3, 0).astype(np.float32)
    known = np.ones((SIDE, SIDE), bool)
    known[:, 32:] = False
    difference = np.where(known, change, np.float32(50))
    share, _, covered = projected(difference, change, spot(), known)
    assert share == pytest.approx(1, abs=1e-5)
    assert covered == pytest.approx(np.square(change)[:, :32].sum() / np.square(change).sum(), rel=1e-4)
    share, error, covered = projected(difference, change, spot(), np.zeros((SIDE, SIDE), bool))
    assert math.isnan(share) and error == math.inf and covered == 0
    assert PresenceRules().told(share, error, covered) == UNSURE


@pytest.mark.parametrize(
    "measured, said",
    [
        ((1.0, 0.1, 1.0), SEEN), ((0.65, 0.1, 1.0), SEEN), ((0.0, 0.1, 1.0), NOT_SEEN), ((-0.5, 0.1, 1.0), NOT_SEEN),
        ((0.5, 0.1, 1.0), UNSURE), ((1.0, 0.3, 1.0), UNSURE), ((1.0, 0.1, 0.5), UNSURE), ((1.0, math.nan, 1.0), UNSURE),
        ((math.nan, 0.1, 1.0), UNSURE),
    ],
)  # fmt: skip
def test_what_a_date_says(measured, said):
    assert PresenceRules().told(*measured) == said


def test_rules_that_mean_nothing_are_refused():
    with pytest.raises(ConfigError, match="not_seen_to is 0.7 and seen_from 0.65; give two shares"):
        PresenceRules(not_seen_to=0.7)
    with pytest.raises(ConfigError, match="most_unlike is 0.9; give a ratio of 1 or more"):
        unchanged.UnchangedRules(most_unlike=0.9)


@hypothesis.given(st.lists(st.sampled_from([SEEN, NOT_SEEN, UNSURE]), min_size=1, max_size=6))
def test_a_bracket_lies_round_the_change(told):
    last, first = bracket(told)
    assert (first is None) == (SEEN not in told)
    if first is not None:
        assert told[first] == SEEN and SEEN not in told[:first]
    if last is not None:
        assert told[last] == NOT_SEEN and last < (len(told) if first is None else first)
        assert NOT_SEEN not in told[last + 1 : first]


@hypothesis.given(st.lists(st.one_of(st.floats(0, 1e9), st.just(math.nan)), min_size=1, max_size=6))
def test_dates_are_in_order_of_time_where_all_are_known(times):
    order = scene_dates.order_of(times)
    assert sorted(order) == list(range(len(times)))
    if any(map(math.isnan, times)):
        assert order == tuple(range(len(times)))
    else:
        assert [times[n] for n in order] == sorted(times)


def test_columns_list_dates_in_order_of_time():
    stack = scene_dates.Dates((), ("b/2.tif", "1.tif", "3.tif"), (20.0, 10.0, 30.0), "times of the labels")
    found = dating.columns((NOT_SEEN, UNSURE, SEEN), stack)
    second = [f"1970-01-01T00:00:{n}Z" for n in (10, 20, 30)]
    assert found == {
        "dates": ";".join(second), "seen_on": second[2], "unsure_on": second[0], "first_seen": second[2],
        "last_not_seen": second[1],
    }  # fmt: skip
    as_given = scene_dates.Dates((), ("b/2.tif", "1.tif", "3.tif"), (20.0, math.nan, 30.0), "as given")
    assert dating.columns((NOT_SEEN, SEEN, SEEN), as_given)["seen_on"] == "1.tif;3.tif"
    assert tuple(found) == dating.COLUMNS


def test_files_of_one_name_are_told_apart():
    assert scene_dates.labels_of(["a/x.tif", "b/x.tif"]) == ("a/x.tif", "b/x.tif")
    assert scene_dates.labels_of(["a/x;1.tif", "b/y.tif"]) == ("x,1.tif", "y.tif")


@pytest.mark.slow
@pytest.mark.parametrize("config", [pcd.ROBUST, pcd.PAPER], ids=["robust", "paper"])
def test_differences_of_two_dates_from_one_are_of_one_scale(texture, config):
    ground = texture(1, 160, 160, seed=3)[0]
    place = np.hypot(*np.ogrid[-80:80, -80:80]) < 7
    after = np.where(ndimage.gaussian_filter(place.astype(float), 0.7) > 0.5, ground - 0.3, ground).astype(np.float32)
    duller = (0.2 + 0.5 * after).astype(np.float32)
    valid = np.ones(ground.shape, bool)
    around = ~ndimage.binary_dilation(place, None, 8)
    program = jax.jit(config.score.difference)

    def difference(date):
        return program(ground, date, valid, around)

    change, known = difference(after)
    other, _ = difference(duller)
    share = float(compiled(other, change, place, known, around).share)
    assert share == pytest.approx(1, abs=0.05)  # gain and offset are no change
    still, _ = difference(ground)
    assert float(jnp.abs(still).max()) < 1e-3 < float(jnp.abs(change).max())
    assert not np.asarray(known)[:3].any()  # resampling is one-sided at the border


def drawn(seed, shape, level=1.0):
    """Scores of unchanged windows, neighbours alike."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), 1)
    return (level * np.exp(0.7 + 0.12 * field / field.std())).astype(np.float32)


def null_of(seed):
    """Null scores of 64 tiles of 4 x 4 windows, of the same law as `drawn`, and what chance gives."""
    scores = drawn([seed, 0], (32, 32)).reshape(8, 4, 8, 4).swapaxes(1, 2).ravel()
    return scores, chance_of(scores, np.repeat(np.arange(64), 16), 400)


RULES = unchanged.UnchangedRules()

compiled_threshold = jax.jit(functools.partial(threshold, decision=Decision()))


def tau_of(scores):
    """`threshold` of any number of scores, filled up so that one program serves them."""
    valid = np.arange(4096) < scores.size
    return float(compiled_threshold(np.pad(scores, (0, valid.size - scores.size)), valid=valid))


def test_unchanged_windows_are_not_trimmed():
    for seed in range(8):
        null, chance = null_of(seed)
        rho, other = drawn(seed + 100, (20, 20)), drawn(seed + 200, (20, 20), 1.1)
        found = unchanged.unchanged_windows(rho, other, null, chance, RULES)
        assert found.alike and found.changed <= 20 and found.windows == 400
        np.testing.assert_allclose(
            found.scores[np.isfinite(found.scores)], (found.level * other)[np.isfinite(found.scores)]
        )


def test_trimming_at_tau_would_call_too_many_changed_and_this_does_not():
    alarms = {"here": [], "trimmed": []}
    for seed in range(8):
        null, chance = null_of(seed)
        rho, *others = (drawn([seed, n], (20, 20)) for n in (100, 200, 300))
        tau = tau_of(null)
        kept = [other[(other <= tau) & (rho <= tau)] for other in others]
        parts = [unchanged.unchanged_windows(rho, other, null, chance, RULES).scores for other in others]
        for name, found in (("trimmed", kept), ("here", [part[np.isfinite(part)] for part in parts])):
            alarms[name].append((rho > tau_of(np.concatenate([null, *found]))).mean())
    assert np.mean(alarms["here"]) == pytest.approx(0.05, abs=0.02)
    assert np.mean(alarms["trimmed"]) > np.mean(alarms["here"]) + 0.01


def test_changed_windows_are_left_out():
    null, chance = null_of(0)
    rho, other = drawn(1, (20, 20)), drawn(2, (20, 20))
    rho[2:5, 2:5] *= 4  # changed since
    other[10:13, 10:13] *= 4  # changed between the before-images
    found = unchanged.unchanged_windows(rho, other, null, chance, RULES)
    left = np.isnan(found.scores)
    assert left[2:5, 2:5].all() and left[10:13, 10:13].all() and left.sum() <= 30 and found.changed == left.sum()


@pytest.mark.parametrize("level, alike", [(1.1, True), (1 / 1.1, True), (1.5, False), (1 / 1.5, False)])
def test_dates_in_another_light_do_not_count(level, alike):
    null, chance = null_of(0)
    found = unchanged.unchanged_windows(drawn(1, (20, 20)), drawn(2, (20, 20), level), null, chance, RULES)
    assert found.alike == alike and np.isfinite(found.scores).any() == alike
    assert found.record()["null_scores"] == (400 - found.changed if alike else 0)


def test_dates_without_common_windows_or_without_a_difference_do_not_count():
    null, chance = null_of(0)
    rho = drawn(1, (20, 20))
    for other in (np.full((20, 20), np.nan, np.float32), np.zeros((20, 20), np.float32)):
        found = unchanged.unchanged_windows(rho, other, null, chance, RULES)
        assert not found.alike and np.isnan(found.scores).all() and found.record()["level"] is None
    mostly = rho * np.where(np.arange(20) < 12, 6, 1)[:, None].astype(np.float32)
    assert not unchanged.unchanged_windows(mostly, drawn(2, (20, 20)), null, chance, RULES).alike


def test_windows_go_into_tiles_of_neighbours():
    scores = np.arange(30, dtype=np.float32).reshape(5, 6)
    scores[0, 0] = np.nan
    own, tile = unchanged.in_tiles(scores, 4)
    # By hand: 2 x 2 tiles, of 16, 8, 4 and 2 windows, the first without its first.
    assert own.size == 29 and np.bincount(tile).tolist() == [15, 8, 4, 2]
    assert tile[own == 28] == 3 and tile[own == 4] == 1
