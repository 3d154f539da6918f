"""The report of a run of more than 1,000 concepts: bytes of the page, and when it answers.

    python benchmarks/bench_report.py [--run RUN] [--max-clips 3 1] [--repeats N]

The run is that of `bench_discover`'s stand-in for VideoMAE-B with its weight-randomised copy; RUN
keeps it for the next time. The page is opened in Debian's Chromium, headless, through Playwright,
each time in a fresh window. It is interactive once it has answered a first click, on the part that
has the most to make: the wall of all concepts. Two clocks: milliseconds since the navigation began,
which other processes of the machine delay, and processor time of the page's main thread until then
(the browser's own account, `Performance.getMetrics` in thread ticks), which they do not. The reader
asks for reduced motion, so that clips which would play while others delay the page do not count.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _harness import Column, write
from _stand_in import stand_in
from bench_discover import scene

import vtcd_ops

CLIPS = 30
THRESHOLD = 0.905  # of the elbow; .9 by default, which finds a few less than 1,000 concepts
REPEATS = 7
SCREEN = {"width": 1440, "height": 900}

SCRIPTS_HAVE_RUN = "document.body?.classList.contains('js') ?? false"
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
SCRIPTS = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
# A click on the wall, and the moment after the frame in which its answer was painted.
ANSWERED = """
new Promise((done) => {
  const painted = () => requestAnimationFrame(() => setTimeout(() => done(performance.now()), 0));
  document.querySelector('[data-view=concepts]').click();
  const asked = () =>
    document.querySelectorAll('#wall li').length ? painted() : setTimeout(asked, 1);
  asked();
})
"""
TILES = "document.querySelectorAll('#wall li').length"


def discovered(folder: Path) -> vtcd_ops.Run:
    """The run, with its copy; one that is there is used again."""
    if (folder / "run.json").is_file() and (folder / "sanity" / "run.json").is_file():
        return vtcd_ops.load(folder)
    videos = np.stack([scene(seed) for seed in range(CLIPS)])
    return vtcd_ops.discover(
        stand_in(), videos, out=folder, threshold=THRESHOLD, sanity=True, progress=False
    )


def visit(browser: Any, page: Path, concepts: int) -> dict[str, float]:
    """Milliseconds of one visit, by the clock and of the main thread."""
    context = browser.new_context(viewport=SCREEN, reduced_motion="reduce")
    tab = context.new_page()
    problems: list[str] = []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    session = context.new_cdp_session(tab)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def main_thread() -> float:
        found = session.send("Performance.getMetrics")["metrics"]
        return 1000 * next(each["value"] for each in found if each["name"] == "TaskDuration")

    tab.goto(page.as_uri(), wait_until="commit", timeout=120_000)
    while not tab.evaluate(SCRIPTS_HAVE_RUN):
        tab.wait_for_timeout(5)
    shown = main_thread()
    answer = tab.evaluate(ANSWERED)
    answered = main_thread()
    times = {
        "first_paint_ms": tab.evaluate(FIRST_PAINT),
        "scripts_ms": tab.evaluate(SCRIPTS),
        "answer_ms": answer,
        "scripts_thread_ms": shown,
        "answer_thread_ms": answered,
    }
    end = time.monotonic() + 60
    while tab.evaluate(TILES) < concepts:
        assert time.monotonic() < end, "the wall never showed all concepts"
        tab.wait_for_timeout(30)
    times["all_tiles_thread_ms"] = main_thread()
    context.close()
    assert problems == [], problems
    return times


def visits(page: Path, concepts: int, repeats: int) -> dict[str, Any]:
    """The least and the median of several visits."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from pipeline.browser import _ARGUMENTS, CHROMIUM
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_ARGUMENTS))
        found = [visit(browser, page, concepts) for _ in range(repeats)]
        version = browser.version
        browser.close()
    least = {key: round(min(one[key] for one in found)) for key in found[0]}
    median = {
        f"median_{key}": round(float(np.median([one[key] for one in found]))) for key in least
    }
    return {**least, **median, "repeats": repeats, "chromium": version}


def measure(run: vtcd_ops.Run, max_clips: int, repeats: int) -> dict[str, Any]:
    """A row: the page with so many clips a concept."""
    concepts = len(run.units())
    with tempfile.TemporaryDirectory() as folder:
        begin = time.process_time()
        page = vtcd_ops.report(
            run, Path(folder, "report.html"), max_clips=max_clips, progress=False
        )
        seconds = time.process_time() - begin
        return {
            "concepts": concepts,
            "copy_concepts": len(run.copies()[0].units()),
            "videos": len(run.videos),
            "max_clips": max_clips,
            "mb": round(page.stat().st_size / 1e6, 2),
            "processor_s": round(seconds, 1),
            **visits(page, concepts, repeats),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="folder of the run; kept, and used again")
    parser.add_argument("--max-clips", type=int, nargs="*", default=[3, 1])
    parser.add_argument("--repeats", type=int, default=REPEATS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = discovered(arguments.run or Path(folder))
        rows = []
        for max_clips in arguments.max_clips:
            rows.append(measure(run, max_clips, arguments.repeats))
            print(json.dumps(rows[-1]), flush=True)
    write(
        "report",
        rows,
        [
            Column("concepts", "concepts", "{:,}"),
            Column("max_clips", "clips each"),
            Column("mb", "page, MB", "{:.1f}"),
            Column("scripts_thread_ms", "main thread until scripts have run, ms"),
            Column("answer_thread_ms", "until the wall was asked for and shown"),
            Column("all_tiles_thread_ms", "until all tiles are made"),
            Column("first_paint_ms", "first paint by the clock, ms"),
            Column("answer_ms", "wall shown by the clock"),
            Column("median_answer_ms", "its median"),
            Column("processor_s", "processor seconds to write it", "{:.0f}"),
        ],
        note=(
            f"The report of a run at the size of VideoMAE-B on {CLIPS} drawn clips with its "
            "weight-randomised copy (a stand-in with random weights), in headless Chromium at 1440 "
            f"x 900, each visit in a fresh window: least of {arguments.repeats}. Milliseconds of "
            "the main thread are processor time, the others are since the navigation began. "
            "Motion is reduced: clips do not play meanwhile."
        ),
    )


if __name__ == "__main__":
    main()
