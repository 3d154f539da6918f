"""The report in a real browser: its scripts run, read the supports right, and play."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pipeline.browser import CHROMIUM, Browser
from pipeline.report_page import write_controlled_run, write_run
from scipy.ndimage import distance_transform_cdt

from vtcd_ops.discovery.run import Run
from vtcd_ops.reporting import report
from vtcd_ops.reporting.page import asset

pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no chromium: the scripts of the report were NOT tested (apt install chromium)",
)

# Every clip of a shown run: concept, video, and the bars below it, drawn from decoded supports.
CLIPS = """
[...document.querySelectorAll("#rows .concept:not(.overview)")].flatMap((row) =>
  [...row.querySelectorAll(".beside > .clips figure")].map((figure) => ({
    concept: Number(row.querySelector(".chip").textContent),
    video: Number(figure.querySelector("figcaption").textContent.replace("video ", "")),
    bars: [...figure.querySelectorAll(".coverage i")].map((i) => i.style.getPropertyValue("--v")),
  })))
"""
ALL_DRAWN = """
(() => {
  const bars = [...document.querySelectorAll(".view.current .coverage")];
  return bars.length > 0 && bars.every((each) => each.childElementCount > 0);
})()
"""
SOME_DRAWN = "document.querySelectorAll('.view.current .coverage i.now').length > 0"
SEEK = """
(() => {
  const slider = document.querySelector("[data-frame]");
  slider.value = "%d";
  slider.dispatchEvent(new Event("input"));
})()
"""
PIXELS = """
(() => {
  const canvas = document.getElementById("ROW").querySelector("canvas");
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  return { width, height, data: [...data] };
})()
"""
CURRENT = "[...document.querySelectorAll('.view.current')].map(({ id }) => id).join()"
TITLE = "document.getElementById('head-title').textContent"
CARD = "document.getElementById('card')"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_controlled_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def address(run: Run) -> str:
    return report(run, progress=False).as_uri()


@pytest.fixture(scope="module")
def _browser() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def browser(_browser: Browser) -> Iterator[Browser]:
    """The browser; whatever a test did, the console must have stayed silent."""
    _browser.problems.clear()
    yield _browser
    assert _browser.problems == []


@pytest.mark.parametrize("run_id", ["model", "control"])
def test_scripts_read_the_supports_of_the_run(
    run: Run, address: str, browser: Browser, run_id: str
) -> None:
    shown = run if run_id == "model" else run.sanity
    assert shown is not None
    browser.open(f"{address}#keys-L1-H1", 1280, 9000)
    browser.evaluate(f"document.querySelector('#view input[value={run_id}]').click()")
    browser.wait_for(ALL_DRAWN)
    assert browser.evaluate(TITLE) == "Layer 1 · Head 1"
    clips = browser.evaluate(CLIPS)
    assert {clip["concept"] for clip in clips} == set(range(shown.concepts(1, 1).k))
    for clip in clips:
        share = (shown.support(clip["video"], 1, 1) == clip["concept"]).mean(axis=(1, 2))
        bars = [float(bar) for bar in clip["bars"]]
        np.testing.assert_allclose(bars, share / share.max(), atol=6e-4)


def test_the_number_of_a_concept_stands_deepest_inside_it(browser: Browser) -> None:
    """On the voxel from which the way out of the concept is longest, as SciPy measures it."""
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 4, (6, 9)).repeat(5, axis=0).repeat(4, axis=1)
    browser.open("about:blank", 400, 300)
    found = browser.evaluate(
        f"(() => {{ {asset('contours.js')}; const volume = {{ width: {frame.shape[1]}, height: "
        f"{frame.shape[0]}, frames: 1, voxels: {frame.ravel().tolist()} }};"
        "return [...labelPoints(volume, 0)]"
        ".map(([value, { point, count }]) => [value, ...point, count]); })()"
    )
    assert {int(row[0]) for row in found} == {1, 2, 3}
    for value, x, y, count in found:
        inside = np.pad(frame == value, 1)
        depth = distance_transform_cdt(inside, metric="taxicab")[1:-1, 1:-1]
        assert depth[int(y), int(x)] == depth.max()
        assert count == (frame == value).sum()


def test_outside_of_a_concept_is_dimmed(tmp_path: Path, browser: Browser) -> None:
    """Inside, the pixels are the video's; outside, they are dark and grey."""
    run = write_run(tmp_path, num_videos=1, concepts=(2,), shape=(1, 32, 32))
    browser.open(report(run, progress=False).as_uri() + "#keys-L0-H0", 1280, 4000)
    browser.wait_for(ALL_DRAWN)
    for concept in range(2):
        pixels = browser.evaluate(PIXELS.replace("ROW", f"row-keys-L0-H0-C{concept}"))
        shown = np.array(pixels["data"]).reshape(pixels["height"], pixels["width"], 4)[..., :3]
        inside = np.kron(run.support(0, 0, 0)[0] == concept, np.ones((9, 9))) > 0
        rows = np.linspace(0, len(shown) - 1, len(inside)).round().astype(int)
        shown = shown[rows][:, rows]
        colourful = np.ptp(shown, axis=-1)
        assert np.median(colourful[~inside]) <= 12
        assert np.median(colourful[inside]) > np.median(colourful[~inside])
        assert shown[~inside].mean() < 0.8 * shown[inside].mean()


def test_clips_start_at_the_frame_of_which_the_concept_covers_most(
    run: Run, address: str, browser: Browser
) -> None:
    browser.open(f"{address}#keys-L1-H1", 1280, 9000, reduced_motion="reduce")
    browser.wait_for(ALL_DRAWN)
    found = browser.evaluate(CLIPS.replace(
        "bars: [...", "now: [...figure.querySelectorAll('.coverage i')]"
        ".findIndex((i) => i.classList.contains('now')), bars: [..."))  # fmt: skip
    for clip in found:
        share = (run.support(clip["video"], 1, 1) == clip["concept"]).mean(axis=(1, 2))
        assert share[clip["now"]] == share.max()


def test_the_first_screen_says_what_was_found(address: str, browser: Browser) -> None:
    browser.open(address, 1440, 900)
    browser.wait_for(ALL_DRAWN)
    assert browser.evaluate(CURRENT) == "view-findings"
    assert "copy is as good" in browser.evaluate("document.querySelector('h1').textContent")
    top = "document.querySelector('#hero canvas').getBoundingClientRect().bottom"
    assert browser.evaluate(top) < 900
    assert browser.evaluate("document.querySelectorAll('.hero-match canvas').length") == 2


def test_the_header_of_a_wide_screen_is_one_row(address: str, browser: Browser) -> None:
    browser.open(address, 1440, 900)
    rows = browser.evaluate("""
    (() => {
      const facts = document.querySelector(".facts");
      facts.textContent = "12 videos x 16 frames, ".repeat(9); // as long as a run may make it
      const middles = ["header .what", "header nav", "header .transport"].map((selector) => {
        const { top, bottom } = document.querySelector(selector).getBoundingClientRect();
        return (top + bottom) / 2;
      });
      return { spread: Math.max(...middles) - Math.min(...middles), facts: facts.offsetHeight };
    })()
    """)
    assert rows["spread"] < 4
    assert rows["facts"] < 24  # one line


def test_parts_are_reached_by_their_links(address: str, browser: Browser) -> None:
    browser.open(address, 1280, 900)
    for part in ("heads", "concepts", "videos", "control", "method", "export", "findings"):
        browser.page.click(f"nav a[data-view={part}]")
        browser.wait_for(f"{CURRENT} === 'view-{part}'")
        assert browser.evaluate("document.querySelector('nav [aria-current]').dataset.view") == part


@pytest.mark.parametrize("part", ["findings", "heads", "concepts", "videos", "control", "method"])
def test_nothing_is_wider_than_a_phone(address: str, browser: Browser, part: str) -> None:
    browser.open(f"{address}#{part}", 360, 800)
    browser.wait_for(f"{CURRENT} === 'view-{part}'")
    assert browser.evaluate("document.documentElement.scrollWidth") <= 360


def test_arrow_keys_move_through_the_map(address: str, browser: Browser) -> None:
    browser.open(f"{address}#keys-L0-H0", 1280, 900)
    browser.wait_for(SOME_DRAWN)
    browser.evaluate("document.querySelector('#head-map button').focus()")
    for key, title in (
        ("ArrowLeft", "Layer 0 · Head 0"),
        ("ArrowRight", "Layer 0 · Head 1"),
        ("ArrowDown", "Layer 1 · Head 1"),
        ("Home", "Layer 1 · Head 0"),
        ("ArrowUp", "Layer 0 · Head 0"),
    ):
        browser.press(key)
        assert browser.evaluate(TITLE) == title
    labels = browser.evaluate(
        "[...document.querySelectorAll('#head-map button')].map((cell) => cell.ariaLabel).join()"
    )
    assert "layer 1, head 0: Number of concepts 3" in labels


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_digits_of_the_map_can_be_read(address: str, browser: Browser, scheme: str) -> None:
    """WCAG 2: 4.5 at least, from the colours that the browser computed."""
    browser.open(f"{address}#heads", 1280, 900, color_scheme=scheme)
    browser.wait_for(SOME_DRAWN)
    pairs = browser.evaluate(
        "[...document.querySelectorAll('#head-map button')].map((cell) => {"
        "const style = getComputedStyle(cell); return [style.color, style.backgroundColor]; })"
    )
    assert len(pairs) == 4
    for pair in pairs:
        lower, higher = sorted(map(_luminance, pair))
        assert (higher + 0.05) / (lower + 0.05) >= 4.5


def _luminance(colour: str) -> float:
    channels = np.array([int(x) for x in colour[4:-1].split(",")]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_clips_play_and_pause(address: str, browser: Browser) -> None:
    number = "document.querySelector('[data-frame-number]').textContent"
    browser.open(address, 1280, 1600)
    browser.wait_for(ALL_DRAWN)
    before = browser.evaluate(number)
    browser.wait_for(f"{number} !== '{before}'")
    browser.evaluate("document.querySelector('[data-play]').click()")
    assert browser.evaluate("document.querySelector('[data-play]').ariaLabel") == "Play"


def test_every_frame_is_drawn(address: str, browser: Browser) -> None:
    browser.open(f"{address}#heads", 1280, 1600, reduced_motion="reduce")
    browser.wait_for(ALL_DRAWN)
    seen = set()
    for frame in range(4):
        browser.evaluate(SEEK % frame)
        browser.wait_for(
            f"document.querySelectorAll('.coverage i:nth-child({frame + 1}).now').length"
        )
        seen.add(browser.screenshot()[200:].tobytes())
    assert len(seen) == 4


def test_clips_stand_still_for_those_who_prefer_it(address: str, browser: Browser) -> None:
    browser.open(address, 1280, 1600, reduced_motion="reduce")
    browser.wait_for(ALL_DRAWN)
    tick = "document.querySelector('[data-frame]').value"
    before = browser.evaluate(tick)
    browser.page.wait_for_timeout(400)
    assert browser.evaluate(tick) == before
    assert browser.evaluate("document.querySelector('[data-play]').ariaLabel") == "Play"


def test_dark_and_light(address: str, browser: Browser) -> None:
    browser.open(address, 1280, 900, color_scheme="dark")
    browser.wait_for(ALL_DRAWN)
    assert browser.screenshot()[2, 2].max() < 40
    browser.evaluate("document.getElementById('theme').click()")  # from automatic to light
    assert browser.screenshot()[2, 2].min() > 220


def test_enlarged_clip_steps_to_the_next_and_closes(address: str, browser: Browser) -> None:
    browser.open(address, 1280, 900)
    browser.wait_for(ALL_DRAWN)
    browser.page.click("#hero .clip")
    assert browser.evaluate("document.querySelectorAll('#enlarged canvas').length") == 2
    text = "document.querySelector('#enlarged p.explanation').textContent"
    assert browser.evaluate(text).startswith("Clip 1 of 3.")
    browser.press("ArrowRight")
    assert browser.evaluate(text).startswith("Clip 2 of 3.")
    browser.press("Escape")
    assert browser.evaluate("document.getElementById('enlarged').open") is False


def test_an_address_opens_the_card_and_closing_leaves_it(address: str, browser: Browser) -> None:
    browser.open(f"{address}#keys-L1-H1-C1", 1280, 900)
    browser.wait_for(f"{CARD}.open")
    title = "document.getElementById('card-title').textContent"
    assert browser.evaluate(title) == "1 Layer 1 · head 1 · concept 1"
    assert browser.evaluate("document.querySelectorAll('#card .small-figure svg').length") == 2
    browser.page.click("#card-next")
    browser.wait_for(f"{title} === '0 Layer 1 · head 1 · concept 0' || {title}.startsWith('2 ')")
    browser.press("Escape")
    browser.wait_for(f"!{CARD}.open")
    browser.wait_for("location.hash === '#findings'")  # told by an event after it is closed


def test_a_name_that_is_given_is_shown_kept_and_exported(address: str, browser: Browser) -> None:
    browser.open(f"{address}#keys-L1-H1-C1", 1280, 900)
    browser.wait_for(f"{CARD}.open")
    browser.page.fill("#card input", "<b>the square</b>")
    browser.press("Tab")
    assert "<b>the square</b>" in browser.evaluate(
        "document.getElementById('card-title').textContent"
    )
    browser.page.goto("about:blank")
    browser.page.goto(f"{address}#concepts")
    browser.page.fill("#wall-search", "square")
    browser.wait_for("document.querySelectorAll('#wall li').length === 1")
    browser.page.click("nav a[data-view=export]")
    given = json.loads(browser.download("#export-names"))
    assert given == {"keys-L1-H1-C1": "<b>the square</b>"}


def test_the_wall_filters_and_sorts(run: Run, address: str, browser: Browser) -> None:
    browser.open(f"{address}#concepts", 1280, 900)
    count = "document.querySelectorAll('#wall li').length"
    browser.wait_for(f"{count} === {len(run.units())}")
    browser.page.select_option("#wall-layer", "1")
    assert browser.evaluate(count) == int((run.units()[:, 0] == 1).sum())
    browser.page.select_option("#wall-sort", "size")
    facts = "[...document.querySelectorAll('.tile-facts')].map((each) => each.textContent)"
    sizes = [float(text.split()[1]) for text in browser.evaluate(facts)]
    assert sizes == sorted(sizes, reverse=True)
    browser.page.fill("#wall-search", "h1 c0")
    assert browser.evaluate(count) == 1
    browser.page.focus("#wall a")
    browser.press("Enter")
    browser.wait_for(f"{CARD}.open")


def test_table_sorts(address: str, browser: Browser) -> None:
    browser.open(f"{address}#concepts", 1280, 900)
    browser.page.click(".all-concepts summary")
    browser.page.click("#table-concepts thead button")
    values = browser.evaluate(
        "[...document.querySelectorAll('#table-concepts tbody tr')]"
        ".map((row) => Number(row.cells[1].dataset.value))"
    )
    assert values == sorted(values, reverse=True)
    assert len(values) == 10


def test_tables_and_figures_can_be_taken_along(run: Run, address: str, browser: Browser) -> None:
    browser.open(f"{address}#export", 1280, 900)
    rows = list(csv.reader(io.StringIO(browser.download("[data-csv=concepts]"))))
    assert len(rows) == 1 + len(run.units())
    assert rows[0][:2] == ["Concept", "Videos ↕"] or rows[0][:2] == ["Concept", "Videos"]
    heads = list(csv.reader(io.StringIO(browser.download("#export-heads"))))
    assert len(heads) == 1 + len(run.layers) * len(run.heads)
    browser.page.click("nav a[data-view=control]")
    svg = browser.download("#view-control [data-svg]")
    assert svg.startswith("<svg")
    assert "Videos a concept occurs in" in svg
    assert "var(--muted)" not in svg.replace('style="fill:var', "")


def test_a_video_shows_all_its_concepts(run: Run, address: str, browser: Browser) -> None:
    browser.open(f"{address}#videos", 1280, 900)
    browser.page.select_option("#video-head", "keys-L1-H0")
    browser.wait_for("document.querySelectorAll('.time-row i').length > 0")
    support = run.support(0, 1, 0)
    for concept in range(run.concepts(1, 0).k):
        bars = browser.evaluate(
            f"[...document.querySelectorAll('#time-C{concept} i')]"
            ".map((i) => Number(i.style.getPropertyValue('--v')))"
        )
        share = (support == concept).mean(axis=(1, 2))
        np.testing.assert_allclose(np.square(bars), share, atol=2e-3)


def test_print_shows_clips_and_figures(address: str, browser: Browser) -> None:
    """All that is laid out for the printer is drawn, also what was never on the screen."""
    browser.open(f"{address}#keys-L1-H1", 1000, 400)  # no clip of that head is on the screen
    canvases = "[...document.querySelectorAll('main canvas')]"
    ready = f"{canvases}.length > 0 && {canvases}.every(({{ clip }}) => clip?.sheet)"
    browser.wait_for(ready)
    browser.page.emulate_media(media="print")
    shown = "document.getElementById('view-%s').offsetHeight > 0"
    for part, expected in (("findings", True), ("heads", True), ("control", True),
                           ("method", True), ("concepts", False)):  # fmt: skip
        assert browser.evaluate(shown % part) is expected, part
    assert browser.evaluate("document.querySelector('.transport').offsetHeight") == 0
    blank = """
    [...document.querySelectorAll("main canvas")].filter((canvas) => {
      if (!canvas.clientWidth) return false;
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return !data.some((value) => value > 0);
    }).length
    """
    browser.wait_for(f"({blank}) === 0", seconds=10)
