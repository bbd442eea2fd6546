"""The catalogue: discoveries that hold their rate, changes merged over pairs, strata, and files that others read."""
# ruff: noqa: E501

import base64
import concurrent.futures
import io
import json
import shutil
import time

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pytest
from PIL import Image

from planetcd_jax import survey
from planetcd_jax.errors import ConfigError
from planetcd_jax.report.survey_page import survey_page
from planetcd_jax.surveys import catalogue, index_page
from planetcd_jax.surveys.attempt import scene_folder
from planetcd_jax.surveys.discoveries import BatchBH, rejections, share
from planetcd_jax.surveys.ledger import Ledger, Outcome
from planetcd_jax.surveys.pair_table import Pair
from planetcd_jax.surveys.scene_results import read_scene

MARS = 'GEOGCS["Mars (2015) - Sphere / Ocentric",DATUM["Mars (2015) - Sphere",SPHEROID["Mars (2015) - Sphere",3396190,0]],PRIMEM["Reference Meridian",0],UNIT["degree",0.0174532925199433]]'


def test_what_scenes_may_spend_is_one_in_all():
    sums = np.cumsum([share(n) for n in range(1, 200_000)])
    assert sums[-1] < 1 and sums[-1] > 0.95 and np.all(np.diff(sums) > 0)


def test_benjamini_hochberg_of_the_smallest():
    assert rejections(np.array([0.001, 0.02, 0.5]), 100, 0.1) == 1
    assert rejections(np.array([0.001, 0.0019, 0.5]), 100, 0.1) == 2 and rejections(np.array([]), 5, 0.1) == 0


def test_the_first_scene_is_benjamini_hochberg_at_its_part_of_the_rate():
    p = [1e-5, 2e-5, 0.3]
    count, level = BatchBH(0.1).take(p, 50)
    assert level == pytest.approx(0.1 * share(1)) and count == rejections(np.array(p), 50, level) == 2


def test_the_rate_holds_at_every_time_for_independent_windows():
    rng, rate, shares, power = np.random.default_rng(5), 0.2, [], []
    for _ in range(120):
        procedure, false, found, true = BatchBH(rate), 0, 0, 0
        worst = 0.0
        for _ in range(25):
            changed = rng.random(40) < 0.1
            p = np.where(changed, rng.random(40) * 1e-4, rng.random(40))
            order = np.argsort(p)
            count, _ = procedure.take(p[order[:10]], 40)  # the places: the smallest ones
            taken = order[: min(count, 10)]
            false, found, true = false + int((~changed[taken]).sum()), found + len(taken), true + int(changed.sum())
            worst = max(worst, false / max(found, 1))
        shares.append(false / max(found, 1))
        power.append((found - false) / true)
    assert np.mean(shares) < rate and np.mean(power) > 0.5
    nothing = BatchBH(rate)
    assert np.mean([nothing.take(np.sort(rng.random(40))[:10], 40)[0] > 0 for _ in range(400)]) < 0.02


@pytest.fixture
def folder(tmp_path):
    """A survey of four scenes: two pairs in time of one ground, one that divides them, one elsewhere."""
    scenes = {
        "early": ("2010-01-01T00:00:00Z", "2014-01-01T00:00:00Z", [(1, 9.0, 0.0005, 10.0, 5.0), (2, 4.0, 0.02, 10.5, 5.0)]),
        "inner": ("2012-01-01T00:00:00Z", "2013-01-01T00:00:00Z", [(1, 8.0, 0.0004, 10.0005, 5.0)]),
        "late": ("2015-01-01T00:00:00Z", "2016-01-01T00:00:00Z", [(1, 7.0, 0.001, 10.0, 5.0005)]),
        "seam": ("", "", [(1, 5.0, 0.01, 179.9999, 0.0)]),
        "over": ("", "", [(1, 6.0, 0.01, -179.9999, 0.0)]),
    }  # fmt: skip
    ledger = Ledger(tmp_path / "ledger.sqlite")
    facts = {
        name: {"before_time": a, "after_time": b, "light_difference": str(len(name) + ord(name[0]) % 7)}
        for name, (a, b, _) in scenes.items()
    }
    ledger.add(
        Pair(name, f"/{name}a.tif", f"/{name}b.tif", {k: v for k, v in facts[name].items() if v}) for name in scenes
    )
    ledger.beat()
    for name, (_, _, rows) in scenes.items():
        path = scene_folder(tmp_path, name)
        path.mkdir(parents=True)
        text = "rank,rho,p_value,lon,lat,area,area_unit,new_column\n"
        (path / "candidates.csv").write_text(text + "".join(",".join(map(str, row)) + ",90000,m2,x\n" for row in rows))
        before = {"crs": MARS, "transform": [1e-4, 0, 0, 0, -1e-4, 0], "size": [300, 300]}
        report = {"run": name, "tau": 3.0, "n_windows": 81, "before": before, "source": "simulated"}
        (path / "run.json").write_text(json.dumps(report))
        ledger.settle([Outcome(name, "done", seconds=1.0)], {name: read_scene(path)})
    ledger.close()
    return tmp_path


def test_changes_of_one_ground_are_one_with_the_dates_between(folder, capsys):
    assert survey.execute(["catalogue", str(folder)]) == 0
    assert "6 places, 4 changes, 1 discovery at a false discovery rate of 0.1" in capsys.readouterr().out
    places = geopandas.read_parquet(folder / "catalogue.parquet")
    assert places["rank"].tolist() == [1, 2, 3, 4, 5, 6] and places["place"][0] == "inner:1"
    assert places["expected_false"].tolist() == pytest.approx(
        [81 * p for p in (0.0004, 0.0005, 0.001, 0.01, 0.01, 0.02)]
    )
    assert places["fdr"].tolist() == pytest.approx(
        np.minimum(1, [81 * 5 * v for v in (0.00025, 0.00025, 0.001 / 3, 0.002, 0.002, 0.02 / 6)]).tolist()
    )
    changes = geopandas.read_parquet(folder / "changes.parquet").set_index("change")
    both = changes.loc[places.set_index("place").loc["early:1", "change"]]
    assert both["scenes"] == "inner early" and both["places"] == 2
    assert (both["last_not_seen"], both["first_seen"]) == ("2012-01-01T00:00:00Z", "2013-01-01T00:00:00Z")
    seam = changes.loc[places.set_index("place").loc["seam:1", "change"]]
    assert set(seam["scenes"].split()) == {"seam", "over"}
    assert set(changes["scenes"]) >= {"late", "early"}  # at another time; elsewhere


def test_where_there_is_no_discovery_it_says_what_one_would_need(folder, capsys):
    assert survey.execute(["catalogue", str(folder), "--fdr=0.01"]) == 0
    said, needed = capsys.readouterr().out, 0.01 * share(2) / 81  # of "inner", the second scene
    assert (
        "0 discoveries" in said
        and f"the smallest p-value is 0.0004, and one place alone in a scene of 81 windows needs {needed:.2g}" in said
    )
    assert "give more by --scene=null_draws=64 or above" in said


def test_its_files_know_the_body(folder):
    catalogue.build(folder)
    layers = {layer: pyogrio.read_dataframe(folder / "catalogue.gpkg", layer=layer) for layer in ("places", "changes")}
    parquet = geopandas.read_parquet(folder / "catalogue.parquet")
    assert len(layers["places"]) == len(parquet) == 6 and len(layers["changes"]) == 4
    for frame in (*layers.values(), parquet):
        assert frame.crs.ellipsoid.semi_major_metre == 3396190 and frame.crs.is_geographic
    first = (folder / "catalogue.gpkg").read_bytes()
    catalogue.build(folder)
    assert (folder / "catalogue.gpkg").read_bytes() == first and not list(folder.glob(".*tmp*"))


def test_strata_are_reviewed_in_turn(folder):
    places, _ = catalogue.build(folder, strata="light_difference")
    assert len(set(places["stratum"])) > 1
    turn = places.sort_values("review")["stratum"].tolist()
    assert len(set(turn[:2])) == 2 and sorted(places["review"]) == [1, 2, 3, 4, 5, 6]
    with pytest.raises(ConfigError, match="--strata=colour is no column"):
        catalogue.build(folder, strata="colour")


def test_discoveries_stay_when_scenes_come(folder):
    first = catalogue.read_places(folder, 0.5)[0].set_index("place")["discovery"]
    ledger = Ledger(folder / "ledger.sqlite")
    ledger.add([Pair("new", "/a", "/b")])
    ledger.settle(
        [Outcome("new", "done")], {"new": ({"n_windows": 81, "tau": 3.0}, [{"rank": 1, "p_value": 1e-6, "rho": 9.0}])}
    )
    ledger.close()
    then = catalogue.read_places(folder, 0.5)[0].set_index("place")["discovery"]
    assert first.any() and then[first.index].equals(first) and then["new:1"]


def test_a_scene_that_cannot_be_read_stops_nothing(tmp_path):
    facts, places = read_scene(tmp_path)
    assert "FileNotFoundError" in facts["error"] and places == [] and isinstance(pd.DataFrame(places), pd.DataFrame)


def test_marks_of_many_exports_are_one_set(folder, capsys):
    (folder / "scene.csv").write_text(
        "mark,above_tau,rank,lon,lat,comment\naccepted,true,1,10.0005,5.0,fresh\n,true,2,1,1,\n"
    )
    (folder / "run.json").write_text(
        json.dumps({"scene": "late", "marks": [{"rank": 1, "mark": "rejected", "class": "dust"}]})
    )
    (folder / "own.csv").write_text(
        "scene,rank,place,mark,note\nearly,2,,accepted,\nnobody,9,,accepted,\nlate,1,late:1,accepted,\n"
    )
    exports = [str(folder / name) for name in ("scene.csv", "run.json", "own.csv")]
    assert survey.execute(["marks", str(folder), *exports]) == 0
    said = capsys.readouterr().out
    assert "4 marks merged, 1 of them over another verdict; 1 row of no place of this survey; 3 accepted" in said
    chosen = geopandas.read_parquet(folder / "accepted.parquet").set_index("place")
    assert set(chosen.index) == {"inner:1", "early:2", "late:1"} and chosen.loc["inner:1", "note"] == "fresh"
    assert len(pyogrio.read_dataframe(folder / "accepted.gpkg")) == 3
    assert geopandas.read_parquet(folder / "catalogue.parquet").set_index("place").loc["late:1", "mark"] == "accepted"
    assert survey.execute(["marks", str(folder), str(folder / "ledger.sqlite")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_the_page_holds_places_footprints_and_thumbnails(folder):
    picture = io.BytesIO()
    Image.new("L", (100, 100), 90).save(picture, "PNG")
    url = "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode()
    data = json.dumps({"candidates": [{"rank": 1, "chip": {"before": url, "after": url}}]})
    page = f'<script id="data" type="application/json">{data}</script>'
    (scene_folder(folder, "early") / "report.html").write_text(page)
    (scene_folder(folder, "late") / "report.html").write_text("another page")
    index_page.rebuild(folder)
    html = (folder / "index.html").read_text()
    embedded = json.loads(html.partition('type="application/json">')[2].partition("</script>")[0])
    rows = [dict(zip(embedded["names"], row, strict=True)) for row in embedded["places"]]
    early = next(row for row in rows if row["place"] == "early:1")
    with Image.open(folder / early["thumbnail"]) as both:
        assert both.size == (146, 72)
    assert [row["thumbnail"] for row in rows if row["scene"] == "late"] == [""]
    assert (folder / early["report"]).is_file() and len(embedded["footprints"]) == 1
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert "SIMULATED" in html and "6 places, 4 changes, 1 discovery in 5 scenes." in html


def test_clients_that_end_together_write_it_one_after_the_other(folder, monkeypatch):
    inside, most, build = [], [], catalogue.build

    def slow_build(*args, **settings):
        inside.append(1)
        time.sleep(0.3)
        most.append(len(inside))
        inside.pop()
        return build(*args, **settings)

    monkeypatch.setattr(catalogue, "build", slow_build)
    with concurrent.futures.ThreadPoolExecutor(3) as clients:
        for ended in [clients.submit(index_page.rebuild, folder) for _ in range(3)]:
            ended.result()
    assert most == [1, 1, 1]


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (extra 'test')")
    paths = shutil.which("chromium"), shutil.which("chromedriver")
    if None in paths:
        pytest.skip("no chromium and chromedriver here; apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1000"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.chrome.service.Service(paths[1]))
    yield driver
    driver.quit()


def many(count):
    rng = np.random.default_rng(0)
    return [
        {
            "place": f"s{n // 4}:{n % 4 + 1}", "report": f"scenes/s{n // 4}/report.html", "thumbnail": "", "review": n + 1,
            "rank": n + 1, "scene": f"s{n // 4}", "lat": float(rng.uniform(-80, 80)), "lon": float(rng.uniform(-180, 180)),
            "rho_over_tau": float(rng.uniform(1, 3)), "p": 0.001, "expected_false": n / 100, "fdr": 0.1, "discovery": n < 5,
            "change": n, "last_not_seen": "", "first_seen": "", "kind": ("dark", "light")[n % 2], "stratum": "", "mark": "",
            "note": "",
        }
        for n in range(count)
    ]  # fmt: skip


@pytest.mark.slow
def test_ten_thousand_places_sort_filter_and_mark_with_few_rows_drawn(browser, tmp_path):
    html = survey_page(
        many(10_000), [[[0, 0], [1, 0], [1, 1]]], title="T", lede="", survey="x", simulated=False, version="0"
    )
    (tmp_path / "index.html").write_text(html)
    browser.get((tmp_path / "index.html").as_uri())
    js = browser.execute_script

    def shown():
        return js("return [...document.querySelectorAll('.place')].filter(r => r.style.display !== 'none')"
                  ".sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top).map(r => r.children[2].textContent)")  # fmt: skip

    assert shown()[:3] == ["1", "2", "3"] and len(shown()) < 60
    browser.set_script_timeout(30)
    frames = browser.execute_async_script("""
        const done = arguments[0], box = document.getElementById('scroll'), took = [];
        function step(n) {
          if (!n) return done(took);
          const began = performance.now();
          box.scrollTop += 4000;
          box.dispatchEvent(new Event('scroll'));
          requestAnimationFrame(() => { document.body.offsetHeight; took.push(performance.now() - began); step(n - 1); });
        }
        step(60);""")
    assert len(frames) == 60 and int(shown()[0]) > 4000 and len(shown()) < 60
    js("document.querySelector('.head-rho_over_tau').click(); document.getElementById('scroll').scrollTop = 0")
    js("document.querySelector('.head-rho_over_tau').click()")
    assert max(row["rho_over_tau"] for row in many(10_000)) == many(10_000)[int(shown()[0]) - 1]["rho_over_tau"]
    find = browser.find_element("id", "find")
    find.send_keys("s77 dark")
    assert js("return document.getElementById('count').textContent").startswith("22 of 10000")  # s77, s770 to s779
    js("document.querySelector('.place').click(); document.getElementById('accept').click()")
    browser.refresh()
    js("const m = document.getElementById('of-mark'); m.value = 'accepted'; m.dispatchEvent(new Event('change'))")
    assert js("return document.getElementById('count').textContent") == "1 of 10000 places"
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
