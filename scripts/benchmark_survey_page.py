"""What a frame of a survey's page costs while its table is scrolled: processor time of its process.

    python -m scripts.benchmark_survey_page --places=10000 --frames=150 --browser=/usr/bin/chromium

Needs Linux, Playwright (pip install playwright) and Chromium. Processor time depends little on what else is done here.
"""

import argparse
import pathlib
import tempfile

import numpy as np
import psutil
from playwright.sync_api import sync_playwright

from planetcd_jax.report.survey_page import COLUMNS, survey_page

_STEP = """(pixels) => new Promise((done) => {
  document.getElementById('scroll').scrollTop += pixels;
  requestAnimationFrame(() => requestAnimationFrame(done));
})"""
_PARTS = ("main thread", "all threads")


def made_page(count: int) -> str:
    """A page of so many made-up places in a quarter as many scenes."""
    rng = np.random.default_rng(0)
    empty = dict.fromkeys((name for name, _ in COLUMNS), "")
    places = [
        {
            **empty, "place": f"s{n // 4}:{n % 4 + 1}", "report": f"scenes/s{n // 4}/report.html", "thumbnail": "",
            "review": n + 1, "rank": n + 1, "scene": f"CTX_scene_{n // 4}--CTX_other_{n // 4}--0123abcd",
            "lat": float(rng.uniform(-80, 80)), "lon": float(rng.uniform(-180, 180)), "p": 0.001,
            "rho_over_tau": float(rng.uniform(1, 3)), "expected_false": n / 100, "fdr": 0.1, "discovery": n < 5,
            "change": n, "last_not_seen": "2012-01-01T00:00:00Z", "first_seen": "2014-01-01T00:00:00Z",
            "kind": ("dark", "light")[n % 2],
        }
        for n in range(count)
    ]  # fmt: skip
    rings = [
        [[n % 360 - 180, 0], [n % 360 - 179, 0], [n % 360 - 179, 1], [n % 360 - 180, 1]] for n in range(count // 4)
    ]
    return survey_page(places, rings, title="T", lede="", survey="x", simulated=True, version="0")


def _on_cpu(process: int) -> np.ndarray:
    """Nanoseconds that the main thread and all threads of a process were on a processor."""
    spent = [int(path.read_text().split()[0]) for path in pathlib.Path(f"/proc/{process}/task").glob("*/schedstat")]
    return np.array([int(pathlib.Path(f"/proc/{process}/schedstat").read_text().split()[0]), sum(spent)])


def frame_costs(page: pathlib.Path, frames: int, browser: str, pixels: int) -> np.ndarray:
    """Milliseconds of processor time of each frame, [frames, 2]: the page's main thread, and all of its process."""
    with sync_playwright() as tool:
        opened = tool.chromium.launch(executable_path=browser)
        tab = opened.new_page(viewport={"width": 1400, "height": 1000})
        tab.goto(page.as_uri())
        for _ in range(10):
            tab.evaluate(_STEP, pixels)
        children = psutil.Process().children(recursive=True)
        renderers = [p for p in children if any("--type=renderer" in text for text in p.cmdline())]
        process = max(renderers, key=lambda p: _on_cpu(p.pid)[1]).pid  # the others are spare
        costs, before = [], _on_cpu(process)
        for _ in range(frames):
            tab.evaluate(_STEP, pixels)
            after = _on_cpu(process)
            costs.append(after - before)
            before = after
        opened.close()
    return 1e-6 * np.array(costs)


def main() -> None:
    """Prints the median and the 95th percentile of each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--places", type=int, default=10_000)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--pixels", type=int, default=700, help="that each frame scrolls")
    parser.add_argument("--browser", default="/usr/bin/chromium")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = pathlib.Path(folder) / "index.html"
        page.write_text(made_page(asked.places), encoding="utf-8")
        costs = frame_costs(page, asked.frames, asked.browser, asked.pixels)
    for part, values in zip(_PARTS, costs.T, strict=True):
        print(f"{part}: {np.median(values):.1f} ms in the median, {np.quantile(values, 0.95):.1f} ms at the 95th "
              f"percentile, {values.max():.1f} ms at most")  # fmt: skip


if __name__ == "__main__":
    main()
