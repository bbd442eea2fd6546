"""The page of a set of pairs: what it holds, and, in a real browser, ranking, threshold, blink and methods."""

import json
import time

import numpy as np
import pytest
from test_page import EVIL, axe, browser  # noqa: F401 (a fixture)

from planetcd_jax.report import figures, pairs_page
from planetcd_jax.report.results import Scores
from planetcd_jax.thresholds import Decision

N = 20


def ranking(name, scale, labels=None):
    """Scores scale * (1 ... 20), the last ids highest; null scores scale * (0.5 ... 10); pictures of the first five."""
    rng = np.random.default_rng(3)
    rho = scale * np.arange(1, N + 1, dtype=np.float32)
    null = scale * np.arange(1, N + 1, dtype=np.float32) / 2
    tau = 9.5 * scale
    labels = np.full(N, -1, np.int8) if labels is None else labels
    ids = tuple(EVIL if i == N - 1 else f"pair_{i + 1}" for i in range(N))
    scores = Scores(ids, labels, rho, null, tau, rho > tau, 1 / (1 + rho))
    shown = []
    for i in scores.ranking()[:5]:
        before, after = rng.random((2, 40, 60))
        picture = figures.PairPicture(ids[i], before, after, float(rho[i]), 0.1, True, heat=rng.random((40, 60)))
        shown.append(pairs_page.shown(picture))
    return pairs_page.Ranking(name, scores, Decision(), shown)


def html_of(*rankings, simulated=False):
    return pairs_page.pairs_page(
        rankings, name="mine", first=rankings[-1].name, facts=[("Pairs", EVIL)], simulated=simulated
    )


LABELS = np.array([0] * 8 + [1] * 12, np.int8)


def test_the_page_escapes_names_and_needs_nothing_from_outside():
    html = html_of(ranking("paper", 100.0), ranking("robust", 1.0))
    assert EVIL not in html and html.count("<script") == html.count("</script>") == 2
    data = json.loads(html.split('type="application/json">')[1].split("</script>")[0])
    assert data["methods"][1]["rows"][0]["id"] == EVIL
    for outside in ("http://", "https://", 'src="//', "@import", "url("):
        assert outside not in html, outside


def test_a_page_of_many_large_pairs_stays_small():
    rng = np.random.default_rng(0)
    image = rng.random((800, 1200))  # noise, the hardest to compress
    one = pairs_page.shown(figures.PairPicture("a", image, image[::-1], 1.0, 0.1, True, heat=image))
    assert 500 * sum(map(len, one[1:])) < 20e6


def test_simulated_pairs_say_so():
    assert "SIMULATED: these pairs are made up" in html_of(ranking("paper", 1.0), simulated=True)
    assert "SIMULATED" not in html_of(ranking("paper", 1.0))


def _text(page, name):
    return page.find_element("id", name).text


@pytest.fixture
def opened(browser, tmp_path):  # noqa: F811
    path = tmp_path / "report.html"
    path.write_text(html_of(ranking("paper", 100.0, LABELS), ranking("robust", 1.0, LABELS)), encoding="utf-8")
    browser.get_log("browser")
    browser.get(path.as_uri())
    yield browser
    assert browser.get_log("browser") == []


def _slide(page, share):
    page.execute_script(
        "const s = document.getElementById('tau'); s.value = arguments[0];"
        "s.dispatchEvent(new Event('input', {bubbles: true}))", round(1000 * share),
    )  # fmt: skip


def test_the_threshold_counts_what_it_must(opened):
    counts = _text(opened, "counts")
    assert "11 of 20 pairs above 9.5." in counts  # rho 10 ... 20
    assert "5.0 % of unchanged pairs, 1.0 of 20" in counts  # of null scores 0.5 ... 10, one is above 9.5
    assert "11 of 12 changed pairs found, 0 of 8 unchanged ones above, 95.0 % decided rightly" in counts
    _slide(opened, 4.25 / 20.6)  # the axis ends 3 % above the highest score
    assert "16 of 20 pairs above" in _text(opened, "counts")
    assert "60.0 % of unchanged pairs, 12.0 of 20" in _text(opened, "counts")
    _slide(opened, 1.0)
    assert "0 of 20 pairs above" in _text(opened, "counts") and "fewer than 5.0 %" in _text(opened, "counts")
    opened.find_element("id", "reset").click()
    assert "11 of 20 pairs above 9.5." in _text(opened, "counts")


def test_keys_walk_the_ranking_and_methods_change_it(opened):
    rows = opened.find_elements("css selector", "#ranking li")
    assert len(rows) == N and _text(opened, "pair-title") == f"1. {EVIL}"
    opened.find_element("tag name", "body").send_keys("n")
    assert _text(opened, "pair-title") == "2. pair_19" and "rho 19" in _text(opened, "facts-of-pair")
    opened.find_element("css selector", "input[value=paper]").click()
    assert "rho 1900" in _text(opened, "facts-of-pair") and "above 950." in _text(opened, "counts")
    opened.find_element("css selector", "#show option[value=unchanged]").click()
    assert sum(row.is_displayed() for row in opened.find_elements("css selector", "#ranking li")) == 8


def test_the_dates_blink_until_stopped(opened):
    opened.execute_script(
        "const s = document.getElementById('speed'); s.value = 8; s.dispatchEvent(new Event('input'))"
    )
    image, seen = opened.find_element("id", "blink"), set()
    end = time.monotonic() + 10
    while len(seen) < 2 and time.monotonic() < end:
        seen.add(image.get_attribute("src"))
    both = {opened.find_element("id", name).get_attribute("src") for name in ("before", "after")}
    assert seen == both and len(both) == 2
    opened.find_element("tag name", "body").send_keys("b")
    assert opened.find_element("id", "blink-stop").get_attribute("aria-pressed") == "true"
    still = image.get_attribute("src")
    time.sleep(0.5)
    assert image.get_attribute("src") == still


def test_nothing_runs_out_of_a_narrow_window(opened):
    opened.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        assert opened.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(opened, scheme):
    opened.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    try:
        opened.find_element("css selector", "details summary").click()
        assert axe(opened) == []
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
