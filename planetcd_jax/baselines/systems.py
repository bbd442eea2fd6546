"""Every system of the paper's tables: its name here, its title there, what it is made of, and the printed figures."""

import dataclasses
import types
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from planetcd_jax.errors import ConfigError
from planetcd_jax.extras import require

if TYPE_CHECKING:  # reading the table costs nothing
    from planetcd_jax.config import ChangeConfig

PAPER_TEST_PAIRS = types.MappingProxyType({"hirise_rsl": 254, "ctx": 96, "lroc": 10})
"""Pairs on which the paper's figures were measured (section IV-A)."""


def _as_it_is(config: "ChangeConfig") -> "ChangeConfig":
    return config


def _with_fields(**changes: Any) -> Callable[["ChangeConfig"], "ChangeConfig"]:
    return lambda config: config.replace(**changes)


def _with_rcva(config: "ChangeConfig") -> "ChangeConfig":
    """RCVA in place of the score, with the same pseudo-unchanged pairs where they are made of one date."""
    from planetcd_jax.scores.null import NoiseAndShift
    from planetcd_jax.scores.rcva import Rcva

    own = config.score
    return config.replace(score=Rcva(null=NoiseAndShift() if own.null_uses_after else own.null))


@dataclasses.dataclass(frozen=True)
class Method:
    """One system of the comparison.

    Attributes:
        name: Name for `--method`.
        title: Row label in the paper's tables.
        kind: "unsupervised" or "supervised".
        decision: What turns rho into a decision: "self_supervised" (tau of pseudo-unchanged pairs), "kmeans", or
            "classifier".
        change: What makes its settings of those of the proposed one; for an unsupervised system.
        classifier: "naive_bayes", "svm", "inception", or None for an unsupervised system.
        representation: What the classifier sees: "difference", "absolute", "signed", "composite" or "bottleneck".
        accuracy: Accuracy in percent that the paper prints, by data set (tables I and II).
        correct: Correct pairs that the paper prints, by data set (LROC has 10 pairs).
    """

    name: str
    title: str
    kind: str
    decision: str
    change: Callable[["ChangeConfig"], "ChangeConfig"] = _as_it_is
    classifier: str | None = None
    representation: str | None = None
    accuracy: Mapping[str, float] = dataclasses.field(default_factory=dict)
    correct: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def configured(self, config: "ChangeConfig") -> "ChangeConfig":
        """Settings of this system, made of those of the proposed one.

        Raises:
            ConfigError: if it differs in a field that the score of `config` does not have.
        """
        try:
            return self.change(config)
        except ConfigError as error:
            if "is no field" not in str(error):
                raise
            raise ConfigError(
                f"method {self.name} differs from the proposed one in its {str(error).split()[0]}, and score "
                f"{config.score.kind} (preset robust) has none; compare the paper's systems with preset paper or "
                "authors_code."
            ) from None

    @property
    def classifier_input(self) -> str:
        """The representation of a pair that its classifier takes.

        Raises:
            ConfigError: for a system without a classifier.
        """
        if self.representation is None:
            raise ConfigError(f"method {self.name} has no classifier; choose a supervised one.")
        return self.representation

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules of the extra `supervised` that it needs."""
        if self.decision == "kmeans" or self.classifier in ("naive_bayes", "svm"):
            return ("sklearn",)
        return ("optax",) if self.classifier == "inception" else ()

    def paper_figure(self, dataset: str) -> str | None:
        """What the paper prints for a data set, such as "94.1 %" or "9 of 10"; None where it prints nothing."""
        if dataset in self.accuracy:
            return f"{self.accuracy[dataset]:.1f} %"
        if dataset in self.correct:
            return f"{self.correct[dataset]} of {PAPER_TEST_PAIRS[dataset]}"
        return None


def _unsupervised(
    name: str,
    title: str,
    hirise: float,
    ctx: float | None = None,
    lroc: int | None = None,
    *,
    decision: str = "self_supervised",
    change: Callable[["ChangeConfig"], "ChangeConfig"] = _as_it_is,
) -> Method:
    accuracy = {"hirise_rsl": hirise} | ({} if ctx is None else {"ctx": ctx})
    correct = {} if lroc is None else {"lroc": lroc}
    return Method(name, title, "unsupervised", decision, change, accuracy=accuracy, correct=correct)


def _supervised(name: str, title: str, classifier: str, representation: str, hirise: float, ctx: float) -> Method:
    accuracy = {"hirise_rsl": hirise, "ctx": ctx}
    return Method(
        name, title, "supervised", "classifier", classifier=classifier, representation=representation, accuracy=accuracy
    )


_ROWS = (
    _unsupervised("proposed", "Proposed", 94.1, 81.3, 9),
    _unsupervised("proposed_mean", "Proposed (average pooling)", 92.1, 76.0, 7, change=_with_fields(pooling="mean")),
    _unsupervised("proposed_kmeans", "Proposed (k-Means clustering)", 91.7, 75.0, 8, decision="kmeans"),
    _unsupervised("proposed_conv3_3", "Proposed (Layer 7)", 92.1, change=_with_fields(layer="conv3_3")),
    _unsupervised("proposed_conv3_1", "Proposed (Layer 5)", 90.9, change=_with_fields(layer="conv3_1")),
    _supervised("inception_absolute", "Inception-v3 absolute difference", "inception", "absolute", 94.5, 71.9),
    _supervised("naive_bayes_difference", "Naive Bayes pixel difference", "naive_bayes", "difference", 94.5, 52.1),
    _supervised("inception_signed", "Inception-v3 signed difference", "inception", "signed", 91.7, 54.2),
    _supervised("inception_composite", "Inception-v3 composite grayscale", "inception", "composite", 89.8, 55.2),
    _supervised("svm_absolute", "SVM absolute difference", "svm", "absolute", 87.8, 67.7),
    _supervised(
        "inception_bottleneck", "Inception-v3 bottleneck representation", "inception", "bottleneck", 70.1, 75.0
    ),
    _unsupervised("rcva", "RCVA", 64.6, 59.4, 7, change=_with_rcva),
)

METHODS: Mapping[str, Method] = types.MappingProxyType({row.name: row for row in _ROWS})
"""All systems by name, in the order of the paper's table I.

Source: Saha & Zhu, tables I and II, and the text of section IV-C for LROC.
"""


def require_modules(names: Iterable[str]) -> None:
    """Checks that the modules which some systems need are installed, before long work begins.

    Raises:
        ConfigError: if there is no system of that name.
        MissingExtraError: if something is not installed, with the extra that brings it.
    """
    for name in names:
        require("supervised", *method(name).modules)


def method(name: str) -> Method:
    """The system of that name.

    Raises:
        ConfigError: if there is none.
    """
    if name not in METHODS:
        raise ConfigError(f"method is {name!r}; choose one of {', '.join(METHODS)}.")
    return METHODS[name]
