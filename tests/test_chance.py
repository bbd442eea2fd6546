"""p-values beyond the null scores, and false places to expect, where the law is known."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from planetcd_jax.scenes import chance

LAWS = {"exponential": stats.expon(), "Gumbel": stats.gumbel_r(), "gamma": stats.gamma(4), "normal": stats.norm()}


def drawn(law, tiles: int, seed: int, clustered: bool) -> np.ndarray:
    """Null scores [tiles, 16]; clustered ones share what is above: each window sees the largest of eight, one new."""
    rng = np.random.default_rng(seed)
    if not clustered:
        return law.rvs((tiles, 16), random_state=rng)
    single = law.rvs((tiles, 23), random_state=rng)
    return np.max([single[:, k : k + 16] for k in range(8)], axis=0)


@pytest.mark.parametrize("clustered", [False, True])
@pytest.mark.parametrize("name", LAWS)
def test_a_tail_says_small_probabilities(name, clustered):
    """Of 100,000 null scores: to a factor of 3 down to 1e-5 (too large for the normal law); never below a third."""
    law = LAWS[name]
    tail = chance.fit_tail(list(drawn(law, 6250, 3, clustered)))
    windows = 8 if clustered else 1
    for p in (1e-3, 1e-4, 1e-5, 1e-6):
        score = law.isf(-np.expm1(np.log1p(-p) / windows))
        ratio = float(tail.above(np.asarray([score]))[0]) / p
        assert 1 / 3 < ratio < (3 if p >= 1e-5 and name != "normal" else 40), (p, ratio)


def test_a_tail_goes_no_further_than_a_thousandth_of_what_was_seen():
    null = drawn(stats.expon(), 100, 0, False)
    tail = chance.fit_tail(list(null))
    assert tail is not None
    found = tail.above(np.asarray([tail.start, 12.0, 40.0, 400.0]))
    assert found[1] > found[2] == found[3] == pytest.approx(1e-3 / null.size)


def test_below_its_start_a_tail_says_nothing():
    tail = chance.fit_tail(list(drawn(stats.expon(), 200, 0, False)))
    assert np.isnan(tail.above(np.asarray([tail.start - 1e-6]))[0])
    assert tail.above(np.asarray([tail.start]))[0] == pytest.approx(tail.share)


def test_a_law_that_no_tail_is_of_is_refused():
    values = np.random.default_rng(0).poisson(3.0, (2000, 16)).astype(np.float64)
    assert chance.fit_tail(list(values)) is None


def test_too_few_tiles_have_no_tail():
    assert chance.fit_tail(list(drawn(stats.expon(), 20, 0, False))) is None


@pytest.mark.parametrize("tau", [4.0, 6.0, 8.0, 10.0])
def test_false_places_are_as_many_as_expected(tau):
    """Scenes in which nothing has changed: tiles above tau, counted in a thousand of them."""
    law = stats.expon()
    null = drawn(law, 300, 5, True)
    found = chance.of_scene(null.ravel(), np.repeat(np.arange(300), 16), 16 * 500)
    scenes = drawn(law, 100_000, 6, True).max(axis=1)
    counted = 500 * (scenes > tau).mean()
    assert found.expected_places(tau) == pytest.approx(counted, rel=0.75, abs=0.2)


def test_the_bound_holds_for_every_threshold_at_once():
    """The share of false places among those shown exceeds it, at any threshold, in at most 5 % of scenes."""
    law, failed, runs = stats.expon(), 0, 200
    for seed in range(runs):
        null = drawn(law, 2000, 1000 + seed, False)
        maxima = null.max(axis=1)
        made = chance.Chance(maxima, None, 100)
        false = drawn(law, 100, seed, False).max(axis=1)
        true = np.random.default_rng(seed).uniform(4, 12, 20)
        failed += any(
            (false > tau).sum() / ((false > tau).sum() + (true > tau).sum())
            > made.most_false(tau, int((false > tau).sum() + (true > tau).sum())) + 1e-9
            for tau in np.concatenate([false, true]) - 1e-6
        )
    assert failed <= 0.05 * runs + 5


def test_no_place_has_no_false_one():
    assert chance.Chance(np.ones(30), None, 10).most_false(0.5, 0) == 0


def test_a_place_that_must_show_changed_ground_is_rarer():
    """Scenes without a change: windows of 40 pieces, 5 % of which show a contour; places are pieces with both."""
    law, rng = stats.expon(), np.random.default_rng(7)
    null = drawn(law, 300, 8, True)
    found = chance.of_scene(null.ravel(), np.repeat(np.arange(300), 16), 16 * 40)
    for tau in (2.0, 4.0, 7.0):
        above = drawn(law, 40 * 2000, 9, True).max(axis=1).reshape(-1, 40) > tau
        sizes = np.where(rng.uniform(size=above.shape) < 0.05, 2.6 + rng.exponential(found.pixels.rise, above.shape), 0)
        searched = round(float(above.sum(axis=1).mean()))
        judge = dataclasses.replace(found, searched=searched)
        expected = judge.expected_places(tau)
        outlined = [judge.stands_out(size, 2.6, tau) for size in sizes[above & (sizes > 0)]]
        assert sum(outlined) / len(above) <= expected <= found.expected_tiles(tau)
        assert expected <= min(0.103 * searched, 1) + 1


def test_changed_ground_must_stand_out_in_the_scene_or_lie_in_windows_that_chance_does_not_give():
    found = dataclasses.replace(chance.Chance(np.arange(100.0), None, 50), searched=200)
    # Of 200 pieces ten exceed the level of one by chance; half a one of them lies 0.3 ln 20 = 0.9 above it.
    assert not found.stands_out(3.45, 2.6, 95.5) and found.stands_out(3.55, 2.6, 95.5)
    assert found.expected_tiles(99.5) <= 0.5 and found.stands_out(2.7, 2.6, 99.5)
    # In one piece the level is its own.
    assert dataclasses.replace(found, searched=1).stands_out(2.6, 2.6, 50.0)


def test_where_nothing_was_searched_windows_decide_alone_or_nothing_is_expected():
    found = chance.Chance(np.arange(100.0), None, 50)
    none, some = (dataclasses.replace(found, searched=searched) for searched in (0, 12))
    assert none.expected_places(95.5) == pytest.approx(found.pixels.rate)
    assert 1 < found.expected_places(95.5) == found.expected_tiles(95.5)
    assert some.record(95.5, 3)["expected_false_places"] == some.expected_places(95.5) < found.expected_places(95.5)
