"""What holds for every input: thresholds, p-values, discoveries, windows, grids, chunks, figures of merit, JSON."""

import json
import math

import hypothesis
import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
import scipy.optimize
import sklearn.metrics

import planetcd_jax as pcd
from planetcd_jax import thresholds
from planetcd_jax.files.json_files import json_text, jsonable
from planetcd_jax.ops import windows
from planetcd_jax.ops.fitting import non_negative
from planetcd_jax.report import metrics

LENGTH = 48
"""All vectors are filled up to this, so that JAX compiles once; what is filled in must not matter."""

NUMBERS = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)  # XLA takes subnormal numbers for 0
SCORES = st.lists(NUMBERS, min_size=1, max_size=LENGTH)
P_VALUES = st.lists(st.integers(1, 60).map(lambda k: k / 61), min_size=1, max_size=LENGTH)


def padded(values, filling):
    """[LENGTH] float32 and which of them are values."""
    full = np.full(LENGTH, filling, np.float32)
    full[: len(values)] = values
    return full, np.arange(LENGTH) < len(values)


def at_quantile(percent):
    """A decision whose quantile drops the top `percent`."""
    return thresholds.Decision(quantile=(100 - percent) / 100)


@hypothesis.given(SCORES, st.integers(0, 99), st.sampled_from([np.nan, np.inf, -np.inf, 0.0]))
def test_threshold_is_the_largest_score_after_the_top_ones_are_dropped(scores, percent, filling):
    full, valid = padded(scores, filling)
    tau = float(thresholds.threshold(full, at_quantile(percent), valid=valid))
    assert tau == sorted(scores)[len(scores) - 1 - len(scores) * percent // 100]
    assert sum(score > tau for score in scores) * 100 <= percent * len(scores)


@hypothesis.given(SCORES, SCORES)
def test_p_values_count_the_null_scores_at_or_above(rho, null):
    (judged, known), (drawn, valid) = padded(rho, np.nan), padded(null, np.nan)
    p = np.asarray(thresholds.p_values(judged, drawn, valid=valid))
    wanted = [(1 + sum(score >= one for score in null)) / (1 + len(null)) for one in rho]
    np.testing.assert_allclose(p[known], wanted, rtol=1e-6)
    assert np.isnan(p[~known]).all() and (p[known] > 0).all() and (p[known] <= 1).all()
    order = np.argsort(rho)
    assert (np.diff(p[known][order]) <= 0).all()


def discoveries(p_values, rate):
    """Benjamini and Hochberg's rule in loops."""
    bound = -math.inf
    for k, p in enumerate(sorted(p_values), start=1):
        if p <= np.float32(k) * np.float32(rate) / np.float32(len(p_values)):
            bound = p
    return [p <= bound for p in p_values]


@hypothesis.given(P_VALUES, st.sampled_from([0.05, 0.1, 0.3]))
def test_benjamini_hochberg_is_its_rule(p_values, rate):
    full, known = padded(p_values, np.nan)
    found = np.asarray(thresholds.benjamini_hochberg(full, rate))
    assert found[known].tolist() == discoveries(full[known], rate) and not found[~known].any()


@hypothesis.given(P_VALUES, st.data())
def test_a_smaller_p_value_takes_no_finding_away(p_values, data):
    before, known = padded(p_values, np.nan)
    i = data.draw(st.integers(0, len(p_values) - 1))
    after = before.copy()
    after[i] /= 2
    kept, now = (np.asarray(thresholds.benjamini_hochberg(p, 0.1)) for p in (before, after))
    assert (now | ~kept).all() and not now[~known].any()


CUTS = (1, 1, (2, 3), 0), (4, 2, (3, 1), 1), (5, 3, (2, 2), 2), (2, 4, (1, 3), 0)
"""Side and step of windows, how many there are, cells beyond the last: few, since each is compiled by itself."""


@st.composite
def cut_maps(draw):
    """A feature map [h, w, 2], its usable cells, and windows that lie inside it."""
    side, stride, shape, beyond = draw(st.sampled_from(CUTS))
    h, w = ((many - 1) * stride + side + beyond for many in shape)
    values = st.integers(-64, 64).map(lambda eighths: eighths / 8)  # so that equal cells have a spread of exactly 0
    maps = draw(arrays.arrays(np.float32, (h, w, 2), elements=values))
    return maps, draw(arrays.arrays(bool, (h, w))), side, stride, shape


def described(cells, largest, standardize):
    """One window's descriptor by its definition; `cells` [n, 2] are the usable ones."""
    if not len(cells):
        return np.zeros(2)
    pooled = cells.max(0) if largest else cells.mean(0)
    if standardize:
        pooled = (pooled - cells.mean(0)) / np.sqrt(cells.var(0) + pcd.constants.STANDARDIZE_EPSILON)
    return pooled


summaries = jax.jit(
    windows.summaries, static_argnames=("side", "stride", "shape", "largest", "standardize"), static_argnums=(2, 3, 4)
)


@pytest.mark.parametrize(("largest", "standardize"), [(True, False), (False, False), (True, True)])
@hypothesis.settings(max_examples=10)
@hypothesis.given(cut=cut_maps())
def test_windows_put_together_from_blocks_are_those_taken_one_by_one(cut, largest, standardize):
    maps, usable, side, stride, shape = cut
    made = summaries(maps, usable, side, stride, shape, largest=largest, standardize=standardize)
    found, share = map(np.asarray, made)
    for r, s in np.ndindex(shape):
        window = np.s_[r * stride : r * stride + side, s * stride : s * stride + side]
        cells = maps[window][usable[window]].astype(np.float64)
        np.testing.assert_allclose(found[r, s], described(cells, largest, standardize), rtol=1e-3, atol=1e-3)
        assert share[r, s] == pytest.approx(usable[window].mean())


@hypothesis.given(st.integers(1, 10_000), st.integers(1, 500))
def test_chunks_are_no_more_and_no_larger_than_they_must_be(total, most):
    scoring = pytest.importorskip("planetcd_jax.scenes.scoring", reason="needs the extra 'scene'")
    many = scoring._evenly(total, most)
    assert 1 <= many <= most and math.ceil(total / many) == math.ceil(total / most)
    assert math.ceil(total / many) * many - total < math.ceil(total / most)  # what the last one lacks


FAR = st.floats(-1e6, 1e6)


@st.composite
def grids(draw):
    """A grid with any origin, pixels of 0.1 to 1000 units, turned by any angle, rows up or down."""
    affine = pytest.importorskip("affine", reason="needs the extra 'scene'")
    scenes = pytest.importorskip("planetcd_jax.scenes.grids", reason="needs the extra 'scene'")
    wide, high = (draw(st.floats(0.1, 1000)) for _ in range(2))
    angle, up = draw(st.floats(0, 2 * math.pi)), draw(st.sampled_from([-1, 1]))
    (a, d), (b, e) = ((math.cos(turn), math.sin(turn)) for turn in (angle, angle + math.pi / 2))
    transform = affine.Affine(a * wide, b * up * high, draw(FAR), d * wide, e * up * high, draw(FAR))
    return scenes.Grid(draw(st.integers(1, 5000)), draw(st.integers(1, 5000)), transform, None)


POINTS = arrays.arrays(np.float64, (2, 5), elements=st.floats(-5000, 5000))


@hypothesis.given(grids(), POINTS)
def test_pixels_to_coordinates_and_back(grid, points):
    np.testing.assert_allclose(grid.pixels(*grid.coordinates(*points)), points, atol=1e-4)


@hypothesis.given(grids(), POINTS, st.integers(-50, 50), st.integers(-50, 50))
def test_a_part_of_a_grid_lies_where_it_was_cut(grid, points, row, col):
    part = grid.part(row, col, 10, 20)
    shifted = points + np.array([[col], [row]])
    np.testing.assert_allclose(part.coordinates(*points), grid.coordinates(*shifted), rtol=1e-9, atol=1e-6)
    assert (part.height, part.width, part.crs) == (10, 20, grid.crs)


@hypothesis.given(grids(), POINTS, st.integers(1, 64), st.integers(-50, 50), st.integers(-50, 50))
def test_a_coarser_grid_covers_the_same_ground(grid, points, step, row, col):
    coarse = grid.coarser(row, col, step, 10, 20)
    fine = points * step + np.array([[col], [row]])
    np.testing.assert_allclose(coarse.coordinates(*points), grid.coordinates(*fine), rtol=1e-9, atol=1e-5)


@hypothesis.given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40))
def test_figures_of_a_ranking_with_ties_are_those_of_scikit_learn(pairs):
    truth, rho = np.array([t for t, _ in pairs]), np.array([float(r) for _, r in pairs])
    hypothesis.assume(0 < truth.sum() < len(truth))
    ours = metrics.evaluate(truth.astype(int), rho, rho > 0)
    assert ours["roc_auc"] == pytest.approx(sklearn.metrics.roc_auc_score(truth, rho))
    assert ours["average_precision"] == pytest.approx(sklearn.metrics.average_precision_score(truth, rho))


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


@hypothesis.given(VALUES)
def test_json_comes_back(value):
    made = jsonable(value)
    assert json.loads(json_text(value)) == made == jsonable(made)


fit = jax.jit(non_negative)
POSITIVE = st.floats(0, 100, width=32, allow_subnormal=False)


@hypothesis.given(
    arrays.arrays(np.float32, (2, LENGTH), elements=POSITIVE), arrays.arrays(np.float32, LENGTH, elements=POSITIVE)
)
def test_non_negative_least_squares_are_no_worse_than_those_of_an_active_set(terms, y):
    terms = np.stack([np.ones(LENGTH, np.float32), *terms])
    found = np.asarray(fit(terms, y, np.ones(LENGTH, np.float32)), np.float64)
    assert (found >= 0).all()
    wanted, _ = scipy.optimize.nnls(terms.T.astype(np.float64), y.astype(np.float64))
    left, least = (np.square(x @ terms - y).sum() for x in (found, wanted))
    assert left <= least + 1e-4 * np.square(y).sum() + 1e-6


@pytest.mark.parametrize("apart", [1e-7, 1e-5, 1e-4, 1e-3, 1e-2])
def test_terms_that_are_nearly_alike_fit_as_well_as_exact_arithmetic_does(apart):
    rng = np.random.default_rng(0)
    for _ in range(40):
        terms = rng.uniform(1, 100, (3, 1)) * (1 + apart * rng.uniform(-1, 1, (3, LENGTH)))
        terms, y = terms.astype(np.float32), np.full(LENGTH, rng.uniform(0, 100), np.float32)
        found = np.asarray(fit(terms, y, np.ones(LENGTH, np.float32)), np.float64)
        wanted, _ = scipy.optimize.nnls(terms.T.astype(np.float64), y.astype(np.float64))
        left, least = (np.square(x @ terms - y).sum() for x in (found, wanted))
        assert left <= least + 1e-4 * np.square(y).sum()


def test_a_term_that_is_nowhere_and_one_that_another_holds_get_nothing_of_their_own():
    ones = np.ones(LENGTH, np.float32)
    np.testing.assert_allclose(fit(np.stack([ones, 0 * ones, 0 * ones]), 3 * ones, ones), [3, 0, 0], rtol=1e-5)
    twice = np.asarray(fit(np.stack([ones, 2 * ones, 0 * ones]), 3 * ones, ones))
    np.testing.assert_allclose(twice[0] + 2 * twice[1], 3, rtol=1e-5)
    assert not np.asarray(fit(np.stack([ones] * 3), ones, 0 * ones)).any()
