"""Kerner et al.'s systems: what they see, that they learn, and that patches of another size are taken."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from planetcd_jax.baselines import autoencoder, classifier, representations, supervised, training
from planetcd_jax.baselines.initial import initial_variables
from planetcd_jax.baselines.supervised import LabelledPairs, fit, predict
from planetcd_jax.errors import ConfigError, DataError
from planetcd_jax.report.curves import CURVES, write_learning_curves

pytestmark = pytest.mark.slow

TINY = training.TrainConfig(
    learning_rate=3e-3, batch_size=8, max_epochs=5, patience=5, width=0.125, last_stage="mixed0", dropout=0.0,
    augment=False, autoencoder_epochs=2,
)  # fmt: skip


def pairs(texture, n, size=75, seed=0):
    """Pairs of which the odd ones have a bright square in `after`, at another place each time."""
    rng = np.random.default_rng(seed)
    before = 0.2 + 0.4 * texture(n, size, size, seed=seed)
    after = before + rng.normal(0, 0.01, before.shape).astype(np.float32)
    labels = np.arange(n) % 2
    for i in np.flatnonzero(labels):
        r, c = rng.integers(0, size // 2, 2)
        after[i, r : r + size // 3, c : c + size // 3] += 0.3
    return LabelledPairs(before.astype(np.float32), after.astype(np.float32), labels)


@pytest.fixture(scope="module")
def eight():
    make = np.random.default_rng(1)
    smooth = make.uniform(size=(8, 5, 5))
    return pairs(lambda n, h, w, seed: np.asarray(jax.image.resize(smooth, (n, h, w), "linear"), np.float32), 8)


def often(pairs):
    """The same pairs six times over, so that an epoch is six steps."""
    return LabelledPairs(*(np.concatenate([a] * 6) for a in pairs))


@pytest.fixture(scope="module")
def overfitted(eight, tmp_path_factory):
    folder = tmp_path_factory.mktemp("overfitted")
    return fit("inception_bottleneck", often(eight), eight, TINY, checkpoint_dir=folder), folder


def test_representations_by_hand():
    before, after = jnp.asarray([[0.2, 1.0]], jnp.float32), jnp.asarray([[0.7, 0.0]], jnp.float32)
    absolute = representations.represent("absolute", before, after)
    np.testing.assert_allclose(absolute, [[[0, 0, 0], [1, 1, 1]]], atol=1e-6)
    signed = representations.represent("signed", before, after)
    np.testing.assert_allclose(signed, [[[0.5] * 3, [-1] * 3]], atol=1e-6)
    composite = representations.represent("composite", before, after)
    np.testing.assert_allclose(composite, [[[-0.6, 0.4, 0.5], [1, -1, -1]]], atol=1e-6)
    np.testing.assert_allclose(representations.pixel_vector("absolute", before, after), [0.5, 1], atol=1e-6)
    np.testing.assert_allclose(representations.pixel_vector("difference", before, after), [0.5, -1], atol=1e-6)
    with pytest.raises(ConfigError, match="representation is 'x'"):
        representations.represent("x", before, after)


def test_grey_patches(texture):
    x = texture(3, 30, 30)
    colour = jnp.asarray(np.moveaxis(x, 0, -1))
    np.testing.assert_allclose(representations.grey_patch(colour, (30, 30)), x.mean(axis=0), atol=1e-6)
    ramp = np.linspace(0, 1, 30, dtype=np.float32) * np.ones((30, 1), np.float32)
    half = np.asarray(representations.grey_patch(jnp.asarray(ramp), (15, 15)))
    np.testing.assert_allclose(half[:, 1:-1], ramp.reshape(15, 2, 15, 2).mean((1, 3))[:, 1:-1], atol=1e-5)
    normed = np.asarray(representations.grey_patch(jnp.asarray(x[0]), (30, 30), contrast=True))
    assert normed.min() >= 0 and normed.max() <= 1 and abs(normed.mean() - 0.5) < 0.1


def test_bottleneck_has_the_size_of_the_patch_and_is_0_without_change(texture):
    network, shape = autoencoder.Autoencoder(), (1, 33, 42, 1)
    params = initial_variables(network, shape, 0)["params"]
    assert jax.eval_shape(network.apply, {"params": params}, jnp.zeros(shape, jnp.float32)).shape == shape
    before, after = (jnp.asarray(t) for t in texture(2, 33, 42))
    assert representations.bottleneck(params, before, after).shape == (33, 42, 3)
    np.testing.assert_allclose(representations.bottleneck(params, before, 0.3 + 0.5 * before), 0, atol=1e-3)


def test_both_dates_are_turned_alike():
    x = jnp.arange(4 * 5 * 5, dtype=jnp.float32).reshape(4, 5, 5)
    one, two = classifier._turned(jax.random.key(3), x, x + 1)
    np.testing.assert_array_equal(one + 1, two)
    assert any(not np.array_equal(a, b) for a, b in zip(one, x, strict=True))
    for a, b in zip(one, x, strict=True):
        assert sorted(np.ravel(a)) == sorted(np.ravel(b))


@pytest.mark.parametrize("name", ["naive_bayes_difference", "svm_absolute"])
def test_pixel_classifiers_learn_and_take_another_size(name, texture):
    model = fit(name, pairs(texture, 60, 20, seed=1), config=TINY)

    test = pairs(texture, 30, 30, seed=2)
    got = predict(model, test.before, test.after)
    assert (got.changed == (test.labels == 1)).mean() >= 0.9
    np.testing.assert_array_equal(got.changed, got.score > 0.5)
    assert got.score.min() >= 0 and got.score.max() <= 1


def test_inception_lowers_the_loss_and_overfits_eight_pairs(eight, overfitted):
    model, _ = overfitted
    for part in ("autoencoder", "classifier"):
        losses = model.history[part]
        assert losses["train"][-1] < 0.97 * losses["train"][0], part
    assert model.history["classifier"]["train"][-1] < 0.2
    np.testing.assert_array_equal(predict(model, eight.before, eight.after).changed, eight.labels == 1)
    assert model.description() | {"size": None} == {
        "method": "inception_bottleneck",
        "initial_weights": "from scratch",
        "size": None,
        "width": 0.125,
        "last_stage": "mixed0",
        "epochs": 5,
        "local_contrast": False,
    }


def test_a_finished_training_is_not_repeated(eight, overfitted):
    model, folder = overfitted
    again = fit("inception_bottleneck", often(eight), eight, TINY, checkpoint_dir=folder)
    one, two = (predict(m, eight.before, eight.after).score for m in (model, again))
    np.testing.assert_allclose(one, two, atol=1e-6)
    with pytest.raises(ConfigError, match="other settings \\(dropout\\)"):
        other = dataclasses.replace(TINY, dropout=0.5)
        fit("inception_bottleneck", often(eight), eight, other, checkpoint_dir=folder)


def test_learning_curves_are_drawn(overfitted, tmp_path):
    write_learning_curves(tmp_path, overfitted[0].history, title="eight pairs", simulated=True)
    from matplotlib import image

    picture = image.imread(tmp_path / f"{CURVES}.png")
    assert picture.shape[0] > 300 and picture.std() > 0.05


def test_validation_pairs_are_held_back_by_class():
    labels = np.array([1] * 20 + [0] * 40)
    whole = LabelledPairs(np.arange(60), np.arange(60), labels)
    train, held = supervised.split_validation(whole, 0)
    assert sorted(np.concatenate([train.before, held.before])) == list(range(60))
    assert (held.labels == 1).sum() == 3 and (held.labels == 0).sum() == 6
    assert not np.array_equal(held.before, supervised.split_validation(whole, 1)[1].before)


@pytest.mark.parametrize(
    ("name", "change", "error", "text"),
    [
        ("proposed", {}, ConfigError, "method 'proposed' is unsupervised"),
        ("svm_absolute", {"labels": np.zeros(4, int)}, DataError, "the 4 training pairs are all of one class"),
        ("svm_absolute", {"labels": np.array([1, 0, -1, 0])}, DataError, "labels must be 4 values of 0 or 1"),
        ("svm_absolute", {"after": np.zeros((4, 8, 9), np.float32)}, DataError, r"after \(4, 8, 9\)"),
    ],
)
def test_pairs_that_cannot_be_learned_from(name, change, error, text):
    x = np.zeros((4, 8, 8), np.float32)
    with pytest.raises(error, match=text):
        fit(name, LabelledPairs(x, x, np.array([0, 1, 0, 1]))._replace(**change))
