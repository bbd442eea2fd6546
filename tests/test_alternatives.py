"""Alternatives of the pooled score: each on pairs where its value is known, and the table on made trials."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import planetcd_jax as pcd
from planetcd_jax.networks.backbone import prepared
from scripts import alternatives, evaluate
from scripts.alternatives import VARIANTS
from scripts.evaluation.trials import Trial, stack

pytestmark = pytest.mark.slow

SIDE = 48


def scored(name, params, before, after):
    """rho of one pair."""
    return float(VARIANTS[name](params, jnp.asarray(before), jnp.asarray(after)))


def test_the_first_is_the_papers(params, texture):
    one, other = texture(2, SIDE, SIDE)
    wanted = float(pcd.change_score(params, jnp.asarray(one), jnp.asarray(other), pcd.PAPER))
    assert scored(next(iter(VARIANTS)), params, one, other) == pytest.approx(wanted, rel=1e-5)


def test_ground_that_only_moved_scores_nothing_once_it_is_aligned(params, texture):
    ground = texture(1, SIDE + 10, SIDE + 10)[0]
    before, after = ground[7 : 7 + SIDE, :SIDE], ground[:SIDE, 5 : 5 + SIDE]
    assert scored("common area after one whole shift", params, before, after) == pytest.approx(0, abs=1e-3)
    assert scored("the paper's: largest of each feature and L1", params, before, after) > 1


def test_a_shift_by_eight_pixels_is_among_those_tried(params, texture):
    ground = texture(1, SIDE + 8, SIDE + 8)[0]
    parts = ((slice(8, None), slice(0, -8)), (slice(0, -8), slice(0, -8)), (slice(8, None), slice(8, None)))
    for part in parts:
        moved = [scored(n, params, ground[part], ground[:-8, 8:]) for n in VARIANTS if n.endswith("small shifts")]
        assert moved == [pytest.approx(0, abs=1e-3)]
        still = scored("outer cells left out", params, ground[part], ground[:-8, 8:])
        assert still > 1


def test_padding_does_not_reach_the_inner_cells(params, texture):
    ground = texture(1, SIDE + 8, SIDE + 8)[0]
    whole, part = (pcd.extract(params, jnp.asarray(x), pcd.PAPER)[0] for x in (ground, ground[4:-4, 4:-4]))
    # Oracle: the same ground with 4 more pixels around it, so the same cells but one.
    np.testing.assert_allclose(alternatives.inner(part), whole[5:-5, 5:-5], atol=1e-3)
    assert np.abs(part - whole[1:-1, 1:-1])[3:-3, 3:-3].max() > 0.1  # one cell more, and it would not hold


def test_gain_and_offset_do_not_count_where_light_is_taken_out(params, texture):
    one, other = texture(2, SIDE, SIDE)
    for name in ("patches and features standardised", "local contrast instead of brightness"):
        assert scored(name, params, one, 0.5 * one + 0.2) < 0.01 * scored(name, params, one, other)


def test_the_mirrored_patch_keeps_its_cells(params, texture):
    patch = jnp.asarray(texture(1, SIDE, SIDE)[0])
    kept = alternatives.inner(pcd.extract(params, alternatives.mirrored(patch, patch)[0], pcd.PAPER)[0])
    plain = pcd.extract(params, patch, pcd.PAPER)[0]
    assert kept.shape == plain.shape  # by hand: 48 / 4 cells
    np.testing.assert_allclose(alternatives.inner(kept), alternatives.inner(plain), atol=1e-3)


def test_what_lies_in_shadow_does_not_count(params, texture):
    before = 0.3 + 0.7 * texture(1, SIDE, SIDE)[0]
    before[10:20, 10:20], before[0, 0] = 0.05, 0.0
    after = before.copy()
    after[12:16, 12:16] = 0.0
    assert scored("shadows masked", params, before, after) == pytest.approx(0, abs=1e-3)
    assert scored("the paper's: largest of each feature and L1", params, before, after) > 0.1


def test_poolings_by_hand():
    cells = np.zeros((10, 20, 2), np.float32)
    cells[3, 4:7, 1] = 2, 4, 8
    np.testing.assert_allclose(alternatives.mean_of_top(jnp.asarray(cells)), [0, 6])  # of 200 cells, two
    np.testing.assert_allclose(alternatives.power_mean(jnp.asarray(cells)), [0, (584 / 200) ** (1 / 3)], rtol=1e-5)


def test_spreads_are_those_of_the_patches_one_by_one(params, texture, monkeypatch):
    monkeypatch.setattr(evaluate, "BATCH", 2)  # of three, so the last batch is not full
    patches = texture(3, SIDE, SIDE)
    found = alternatives.spread_of(params, patches, 5)
    moved = pcd.pseudo_unchanged(jax.random.key(5), jnp.asarray(patches), pcd.PAPER.score.null)
    network = prepared(pcd.PAPER.backbone, params)
    describe = jax.jit(lambda x: pcd.PAPER.score.descriptor(network, x)[0])
    plain, other = (np.stack([describe(x) for x in y]) for y in (patches, moved))
    np.testing.assert_allclose(found.null, np.std(other - plain, axis=0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.between, np.std(plain, axis=0), rtol=1e-3, atol=1e-5)


def test_table_has_a_row_for_each_and_identical_patches_score_nothing(tmp_path, texture, monkeypatch, capsys):
    x, other = texture(2, SIDE, SIDE)
    made = [(x, 0, 0.0), (x, 1, 4.0), (x, 0, 0.0), (other, 1, 8.0)]  # the change of 4 px is not seen, and not counted
    trials = stack(
        Trial(x, after, label, "inserted", "made", str(i), "impact", size, real=True)
        for i, (after, label, size) in enumerate(made)
    )
    asked, scores, real_row = [], {}, alternatives.row
    monkeypatch.setattr(evaluate, "BATCH", 3)

    def build(*args, **options):
        asked.append((args[4], options["split"]))
        return {"inserted": trials}

    def row(name, label, real, rho):
        scores[name] = rho
        return real_row(name, label, real, rho)

    monkeypatch.setattr(evaluate, "build", build)
    monkeypatch.setattr(alternatives, "row", row)
    lines = alternatives.run(str(tmp_path), "unused", 0, 1.0, list(VARIANTS))
    assert asked == [(("inserted",), "development")]
    assert {name: rho[:2].tolist() for name, rho in scores.items()} == dict.fromkeys(
        VARIANTS, pytest.approx([0, 0], abs=1e-3)
    )
    assert {name for name, rho in scores.items() if rho[2] > 0.05} == set(VARIANTS)
    # By hand: unchanged pairs are identical and the changed one is not, so every score ranks without a mistake.
    assert lines[2:] == [f"| {name} | 1.000 | 1.000 | 100 % |" for name in VARIANTS]
    assert (tmp_path / "alternatives.md").read_text() == "\n".join(lines) + "\n" == capsys.readouterr().out
