"""The page of a scene, in a real browser: list, pictures, marks, map, files. Chromium is Debian's `chromium`."""

import base64
import csv
import dataclasses
import importlib.resources
import io
import json
import pathlib
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from planetcd_jax.report import page, page_images

EVIL = "</script><script>window.hurt=1</script>\"'&<img src=x onerror=window.hurt=1>.tif"
SIDE, INNER, WINDOW, WIDE = 148, 24, 100, 592
KINDS = ("appeared", "darker", "moved")


def pictures(rng, side=SIDE):
    """Noise, the hardest to compress, with one bright pixel on the second date."""
    before, after = (rng.random((side, side)).astype(np.float32) for _ in range(2))
    after[side // 2, side // 2] = 9.0
    return (before, after), (np.ones((side, side), bool),) * 2


def candidate(rank, rng, *, rho, side=SIDE, **more):
    row = {
        "rank": rank, "rho": rho, "p_value": 0.01 * (7 - rank) if rank < 7 else 0.5, "site": 1, "lon": 75.0 + rank,
        "lat": -18.5, "x": 1.0, "y": 2.0, "row": 40 * rank + 50, "col": 60 * rank + 50, "area": 1234.5 * (rank % 3 + 1),
        "area_unit": "m2", "height_px": 30, "width_px": 40, "pixel_size": 3.0, "pixel_level": 2.2, "outlined": 1,
        "window_row": 40 * rank, "window_col": 60 * rank, "windows": 3,
        "shift_rows": float("nan"), "shift_cols": float("nan"), "correlation": 0.294, "brightness_difference": -0.1,
        "kind": KINDS[rank % 3], "remark": EVIL, **more,
    }  # fmt: skip
    dates, valid = pictures(rng, side)
    ring = [[INNER + 30, INNER + 35], [INNER + 70, INNER + 35], [INNER + 70, INNER + 65], [INNER + 30, INNER + 35]]
    drawn = {
        "box": [INNER, INNER, WINDOW, WINDOW], "rings": [ring], "heat_top": 3.0, "heat_level": 2.2,
        "chip_row": row["row"] - side // 2, "chip_col": row["col"] - side // 2,
    }  # fmt: skip
    return page.PageCandidate(
        row,
        page_images.coded_pair(dates, valid, page_images.shown_side(side)),
        page_images.coded_pair(*pictures(rng, WIDE), 120, page_images.WIDE_BYTES),
        page_images.heat_picture(dates[0]),
        drawn,
    )


FRAME = page.MapFrame(
    (6.0, 0.0, 1000.0, 0.0, -6.0, 2000.0), "Mars", 'LOCAL_CS["Mars"]', "m", 6.0, 30.0, (page.Sun("before", 265.0),),
    ({"text": "75.2° E", "points": [[100.0, 0.0], [110.0, 600.0]]},),
)  # fmt: skip


def make_page(
    found, *, tau=150.0, simulated=False, name=EVIL, run="0123456789abcdef", expected=float("nan"), frame=FRAME
):
    rng = np.random.default_rng(0)
    rho = rng.random((20, 25)).astype(np.float32) * 300
    rho[:3] = np.nan
    dates = tuple(rng.random((90, 110)).astype(np.float32) for _ in range(2))
    overview = page.Overview(dates, (np.ones((90, 110), bool),) * 2, rho, 600, 720, WINDOW, 24)
    about = page.About(
        run=run, tau=tau, null=np.arange(1.0, 201.0), windows=1000, changed=sum(c.row["rho"] > tau for c in found),
        expected=expected, corner=(0, 0), chip_side=SIDE, wide_side=WIDE, frame=frame, before_name=name,
        after_name="b.tif", facts=[("Before", name)], inner_facts=[("Run", run)], simulated=simulated, version="0",
    )  # fmt: skip
    return page.scene_page(found, overview, about)


@pytest.fixture(scope="module")
def six():
    rng = np.random.default_rng(1)
    return [candidate(k, rng, rho=350.0 - 50.0 * k) for k in range(1, 7)]  # 300, 250, ..., 50


def data_of(html):
    return json.loads(html.split('type="application/json">')[1].split("</script>")[0])


def test_the_page_is_one_file_and_escapes_every_name(six):
    html = make_page(six)
    assert EVIL not in html and "<img src=x" not in html
    assert html.count("<script") == 2 and html.count("</script>") == 2
    for outside in ("http://", "https://", 'src="//', "@import", "url("):
        assert outside not in html.replace("http://www.w3.org/2000/svg", ""), outside
    data = data_of(html)
    assert data["candidates"][0]["remark"] == EVIL and data["candidates"][0]["shift_rows"] is None


def test_a_page_is_made_again_from_its_own_data(six):
    html = make_page(six)
    assert page.render(data_of(html)) == html


def test_500_places_of_pure_noise_stay_under_20_mb():
    rng = np.random.default_rng(2)
    one = candidate(1, rng, rho=1.0, explanation="x" * 120, rho_by_shift="1.234 " * 9)
    html = make_page([one] * 500)
    assert 15_000_000 < len(html.encode()) < 19_500_000  # room for an overview of 1400 px
    large = candidate(1, rng, rho=1.0, side=600)
    assert len(large.chip.before) + len(large.chip.after) <= page_images.CHIP_BYTES


def test_simulated_pages_say_so(six):
    assert "SIMULATED" in make_page(six, simulated=True).split("</title>")[0]
    assert "SIMULATED: no real place" in make_page(six, simulated=True)
    assert "SIMULATED" not in make_page(six, name="a.tif")


def test_what_is_coded_comes_back_and_nothing_saturates():
    """Oracle: straight lines between the knots, as the page's script draws them."""
    dates, valid = pictures(np.random.default_rng(3))
    pair = page_images.coded_pair(dates, valid, SIDE, most=10**6)
    levels = np.asarray(Image.open(io.BytesIO(base64.b64decode(pair.after.split(",")[1]))), float)
    back = np.interp(levels, page_images.LEVELS, pair.knots)
    assert np.abs(back - dates[1])[dates[1] < 1].mean() < 0.05  # JPEG of noise
    assert back[SIDE // 2, SIDE // 2] > 2.0 and pair.spread[2][-1] == 9.0  # far brighter than all else
    assert pair.spread[0] == pytest.approx(np.percentile(dates[0], page_images.PERCENTS), rel=1e-3)


def test_a_pixel_map_keeps_its_largest_values_and_what_is_not_known():
    heat = np.zeros((150, 150), np.float32)
    heat[10, 10], heat[100, 100] = 4.0, 2.0
    heat[:, 140:] = np.nan
    levels = np.asarray(Image.open(io.BytesIO(base64.b64decode(page_images.heat_picture(heat).split(",")[1]))), float)
    assert levels.shape == (75, 75) and (levels[:, 70:] == 0).all()
    assert 4.0 * (levels[5, 5] - 1) / 252 == 4.0 and 4.0 * (levels[50, 50] - 1) / 252 == pytest.approx(2.0, abs=0.05)
    assert levels[30, 30] == 1


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium that keeps its downloads; skipped where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (extra 'test')")
    paths = shutil.which("chromium"), shutil.which("chromedriver")
    if None in paths:
        pytest.skip("no chromium and chromedriver here; apt-get install chromium chromium-driver")
    downloads = tmp_path_factory.mktemp("downloads")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1400,1000",
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.chrome.service.Service(paths[1]))
    driver.downloads = downloads
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser, six, tmp_path):
    """The page of six places (rho 300 to 50, tau 150), open and with no marks; afterwards: no console errors.

    Every page is a run of its own, whose marks no other test has: clearing the browser's store takes effect when the
    browser gets to it, which may be after the next mark.
    """
    path = tmp_path / "report.html"
    path.write_text(make_page(six, run=tmp_path.name), encoding="utf-8")
    browser.get_log("browser")
    browser.page_address = path.as_uri()
    browser.get(browser.page_address)
    until(lambda: rank_drawn(browser) == "1")
    yield browser
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.hurt") is None


def until(condition, seconds=20.0):
    """Waits for a condition; the browser draws when it gets to it."""
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("the page never got there")


def find(browser, css):
    return browser.find_element("css selector", css)


def text(browser, css):
    return find(browser, css).get_attribute("textContent")


def rank_drawn(browser):
    return find(browser, "#stage").get_attribute("data-rank")


def press(browser, keys):
    find(browser, "body").send_keys(keys)


def listed(browser):
    script = "return [...document.querySelectorAll('#places .rank')].map((e) => Number(e.firstChild.textContent))"
    return browser.execute_script(script)


def stage(browser):
    return browser.execute_script("return document.getElementById('stage').toDataURL()")


def pixel(browser):
    """Red, green and blue of the stage, beside its middle."""
    picture = Image.open(io.BytesIO(base64.b64decode(stage(browser).split(",")[1]))).convert("RGB")
    return list(picture.getpixel((picture.width // 2 + 40, picture.height // 2 + 31)))


def pick(browser, name, value):
    browser.execute_script(
        "const s = document.getElementById(arguments[0]); s.value = arguments[1];"
        "for (const event of s.matches('select') ? ['change'] : ['input', 'change'])"
        " s.dispatchEvent(new Event(event, {bubbles: true}))", name, value,
    )  # fmt: skip


def resized(browser, width, height):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
    )


@pytest.fixture
def full_size(opened):
    yield opened
    opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def marked(browser, rank):
    return text(browser, f"#place-{rank} .mark")


def test_list_and_map_lead_to_places(opened):
    assert listed(opened) == [1, 2, 3]
    find(opened, "#place-3").click()
    until(lambda: rank_drawn(opened) == "3")
    assert text(opened, "#place-title") == "Place 3"
    told = text(opened, "#facts")
    assert "correlation of the two dates 0.29" in told and "no shift brings the two dates closer" in told
    assert "18.50000° S, 78.00000° E" in told and "1.0, 2.0 m" in told and "row 170, column 230" in told
    find(opened, "#spot-2").click()
    until(lambda: rank_drawn(opened) == "2")
    assert find(opened, "#place-2").get_attribute("aria-current") == "true"
    assert "chosen" in find(opened, "#spot-2").get_attribute("class")
    assert not find(opened, ".viewer details").get_attribute("open")  # what only developers read is folded away


def test_each_way_of_looking_shows_what_it_says(opened):
    press(opened, "b")  # stop
    press(opened, "o")
    seen = {}
    for key, mode in zip("123456", ("blink", "swipe", "side", "difference", "colour", "heat"), strict=True):
        press(opened, key)
        assert find(opened, f"[data-mode={mode}]").get_attribute("aria-pressed") == "true"
        seen[mode] = stage(opened)
    assert len(set(seen.values())) == 6
    assert "White line: 2.2" in text(opened, "#legend")
    # Oracle: R and B are the grey of before, G that of after.
    press(opened, "5")
    mixed = pixel(opened)
    press(opened, "2")
    pick(opened, "swipe", 100)
    before = pixel(opened)
    pick(opened, "swipe", 0)
    after = pixel(opened)
    assert mixed == [before[0], after[0], before[0]] and before != after


def test_the_stretch_changes_both_dates_alike_or_each(opened):
    press(opened, "2")
    first = stage(opened)
    pick(opened, "stretch", "0,100")  # the one bright pixel on the second date darkens all else
    whole = stage(opened)
    find(opened, "#alike").click()
    each = stage(opened)
    assert len({first, whole, each}) == 3


def test_scales_and_zoom(opened):
    press(opened, "2")
    seen = []
    for name in ("change", "window", "wide"):
        find(opened, f"[data-scale={name}]").click()
        seen.append(stage(opened))
    press(opened, "+")
    seen.append(stage(opened))
    assert len(set(seen)) == 4


def test_the_dates_blink_at_a_speed_until_paused(opened):
    pick(opened, "speed", 8)
    seen = set()
    until(lambda: seen.add(stage(opened)) or len(seen) == 2)
    press(opened, "b")
    assert find(opened, "#pause").get_attribute("aria-pressed") == "true"
    still = stage(opened)
    time.sleep(0.4)
    assert stage(opened) == still


def map_date(browser):
    """The date that the map says it shows, and whether the after-image covers the other one."""
    shown = browser.execute_script("return getComputedStyle(document.getElementById('map-after')).visibility")
    return text(browser, "#map-date"), shown == "visible"


def test_the_map_shows_either_date_or_blinks(opened):
    assert map_date(opened) == ("before", False)
    find(opened, "[data-date=after]").click()
    assert map_date(opened) == ("after", True)
    press(opened, "m")  # the next in turn: blink
    assert find(opened, "[data-date=blink]").get_attribute("aria-pressed") == "true"
    for wanted in (("before", False), ("after", True), ("before", False)):
        until(lambda wanted=wanted: map_date(opened) == wanted)
    press(opened, "b")  # one pause for the map and the place
    assert find(opened, "#pause").get_attribute("aria-pressed") == "true"
    press(opened, "mm")
    assert map_date(opened) == ("after", True)
    find(opened, "[data-date=blink]").click()  # whoever asks the map to blink has ended the pause
    assert find(opened, "#pause").get_attribute("aria-pressed") == "false"
    sources = [find(opened, f"#map-{date}").get_attribute("href") for date in ("before", "after")]
    assert sources[0] != sources[1] and all(source.startswith("data:image/jpeg") for source in sources)


def test_marks_classes_notes_and_undo(opened):
    press(opened, "a")
    press(opened, "n")
    press(opened, "u")
    assert (marked(opened, 1), marked(opened, 2)) == ("✓ accepted", "? unsure")
    assert "2 of 3 reviewed, 1 accepted" in text(opened, "#counts")
    press(opened, "u")  # taken back
    assert marked(opened, 2) == ""
    press(opened, "n")
    press(opened, "r")
    find(opened, "#class").send_keys("fresh impact")
    find(opened, "#note").send_keys("a rim; an A in the text is no key\ue007")
    assert marked(opened, 3) == "✗ rejectedfresh impact"
    find(opened, "#undo").click()  # the note, which is one step
    assert find(opened, "#note").get_attribute("value") == "" and marked(opened, 3) == "✗ rejectedfresh impact"
    find(opened, "#undo").click()  # the class
    find(opened, "#undo").click()  # the mark
    assert [marked(opened, rank) for rank in (1, 2, 3)] == ["✓ accepted", "", ""]
    press(opened, "p")
    press(opened, "p")
    until(lambda: rank_drawn(opened) == "1")


def test_marks_survive_a_reload(opened):
    """A browser may load a page again before it has stored what the page wrote last: then it comes late, at the latest
    with the next reload."""

    def shown_after_reload():
        opened.execute_script("window.earlier = true")
        opened.refresh()
        until(lambda: not opened.execute_script("return window.earlier"))
        until(lambda: rank_drawn(opened) == "1")
        return marked(opened, 1) == "✓ accepted"

    press(opened, "a")
    until(shown_after_reload)
    assert marked(opened, 2) == ""


def test_two_tabs_of_one_page_keep_each_others_marks(opened):
    first = opened.current_window_handle
    opened.switch_to.new_window("tab")
    try:
        opened.get(opened.page_address)
        until(lambda: rank_drawn(opened) == "1")
        press(opened, "a")
        second = opened.current_window_handle
        opened.switch_to.window(first)
        until(lambda: marked(opened, 1) == "✓ accepted")
        press(opened, "n")
        press(opened, "r")
        opened.switch_to.window(second)
        until(lambda: marked(opened, 2) == "✗ rejected")
        assert marked(opened, 1) == "✓ accepted"
    finally:
        opened.close()
        opened.switch_to.window(first)


def test_a_browser_that_keeps_no_marks_says_so_and_holds_them_meanwhile(opened):
    opened.execute_script("Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }")
    press(opened, "a")
    assert "save them before you close it" in text(opened, "#said")
    press(opened, "n")
    press(opened, "r")
    assert (marked(opened, 1), marked(opened, 2)) == ("✓ accepted", "✗ rejected")
    assert "save them before you close it" in text(opened, "#said")


def test_the_threshold_moves_the_list_and_tells_what_chance_gives(opened):
    assert "By chance about 250 of 1000 windows (25 %)" in text(opened, "#chance")  # of 200 null scores 50 exceed 150
    pick(opened, "tau", 0)
    assert listed(opened) == [1, 2, 3, 4, 5, 6] and find(opened, "#spot-6").is_displayed()
    assert "The run's threshold: 150." in text(opened, "#chance")
    pick(opened, "tau", 1000)
    assert listed(opened) == [] and find(opened, "#empty").is_displayed()
    assert text(opened, "#place-title") == "No place" and "fewer than 5 of 1000" in text(opened, "#chance")
    find(opened, "#tau-reset").click()
    assert listed(opened) == [1, 2, 3] and "The run's threshold." in text(opened, "#chance")
    number = find(opened, "#tau-number")
    number.clear()
    number.send_keys("240")
    assert listed(opened) == [1, 2]


def test_the_list_is_sorted_and_filtered(opened):
    pick(opened, "tau", 0)
    orders = {}
    for name in ("rank", "p", "size", "kind"):
        find(opened, f"[data-sort={name}]").click()
        orders[name] = listed(opened)
    assert orders == {
        "rank": [1, 2, 3, 4, 5, 6], "p": [6, 5, 4, 3, 2, 1], "size": [2, 5, 1, 4, 3, 6], "kind": [3, 6, 1, 4, 2, 5],
    }  # fmt: skip
    pick(opened, "kind", "moved")
    assert listed(opened) == [2, 5] and text(opened, "#listed") == "2 listed"
    press(opened, "a")
    pick(opened, "kind", "")
    pick(opened, "marked", "accepted")
    assert len(listed(opened)) == 1
    pick(opened, "marked", "none")
    assert len(listed(opened)) == 5


def saved(browser, button, name):
    path = pathlib.Path(browser.downloads) / name
    find(browser, button).click()
    until(lambda: path.exists() and path.read_text(encoding="utf-8"))
    read = path.read_text(encoding="utf-8")
    path.unlink()
    return read


def mark_some(browser):
    press(browser, "a")
    find(browser, "#class").send_keys("fresh impact")
    find(browser, "#note").send_keys('"quoted", and more\ue007')
    press(browser, "n")
    press(browser, "r")
    pick(browser, "tau", 0)
    find(browser, "#place-6").click()
    press(browser, "a")
    find(browser, "#tau-reset").click()


def test_csv_holds_marks_and_what_lies_above_the_threshold(opened):
    mark_some(opened)
    rows = list(csv.DictReader(io.StringIO(saved(opened, "#save-csv", "marks.csv"))))
    assert [(row["rank"], row["mark"], row["above_tau"]) for row in rows] == [
        ("1", "accepted", "true"), ("2", "rejected", "true"), ("3", "", "true"), ("6", "accepted", "false"),
    ]  # fmt: skip
    assert rows[0]["class"] == "fresh impact" and rows[0]["note"] == '"quoted", and more'
    assert rows[0]["remark"] == EVIL and rows[0]["shift_rows"] == "" and float(rows[0]["tau"]) == 150.0
    assert text(opened, "#said") == "Saved marks.csv: 4 places, 3 of them marked."
    find(opened, "#only-accepted").click()
    rows = list(csv.DictReader(io.StringIO(saved(opened, "#save-csv", "marks.csv"))))
    assert [row["rank"] for row in rows] == ["1", "6"]
    assert text(opened, "#said") == "Saved marks.csv: 2 places, 2 of them marked."


def test_json_holds_outlines_in_map_coordinates(opened):
    mark_some(opened)
    read = json.loads(saved(opened, "#save-json", "marks.json"))
    assert [f["properties"]["mark"] for f in read["features"]] == ["accepted", "rejected", "accepted"]
    # Oracle: the ring's first point, column 54 and row 59 of a chip at (16, 36), by the affine transform.
    assert read["features"][0]["geometry"]["coordinates"][0][0] == [1000 + 6 * (36 + 54), 2000 - 6 * (16 + 59)]
    assert read["crs"]["properties"]["name"] == FRAME.wkt and read["planetcd"]["before"] == EVIL


def test_marks_are_taken_in_again(opened, tmp_path):
    mark_some(opened)
    files = {name: saved(opened, f"#save-{name}", f"marks.{name}") for name in ("csv", "json")}
    other = json.loads(files["json"])
    other["planetcd"]["run"] = "another"
    other["features"][0]["properties"] |= {"rank": 5, "row": 92, "col": 108}  # 2 px beside place 1
    other["features"] = [other["features"][0]]
    lost = json.loads(json.dumps(other))
    lost["features"][0]["properties"] |= {"row": 9000, "col": 9000}
    foreign = json.loads(files["json"])
    foreign["planetcd"]["before"] = "c.tif"
    cases = {
        "csv": (files["csv"], "Took 3 marks.", ["✓ acceptedfresh impact", "✗ rejected", ""]),
        "json": (files["json"], "Took 3 marks.", ["✓ acceptedfresh impact", "✗ rejected", ""]),
        "other": (json.dumps(other), "Took 1 mark of another run, by position.", ["✓ acceptedfresh impact", "", ""]),
        "lost": (json.dumps(lost), "by position; 1 mark of the file found no place here.", ["", "", ""]),
        "foreign": (json.dumps(foreign), "nothing was taken", ["", "", ""]),
        "text": ("no marks at all", "holds no marks", ["", "", ""]),
    }
    for name, (read, said, marks) in cases.items():
        while find(opened, "#undo").is_enabled():
            find(opened, "#undo").click()
        path = tmp_path / f"{name}.{'csv' if name == 'csv' else 'json'}"
        path.write_text(read, encoding="utf-8")
        find(opened, "#file").send_keys(str(path))
        until(lambda: said in text(opened, "#said"), 3)  # noqa: B023 (used at once)
        assert [marked(opened, rank) for rank in (1, 2, 3)] == marks, name


def test_the_map_zooms_pans_and_has_scale_north_and_sun(opened):
    box = "return document.getElementById('chart').getAttribute('viewBox')"
    whole = opened.execute_script(box)
    scale = text(opened, "#scale")
    assert scale.endswith("km") or scale.endswith("m")
    for button in ("#map-in", "#map-in", "#map-in", "#map-in"):
        find(opened, button).click()
    assert opened.execute_script(box) != whole and text(opened, "#scale") != scale
    find(opened, "#map-here").click()
    left, top, width, height = map(float, opened.execute_script(box).split())
    assert (left + width / 2, top + height / 2) == pytest.approx((110, 90))  # the middle of place 1
    find(opened, "#map-all").click()
    assert opened.execute_script(box) == whole
    assert "North is turned by 30° to the right" in text(opened, "#directions")
    assert "265° clockwise" in text(opened, "#directions")
    assert text(opened, "#graticule") == "75.2° E"


def test_labels_of_the_graticule_do_not_lie_on_each_other(browser, six, tmp_path):
    lines = (
        {"text": "75.2° E", "points": [[10.0, 0.0], [10.0, 600.0]]},
        {"text": "75.3° E", "points": [[300.0, 0.0], [300.0, 600.0]]},
        {"text": "18.6° N", "points": [[0.0, 30.0], [720.0, 30.0]]},
    )
    path = tmp_path / "labels.html"
    path.write_text(make_page(six, frame=dataclasses.replace(FRAME, graticule=lines)), encoding="utf-8")
    browser.get(path.as_uri())
    until(lambda: rank_drawn(browser) == "1")
    shown = "return [...document.querySelectorAll('#graticule text')].map((e) => e.style.display !== 'none')"
    assert browser.execute_script(shown) == [False, True, True]


def test_rows_in_view_and_nothing_runs_out_of_the_window(full_size, browser, tmp_path):
    rng = np.random.default_rng(5)
    one = candidate(1, rng, rho=300.0)
    many = [dataclasses.replace(one, row={**one.row, "rank": k, "rho": 300.0 - k}) for k in range(1, 32)]
    path = tmp_path / "many.html"
    path.write_text(make_page(many, name="ESP_012345_1234_RED.JP2", simulated=True), encoding="utf-8")
    browser.get(path.as_uri())
    until(lambda: rank_drawn(browser) == "1")
    rows = (
        "const b = document.getElementById('places').getBoundingClientRect(); return [...document.querySelectorAll("
        "'#places li')].filter((e) => { const r = e.getBoundingClientRect(); return r.top >= b.top - 1 && r.bottom <= "
        "Math.min(b.bottom + 1, innerHeight); }).length"
    )
    for width, height, least in ((1500, 1000, 10), (1280, 800, 10), (390, 844, 10)):
        resized(browser, width, height)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert browser.execute_script(rows) >= least, width
        button = find(browser, "[data-mark=accepted]").rect
        assert width < 500 or button["y"] + button["height"] <= height, width


def axe(browser):
    """Serious faults that axe finds on the open page."""
    pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python (extra 'test')")
    source = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    browser.execute_script(source)
    found = browser.execute_async_script("axe.run(document).then(arguments[0])")["violations"]
    return [
        (fault["id"], fault["impact"], [node["html"][:100] for node in fault["nodes"]][:3])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_fault(opened, theme):
    pick(opened, "theme", theme)
    press(opened, "a")
    opened.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert opened.execute_script("return getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)" if theme == "light" else "rgb(21, 24, 28)"
    )
    assert axe(opened) == []
    press(opened, "?")
    assert find(opened, "#keys").is_displayed()
    assert axe(opened) == []


def test_a_page_without_places_opens(browser, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(make_page([], name="a.tif", expected=0.4), encoding="utf-8")
    browser.get(path.as_uri())
    assert (
        text(browser, "#counts") == "0 places above the threshold (by chance at most 0.4); 0 of 0 reviewed, 0 accepted"
    )
    assert browser.get_log("browser") == []


def test_what_the_records_hold_is_shown_and_what_they_do_not_is_left_out(browser, tmp_path):
    rng = np.random.default_rng(6)
    with_tail = [candidate(k, rng, rho=400.0 - k, tail_p=10.0**-k) for k in (1, 2)]
    plain = [dataclasses.replace(one, row={k: v for k, v in one.row.items() if k not in ("kind", "tail_p")})
             for one in with_tail]  # fmt: skip
    path = tmp_path / "report.html"
    path.write_text(make_page(with_tail, expected=1.25), encoding="utf-8")
    browser.get(path.as_uri())
    until(lambda: rank_drawn(browser) == "1")
    assert text(browser, "[data-sort=p]") == "tail p" and "tail p 0.1 (extrapolated)" in text(browser, "#facts")
    assert text(browser, "#counts").startswith("2 places above the threshold (by chance at most 1.3)")
    find(browser, "[data-sort=p]").click()
    assert listed(browser) == [2, 1]
    path.write_text(make_page(plain), encoding="utf-8")
    browser.get(path.as_uri())
    until(lambda: rank_drawn(browser) == "1")
    assert text(browser, "[data-sort=p]") == "p" and not browser.find_elements(
        "css selector", "#kind, [data-sort=kind]"
    )
    assert "tail" not in text(browser, "#facts") and "chance:" not in text(browser, "#counts")


def test_ground_without_data_is_not_mixed_into_a_reduced_picture():
    dates = (np.full((40, 40), 0.5, np.float32), np.full((40, 40), 0.6, np.float32))
    valid = np.ones((40, 40), bool)
    valid[:17] = False  # ends within the rows of a reduced pixel
    pair = page_images.coded_pair(dates, (valid, valid), 10, most=10**6)
    levels = np.asarray(Image.open(io.BytesIO(base64.b64decode(pair.before.split(",")[1]))), float)
    assert (levels[:4] < 8).all() and (levels[6:] > 14).all()  # the script takes what is below 8 for no data
