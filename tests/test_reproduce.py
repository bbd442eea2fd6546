"""The page of reproduced tables: the paper's figure stands only beside its own pairs, and stand-ins say SIMULATED."""

import numpy as np
import pytest
from image_files import write_image

from planetcd_jax.errors import DataError
from planetcd_jax.pairs import open_dataset
from scripts import reproduce, stand_ins

pytestmark = pytest.mark.slow


def _small(monkeypatch, texture):
    """Simulated sets of ten pairs in place of the simulator's."""
    from planetcd_jax.pairs import PairSet
    from planetcd_jax.pairs.pair_set import RawPair

    def opened(name, *, source, split=None, seed=0):
        images = texture(10, 40, 40, seed=3)
        after = images.copy()
        after[::2, 5:25, 5:25] = 0.1
        return PairSet(name, "simulated", [f"SIMULATED_{split}_{i}" for i in range(10)],
                       lambda i: RawPair(images[i], after[i]), labels=[1, 0] * 5)  # fmt: skip

    monkeypatch.setattr(stand_ins, "open_dataset", opened)


@pytest.mark.parametrize("name", ["hirise_rsl", "ctx", "lroc"])
def test_stand_ins_lie_as_the_hub_stores_a_set_and_are_never_real(tmp_path, monkeypatch, texture, name):
    _small(monkeypatch, texture)
    made = stand_ins.write(name, tmp_path / name)
    pairs = open_dataset(name, data_dir=str(made))
    assert pairs.source == "simulated" and len(pairs) == 10 and pairs.labels.tolist() == [1, 0] * 5
    assert pairs.provenance["pairs"]["title"] == f"SIMULATED stand-in for {name}, 10 pairs"
    assert pairs.ids[0].startswith("SIMULATED")
    pairs.close()
    with pytest.raises(DataError, match="its pairs say that they are simulated"):
        open_dataset(name, data_dir=str(made), source="real")
    if name != "lroc":
        assert len(open_dataset(name, data_dir=str(made), split="all")) == 30  # ten of each split here


def test_supervised_methods_train_on_stand_ins(tmp_path, monkeypatch, texture):
    _small(monkeypatch, texture)
    made = stand_ins.write("ctx", tmp_path / "stand-in-ctx")
    source = reproduce.Source("ctx", "test", (f"--data_dir={made}", "--split=test"), "no network")
    (row,) = reproduce.table_rows(source, ["naive_bayes_difference"], tmp_path)
    assert row.made["training"]["trained_on"] == "10 pairs of hirise_rsl, SIMULATED"
    assert row.made["n_labelled"] == 10 and row.made["accuracy"] == 1.0  # changes of one kind, in one place


def made_of(publisher, source="real", skipped=0):
    pairs = {"publisher": publisher, "title": f"{publisher} test, 10 pairs"}
    counts = {"true_positive": 4, "true_negative": 5, "false_positive": 0, "false_negative": 1}
    figures = {"accuracy": 0.9, "accuracy_interval_95": [0.6, 0.98], "tau": 1.0, "roc_auc": 0.95, "n_labelled": 10}
    about = {"source": source, "provenance": {"pairs": pairs}, "n_skipped": skipped}
    return {**figures, **about, "confusion": counts}


def test_the_papers_figure_stands_beside_its_own_pairs_alone():
    source = reproduce.Source("lroc", None, ())
    text = reproduce.section(source, [reproduce.Row("Proposed", "8 of 10", made_of("paper"))])
    assert "| Proposed | 8 of 10 | 90.0 |" in text
    for made in (made_of("Mars-Bench"), made_of("paper", skipped=1), made_of(None)):
        text = reproduce.section(source, [reproduce.Row("Proposed", "8 of 10", made)])
        assert "8 of 10" not in text and "The pairs are not the paper's" in text
    source = source._replace(why="no network")
    text = reproduce.section(source, [reproduce.Row("Proposed", "8 of 10", made_of("paper", "simulated"))])
    assert (
        "8 of 10" not in text
        and "**SIMULATED** pairs in the hub's layout, no figure of the method on real data: no network" in text
    )
    page = reproduce.page([text], "command")
    assert "Some or all of it is SIMULATED" in page and "| Proposed | 94.1 % | 81.3 % | 9 of 10 |" in page


def test_one_real_set_runs_with_the_authors_literal_threshold(tmp_path, bn_params):
    from planetcd_jax import constants
    from planetcd_jax.networks import weights_io

    rng = np.random.default_rng(0)
    for i in range(10):
        for date in ("before", "after"):
            folder = tmp_path / "lroc" / ("change" if i % 2 else "no_change")
            write_image(folder / f"{i}_{date}.png", rng.integers(0, 255, (40, 40), np.uint8))
    about = {"input_mean": constants.IMAGENET_MEAN, "input_std": constants.IMAGENET_STD, "origin": "random",
             "licence": "none", "backbone": "vgg16_bn"}  # fmt: skip
    weights_io.save_weights(tmp_path / "bn.h5", bn_params, **about)
    source = reproduce.find_source("lroc", None, str(tmp_path / "lroc"), tmp_path)
    assert source.why == "" and "--source=real" in source.options
    rows = reproduce.table_rows(source, ["rcva"], tmp_path)
    rows += reproduce.authors_rows(source, str(tmp_path / "bn.h5"), tmp_path)
    assert [row.made["tau"] for row in rows][2] == constants.AUTHORS_TAU and rows[2].made["n_labelled"] == 10
    text = reproduce.section(source, rows)
    assert "| RCVA | 7 of 10 |" in text and "Authors' code, literal tau | - |" in text
    with pytest.raises(DataError):
        reproduce.find_source("ctx", "test", str(tmp_path / "nowhere"), tmp_path)
