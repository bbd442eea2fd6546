"""The table of methods against the paper's text."""

import re

import pytest

from planetcd_jax import PAPER
from planetcd_jax.baselines import METHODS, method
from planetcd_jax.errors import ConfigError

# Tables I and II as printed, typed here once more.
HIRISE = """Proposed 94.1; Proposed (average pooling) 92.1; Proposed (k-Means clustering) 91.7; Proposed (Layer 7) 92.1;
Proposed (Layer 5) 90.9; Inception-v3 absolute difference 94.5; Naive Bayes pixel difference 94.5;
Inception-v3 signed difference 91.7; Inception-v3 composite grayscale 89.8; SVM absolute difference 87.8;
Inception-v3 bottleneck representation 70.1; RCVA 64.6"""
CTX = """Proposed 81.3; Proposed (average pooling) 76.0; Proposed (k-Means clustering) 75.0;
Inception-v3 bottleneck representation 75.0; Inception-v3 absolute difference 71.9; Inception-v3 signed difference 54.2;
Inception-v3 composite grayscale 55.2; Naive Bayes pixel difference 52.1; SVM absolute difference 67.7; RCVA 59.4"""
LROC = {"proposed": "9 of 10", "proposed_mean": "7 of 10", "rcva": "7 of 10", "proposed_kmeans": "8 of 10"}


@pytest.mark.parametrize(("dataset", "table"), [("hirise_rsl", HIRISE), ("ctx", CTX)])
def test_figures_are_those_of_the_paper(dataset, table):
    rows = (re.fullmatch(r"(.*) ([\d.]+)", row.strip()).groups() for row in table.split(";"))
    printed = {title: f"{figure} %" for title, figure in rows}
    ours = {row.title: row.paper_figure(dataset) for row in METHODS.values() if row.paper_figure(dataset)}
    assert ours == printed


def test_figures_on_the_moon():
    assert {name: row.paper_figure("lroc") for name, row in METHODS.items() if row.paper_figure("lroc")} == LROC
    assert METHODS["proposed"].paper_figure("pairs") is None


def test_each_variant_changes_one_thing():
    assert method("proposed").configured(PAPER) == PAPER
    assert method("proposed_mean").configured(PAPER).score.pooling == "mean"
    assert method("proposed_conv3_1").configured(PAPER).backbone.layer == "conv3_1"  # the fifth convolution
    assert method("proposed_conv3_3").configured(PAPER).backbone.layer == "conv3_3"  # the seventh
    assert method("rcva").configured(PAPER).score.kind == "rcva"
    assert method("rcva").configured(PAPER.replace(noise_sigma=0.1)).score.null.noise_sigma == 0.1
    assert method("proposed_kmeans").decision == "kmeans"
    assert {row.name for row in METHODS.values() if row.kind == "supervised"} == {
        row.name for row in METHODS.values() if row.classifier
    }


def test_no_such_method():
    with pytest.raises(ConfigError, match=r"method is 'magic'; choose one of proposed, proposed_mean,"):
        method("magic")
