"""The page of a scene, in a real browser: clicks, keys, slider, marks, export. Chromium is Debian's `chromium`."""

import csv
import io
import json
import pathlib
import shutil
import time

import numpy as np
import pytest

from planetcd_jax.report import page, page_images

EVIL = "</script><script>window.hurt=1</script>\"'&<img src=x onerror=window.hurt=1>.tif"
SIDE, INNER, WINDOW = 148, 24, 100


def candidate(rank, rng, *, rho, side=SIDE, name=""):
    """A candidate whose pictures are noise, the hardest to compress."""
    before, after = (rng.random((side, side)).astype(np.float32) for _ in range(2))
    valid = np.ones((side, side), bool)
    row = {
        "rank": rank, "rho": rho, "p_value": 0.01 * rank, "site": 1, "lon": 75.0 + rank, "lat": -18.5,
        "x": 1.0, "y": 2.0, "row": 40 * rank + 50, "col": 60 * rank + 50, "area": 1234.5, "area_unit": "m2",
        "height_px": 30, "width_px": 40, "pixel_size": 3.0, "pixel_level": 2.2, "outlined": 1,
        "window_row": 40 * rank, "window_col": 60 * rank, "windows": 3,
        "shift_rows": float("nan"), "shift_cols": float("nan"), "correlation": 0.5, "brightness_difference": -0.1,
        "note": name,
    }  # fmt: skip
    pictures = page_images.chip_pair(before, after, valid, valid, page_images.shown_side(side))
    ring = [[INNER + 30, INNER + 35], [INNER + 70, INNER + 35], [INNER + 70, INNER + 65], [INNER + 30, INNER + 35]]
    drawn = {"box": [INNER, INNER, WINDOW, WINDOW], "rings": [ring], "heat_top": 3.0, "heat_level": 2.2}
    return page.PageCandidate(row, *pictures, page_images.heat_picture(before, page_images.shown_side(side)), drawn)


def make_page(found, *, tau=150.0, simulated=False, name=EVIL, run="0123456789abcdef"):
    rng = np.random.default_rng(0)
    rho = rng.random((20, 25)).astype(np.float32) * 300
    rho[:3] = np.nan
    overview = page.Overview(
        rng.random((90, 110)).astype(np.float32), np.ones((90, 110), bool), rho, 600, 720, WINDOW, 24
    )
    return page.scene_page(
        found, overview, tau=tau, corner=(0, 0), side=page_images.shown_side(SIDE), chip_side=SIDE,
        changed=sum(c.row["rho"] > tau for c in found), run=run, before_name=name, after_name="b.tif",
        facts=[("Before", name)], simulated=simulated, version="0",
    )  # fmt: skip


@pytest.fixture(scope="module")
def six():
    rng = np.random.default_rng(1)
    return [candidate(k, rng, rho=350.0 - 50.0 * k, name=EVIL) for k in range(1, 7)]  # 300, 250, ..., 50


def test_the_page_is_one_file_and_escapes_every_name(six):
    html = make_page(six)
    assert EVIL not in html and "<img src=x" not in html
    assert html.count("<script") == 2 and html.count("</script>") == 2
    for outside in ("http://", "https://", 'src="//', "@import", "url("):
        assert outside not in html.replace("http://www.w3.org/2000/svg", ""), outside
    data = json.loads(html.split('type="application/json">')[1].split("</script>")[0])
    assert data["candidates"][0]["note"] == EVIL and data["candidates"][0]["shift_rows"] is None


def test_500_candidates_of_pure_noise_stay_under_20_mb():
    rng = np.random.default_rng(2)
    one = candidate(1, rng, rho=1.0)
    assert len(one.before) + len(one.after) + len(one.heat) < 40_000
    assert 500 * (len(one.before) + len(one.after) + len(one.heat) + 500) + len(make_page([one])) < 20_000_000
    large = candidate(1, rng, rho=1.0, side=600)
    assert len(large.before) + len(large.after) + len(large.heat) < 45_000
    html = make_page([one] * 500)
    assert len(html.encode()) < 20_000_000


def test_simulated_pages_say_so(six):
    assert "SIMULATED" in make_page(six, simulated=True).split("</title>")[0]
    assert "SIMULATED: these images" in make_page(six, simulated=True)
    assert "SIMULATED" not in make_page(six, name="a.tif")


def test_page_without_candidates():
    assert "0 places above tau = 150" in make_page([], name="a.tif")


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
    """The page of six candidates (rho 300 to 50, tau 150), open and with no marks; afterwards: no console errors.

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
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("the page never got there")


def find(browser, css):
    return browser.find_element("css selector", css)


def rank_drawn(browser):
    return find(browser, "#panels").get_attribute("data-rank")


def press(browser, keys):
    find(browser, "body").send_keys(keys)


def listed(browser):
    return [i.get_attribute("id") for i in browser.find_elements("css selector", "#candidates li") if i.is_displayed()]


def pixels(browser, key):
    script = "const c = document.getElementById(arguments[0]); return c.toDataURL();"
    return browser.execute_script(script, "panel-" + key)


def test_list_and_map_lead_to_candidates(opened):
    assert listed(opened) == ["candidate-1", "candidate-2", "candidate-3"]
    find(opened, "#candidate-3").click()
    until(lambda: rank_drawn(opened) == "3")
    assert find(opened, "#viewer-title").text == "Candidate 3"
    measures = find(opened, "#measures").text
    assert "200" in measures and "no shift brings the dates closer" in measures
    find(opened, "#spot-2").click()
    until(lambda: rank_drawn(opened) == "2")
    assert find(opened, "#candidate-2").get_attribute("aria-selected") == "true"
    assert "chosen" in find(opened, "#spot-2").get_attribute("class")


def test_the_five_panels_show_what_they_say(opened):
    panels = {key: pixels(opened, key) for key in ("before", "after", "colour", "heat")}
    assert len(set(panels.values())) == 4
    size = opened.execute_script("const c = document.getElementById('panel-before'); return [c.width, c.height]")
    assert size == [SIDE, SIDE]  # full resolution
    # Oracle: R and B are the grey of before, G that of after.
    mixed, before, after = (
        opened.execute_script(
            "return Array.from(document.getElementById(arguments[0]).getContext('2d').getImageData(50, 60, 1, 1).data)",
            p,
        )
        for p in ("panel-colour", "panel-before", "panel-after")
    )
    assert mixed[:3] == [before[0], after[0], before[0]]


def test_keys_step_blink_accept_and_reject(opened):
    press(opened, "n")
    until(lambda: rank_drawn(opened) == "2")
    press(opened, "a")
    assert "accepted" in find(opened, "#candidate-2").text
    assert find(opened, "#accept").get_attribute("aria-pressed") == "true"
    press(opened, "p")
    until(lambda: rank_drawn(opened) == "1")
    press(opened, "p")  # round to the last
    until(lambda: rank_drawn(opened) == "3")
    press(opened, "r")
    assert "rejected" in find(opened, "#candidate-3").text
    press(opened, "r")
    assert "rejected" not in find(opened, "#candidate-3").text
    running = find(opened, "#blink").get_attribute("aria-pressed")
    press(opened, "b")
    assert find(opened, "#blink").get_attribute("aria-pressed") != running
    if running == "false":
        press(opened, "b")
        press(opened, "b")
    seen = set()
    until(lambda: seen.add(pixels(opened, "blink")) or len(seen) == 2 or find(opened, "#blink").get_attribute(
        "aria-pressed") == "false")  # fmt: skip
    find(opened, "#blink").click()
    seen.clear()
    until(lambda: seen.add(pixels(opened, "blink")) or len(seen) == 2)
    press(opened, "z")
    assert find(opened, "#panel-before").size["width"] == 3 * SIDE


def marked(browser, rank):
    return find(browser, f"#candidate-{rank} .mark").text


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
    assert "export them before you close it" in find(opened, "#said").get_attribute("textContent")
    press(opened, "n")
    press(opened, "r")
    assert (marked(opened, 1), marked(opened, 2)) == ("✓ accepted", "✗ rejected")
    assert "export them before you close it" in find(opened, "#said").get_attribute("textContent")


def slide(browser, value):
    script = "const s = document.getElementById('tau'); s.value = arguments[0]; s.dispatchEvent(new Event('input'))"
    browser.execute_script(script, value)


def test_the_slider_moves_tau_and_the_list(opened):
    slide(opened, 0)
    assert len(listed(opened)) == 6 and "6 of 6 candidates above 0" in find(opened, "#tau-note").text
    assert find(opened, "#spot-6").is_displayed()
    slide(opened, 1000)
    assert listed(opened) == [] and find(opened, "#empty").is_displayed()
    assert find(opened, "#viewer-title").text == "No candidate"
    find(opened, "#tau-reset").click()
    assert len(listed(opened)) == 3 and "tau of this run" in find(opened, "#tau-note").text
    number = find(opened, "#tau-number")
    number.clear()
    number.send_keys("240")
    assert len(listed(opened)) == 2
    find(opened, "#tau").send_keys("n")  # letters still work on the slider
    until(lambda: rank_drawn(opened) in ("1", "2"))


def test_export_holds_marks_and_what_lies_above_tau(opened):
    press(opened, "a")
    press(opened, "n")
    press(opened, "r")
    slide(opened, 0)
    find(opened, "#candidate-6").click()
    press(opened, "a")
    find(opened, "#tau-reset").click()
    find(opened, "#export").click()
    path = pathlib.Path(opened.downloads) / "marks.csv"
    until(path.exists)
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    path.unlink()
    assert [(row["rank"], row["mark"], row["above_tau"]) for row in rows] == [
        ("1", "accepted", "true"), ("2", "rejected", "true"), ("3", "", "true"), ("6", "accepted", "false"),
    ]  # fmt: skip
    assert rows[0]["note"] == EVIL and rows[0]["shift_rows"] == "" and float(rows[0]["tau"]) == 150.0


def test_everything_is_named_and_reachable_by_keyboard(opened):
    nameless = opened.execute_script("""
        const labels = (e) => e.getAttribute('aria-label') || e.alt || (e.labels && e.labels.length);
        const named = (e) => e.textContent.trim() || labels(e);
        const all = [...document.querySelectorAll('button, input, canvas, [role=button], [role=listbox], img')];
        return all.filter((e) => !named(e)).map((e) => e.outerHTML.slice(0, 80));
    """)
    assert nameless == []
    assert opened.execute_script("return document.documentElement.lang") == "en"
    opened.execute_script("document.getElementById('spot-3').focus()")
    opened.switch_to.active_element.send_keys("\ue007")  # Enter
    until(lambda: rank_drawn(opened) == "3")
    opened.execute_script("document.getElementById('candidates').focus()")
    opened.switch_to.active_element.send_keys("\ue013")  # arrow up
    until(lambda: rank_drawn(opened) == "2")


def test_text_stands_out_from_its_ground():
    """WCAG AA: contrast of at least 4.5. Oracle: the formula of WCAG 2.1, relative luminance."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    style = (pathlib.Path(page.__file__).parent / "templates" / "scene.css").read_text()
    colours = dict(part.split(": ") for part in style.split("{ --")[1].split("; }")[0].split("; --"))
    grounds = ("#ffffff", colours["ground"], "#dcebfb")
    for name in ("ink", "soft", "accent", "yes", "no"):
        for ground in grounds[: 2 if name == "accent" else 3]:
            dark, light = sorted([luminance(colours[name]), luminance(ground)])
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground)
