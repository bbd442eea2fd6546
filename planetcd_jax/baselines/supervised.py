"""The supervised systems of Kerner et al. 2019, under one pair of functions: `fit` and `predict`.

What was found: the combinations of classifier and representation, and that they are trained on HiRISE RSL and tested on
others (Saha & Zhu, section IV-B and tables I and II). What was assumed is said in `representations`, `autoencoder` and
`training`; besides: Gaussian naive Bayes and an SVM with radial basis functions, as scikit-learn sets them by default;
Inception-v3 ends in one logit on its pooled features and is trained as a whole; scores above 0.5 are changes.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from planetcd_jax.baselines import classifier, representations, training
from planetcd_jax.baselines.inception_weights import InceptionWeights, load_inception
from planetcd_jax.baselines.systems import Method
from planetcd_jax.baselines.systems import method as find_method
from planetcd_jax.errors import ConfigError, DataError
from planetcd_jax.extras import brought_by
from planetcd_jax.types import Array

VALIDATION_SHARE = 0.15
"""Share of the training pairs of each class that is held back where no validation pairs are given."""

_GREY_BATCH = 64


class LabelledPairs(NamedTuple):
    """Pairs with labels.

    Attributes:
        before, after: [N, H, W] or [N, H, W, C] float in [0, 1].
        labels: [N] integers, 1 changed, 0 unchanged.
    """

    before: np.ndarray
    after: np.ndarray
    labels: np.ndarray


class Prediction(NamedTuple):
    """Scores and decisions of N pairs.

    Attributes:
        score: [N] float32 in [0, 1].
        changed: [N] bool, score > 0.5.
    """

    score: np.ndarray
    changed: np.ndarray


@dataclasses.dataclass(frozen=True)
class SupervisedModel:
    """A fitted system.

    Attributes:
        method: Its row of the table.
        config: Settings of its training.
        size: Rows and columns to which patches are resampled.
        fitted: A scikit-learn estimator, or `classifier.InceptionFit`.
        initial_weights: "none" (naive Bayes, SVM), "from scratch", or where the weights of Inception-v3 came from.
        history: Loss curves by training ("autoencoder", "classifier"); empty without training in epochs.
    """

    method: Method
    config: training.TrainConfig
    size: tuple[int, int]
    fitted: Any
    initial_weights: str = "none"
    history: dict[str, Any] = dataclasses.field(default_factory=dict)

    def description(self) -> dict[str, Any]:
        """What a table must say of it, JSON-able."""
        about = {"method": self.method.name, "initial_weights": self.initial_weights, "size": list(self.size)}
        if self.method.classifier == "inception":
            about |= {"width": self.config.width, "last_stage": self.config.last_stage}
            about["epochs"] = len(self.history["classifier"]["train"])
        return about | {"local_contrast": self.config.contrast}


def _checked(pairs: LabelledPairs, what: str) -> LabelledPairs:
    pairs = LabelledPairs(*(np.asarray(a) for a in pairs))
    if pairs.before.shape != pairs.after.shape or pairs.before.ndim not in (3, 4) or len(pairs.before) == 0:
        raise DataError(
            f"{what}: before has shape {pairs.before.shape} and after {pairs.after.shape}; give two [N, H, W(, C)]."
        )
    if pairs.labels.shape != pairs.before.shape[:1] or not np.isin(pairs.labels, (0, 1)).all():
        raise DataError(f"{what}: labels must be {len(pairs.before)} values of 0 or 1; leave unlabelled pairs out.")
    return pairs


def split_validation(pairs: LabelledPairs, seed: int) -> tuple[LabelledPairs, LabelledPairs]:
    """Training and validation pairs: a share of each class is held back by seed, at least one pair of two or more.

    Raises:
        DataError: if nothing can be held back.
    """
    held = np.zeros(len(pairs.labels), bool)
    for label in (0, 1):
        members = np.random.default_rng([seed, label]).permutation(np.flatnonzero(pairs.labels == label))
        held[members[: max(round(VALIDATION_SHARE * len(members)), int(len(members) > 1))]] = True
    if not held.any():
        raise DataError(f"{len(held)} training pairs are too few to hold any back; give validation pairs.")
    return _chosen(pairs, ~held), _chosen(pairs, held)


def _chosen(pairs: LabelledPairs, keep: np.ndarray) -> LabelledPairs:
    return LabelledPairs(pairs.before[keep], pairs.after[keep], pairs.labels[keep])


@functools.partial(jax.jit, static_argnames=("size", "contrast"))
def _grey(x: Array, size: tuple[int, int], contrast: bool) -> Array:
    return jax.vmap(lambda patch: representations.grey_patch(patch, size, contrast=contrast))(x)


def _grey_patches(x: np.ndarray, size: tuple[int, int], contrast: bool) -> np.ndarray:
    """[N, H, W(, C)] to [N, *size] float32, a batch at a time; the last is filled up, so it compiles once."""
    out = np.empty((len(x), *size), np.float32)
    for start in range(0, len(x), _GREY_BATCH):
        inside = np.minimum(np.arange(start, start + _GREY_BATCH), len(x) - 1)
        part = np.asarray(_grey(np.asarray(x[inside], np.float32), size, contrast))
        out[start : start + _GREY_BATCH] = part[: len(x) - start]
    return out


def _grey_pairs(pairs: LabelledPairs, size: tuple[int, int], contrast: bool) -> classifier.GreyPairs:
    before, after = (_grey_patches(x, size, contrast) for x in (pairs.before, pairs.after))
    return classifier.GreyPairs(before, after, pairs.labels.astype(np.int32))


def _pixel_vectors(name: str, pairs: classifier.GreyPairs) -> np.ndarray:
    """[N, H * W] float32."""
    vectors = jax.vmap(functools.partial(representations.pixel_vector, name))
    return np.asarray(vectors(jnp.asarray(pairs.before), jnp.asarray(pairs.after)))


def _fit_pixels(row: Method, pairs: classifier.GreyPairs) -> Any:
    with brought_by("supervised"):
        from sklearn.naive_bayes import GaussianNB  # imported late: slow, and needed for this alone
        from sklearn.svm import SVC

    estimator = GaussianNB() if row.classifier == "naive_bayes" else SVC()
    return estimator.fit(_pixel_vectors(row.classifier_input, pairs), pairs.labels)


def _pixel_logits(row: Method, estimator: Any, pairs: classifier.GreyPairs) -> np.ndarray:
    """Log-odds of naive Bayes, or the decision value of the SVM, [N]; above 0 is changed."""
    vectors = _pixel_vectors(row.classifier_input, pairs)
    if row.classifier == "naive_bayes":
        joint = estimator.predict_joint_log_proba(vectors)  # [N, 2]
        return joint[:, 1] - joint[:, 0]
    return estimator.decision_function(vectors)


def fit(
    name: str,
    train: LabelledPairs,
    validation: LabelledPairs | None = None,
    config: training.TrainConfig = training.FULL,
    *,
    weights: str | pathlib.Path | InceptionWeights | None = None,
    checkpoint_dir: str | pathlib.Path | None = None,
    progress: bool = False,
    on_checkpoint: Callable[[int], None] | None = None,
) -> SupervisedModel:
    """Fits one supervised system.

    Args:
        name: A supervised method of `registry.METHODS`.
        train: Pairs to learn from; both classes must be there.
        validation: Pairs for early stopping, or None to hold back a share of `train`. Naive Bayes and the SVM have
            nothing to stop, and learn from `train` alone.
        config: Settings; `training.FULL` or `training.SMALL`, or any other.
        weights: Initial Inception-v3 weights (see `load_inception`), or None to start from scratch.
        checkpoint_dir: None, or a folder for this method alone; a run that was killed goes on from there.
        progress: Whether to show progress bars.
        on_checkpoint: Called with the number of steps done after each checkpoint of Inception-v3.

    Returns:
        `SupervisedModel`.

    Raises:
        ConfigError: if the method is not a supervised one, or settings do not go together.
        DataError: if the pairs cannot be learned from.
        WeightsError: if the weights cannot be used.

    Example:
        >>> train = LabelledPairs(before, np.stack([before[0], after[1]]), np.array([0, 1]))
        >>> model = fit("naive_bayes_difference", train)
        >>> predict(model, train.before, train.after).changed  # [N]
        array([False,  True])
    """
    row = find_method(name)
    if row.kind != "supervised":
        raise ConfigError(f"method {name!r} is unsupervised and needs no fit; choose a supervised one.")
    train = _checked(train, "training pairs")
    if len(np.unique(train.labels)) < 2:
        raise DataError(f"the {len(train.labels)} training pairs are all of one class; both are needed.")
    side = config.image_size
    size = (side, side) if side else (train.before.shape[1], train.before.shape[2])
    if row.classifier != "inception":
        return SupervisedModel(row, config, size, _fit_pixels(row, _grey_pairs(train, size, config.contrast)))
    if validation is None:
        train, validation = split_validation(train, config.seed)
    validation = _checked(validation, "validation pairs")
    loaded = load_inception(weights) if isinstance(weights, str | pathlib.Path) else weights
    learned, held_back = (_grey_pairs(part, size, config.contrast) for part in (train, validation))
    watch = training.Watch(checkpoint_dir, progress, on_checkpoint)
    fitted = classifier.fit_inception(row, learned, held_back, config, weights=loaded, watch=watch)
    origin = f"{loaded.origin['source']} (SHA-256 {loaded.origin['sha256'][:12]})" if loaded else "from scratch"
    return SupervisedModel(row, config, size, fitted, origin, fitted.history)


def predict(model: SupervisedModel, before: np.ndarray, after: np.ndarray) -> Prediction:
    """Scores and decisions of pairs; patches of another size than those trained on are resampled to it.

    Args:
        model: From `fit`.
        before, after: [N, H, W] or [N, H, W, C] float in [0, 1].

    Returns:
        `Prediction`. The score is the probability that naive Bayes or Inception-v3 gives, and for the SVM the
        logistic function of its decision value: an order, not a probability.

    Raises:
        DataError: if the arrays are not N pairs.
    """
    unlabelled = LabelledPairs(before, after, np.zeros(len(before), np.int8))
    pairs = _grey_pairs(_checked(unlabelled, "pairs"), model.size, model.config.contrast)
    if model.method.classifier == "inception":
        logits = classifier.inception_logits(model.fitted, model.method.classifier_input, pairs.before, pairs.after)
    else:
        logits = _pixel_logits(model.method, model.fitted, pairs)
    score = jax.nn.sigmoid(jnp.asarray(logits, jnp.float32))
    return Prediction(np.asarray(score), np.asarray(logits) > 0)
