"""Every system by name on one set of pairs: what is shared, and what the supervised ones are trained on."""

import numpy as np
import pytest

import planetcd_jax as pcd
from planetcd_jax.baselines.train_config import SMALL, TrainConfig
from planetcd_jax.experiments.methods import Bench, Job
from planetcd_jax.pairs import PairSet
from planetcd_jax.pairs.pair_set import RawPair


def made_set(n, seed, name="made"):
    """n pairs of 24x24 px; those with an odd number have a bright square on the second date."""
    rng = np.random.default_rng(seed)
    before = rng.random((n, 24, 24), np.float32)
    after = np.clip(before + rng.normal(0, 0.02, before.shape).astype(np.float32), 0, 1)
    after[1::2, 8:16, 8:16] = 1.0
    return PairSet(
        name, "simulated", [f"p{i}" for i in range(n)], lambda i: RawPair(before[i], after[i], None, None),
        labels=[i % 2 for i in range(n)],
    )  # fmt: skip


def bench(params, training):
    return Bench(
        made_set(12, 1),
        Job(
            pcd.PAPER.replace(layer="conv1_1", max_shift=2), params, num_devices=1, progress=False, training=training,
            open_training=lambda: (made_set(40, 2, "lessons"), made_set(16, 3, "checks")),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("most", "words"), [(None, "trained on 40 pairs of lessons"), (8, "trained on 8 of 40 pairs of lessons")]
)
def test_training_pairs_may_be_few_and_the_note_says_so(most, words, params):
    outcome = bench(params, TrainConfig(max_pairs=most)).run("naive_bayes_difference")
    assert words in outcome.note
    assert outcome.details["training"]["trained_on"].startswith(words.removeprefix("trained on "))
    assert len(outcome.scores.ids) == 12


def test_a_square_is_learnt(params):
    outcome = bench(params, TrainConfig()).run("naive_bayes_difference")
    np.testing.assert_array_equal(outcome.scores.changed, [i % 2 == 1 for i in range(12)])


def test_small_training_is_bounded():
    assert SMALL.max_pairs == 480
    with pytest.raises(pcd.ConfigError, match="max_pairs is 1; give None or a whole number, 4 or more"):
        TrainConfig(max_pairs=1)


def test_k_means_shares_the_scores_of_the_proposed_method(params):
    shared = bench(params, None)
    proposed, clustered = shared.run("proposed"), shared.run("proposed_kmeans")
    assert proposed.scores.rho is clustered.scores.rho
    assert clustered.scores.tau != proposed.scores.tau
