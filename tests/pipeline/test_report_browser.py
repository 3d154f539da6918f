"""The report in a real browser: its scripts run, read the supports right, and play."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pipeline.browser import CHROMIUM, Browser
from pipeline.report_page import write_controlled_run, write_run

from vtcd_ops.discovery.run import Run
from vtcd_ops.reporting import report

pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no chromium: the scripts of the report were NOT tested (apt install chromium)",
)

# Every clip of a shown run: concept, video, and the bars below it, drawn from decoded supports.
CLIPS = """
[...document.querySelectorAll(".column.%s .concept:not(.overview)")].flatMap((card) =>
  [...card.querySelectorAll("figure")].map((figure) => ({
    concept: Number(card.querySelector(".chip").textContent),
    video: Number(figure.querySelector("figcaption").textContent.replace("video ", "")),
    bars: [...figure.querySelectorAll(".coverage i")].map((i) => i.style.getPropertyValue("--v")),
  })))
"""
ALL_DRAWN = """
document.querySelectorAll(".coverage").length > 0 &&
[...document.querySelectorAll(".coverage")].every((bars) => bars.childElementCount > 0)
"""
PRESS = (
    "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: '%s', bubbles: true}))"
)
SEEK = """
(() => {
  const slider = document.querySelector("[data-frame]");
  slider.value = "%d";
  slider.dispatchEvent(new Event("input"));
})()
"""
PIXELS = """
(() => {
  const canvas = document.getElementById("CARD").querySelector("canvas");
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  return { width, height, data: [...data] };
})()
"""
ANY_CLIP = "document.querySelectorAll('.clip').length > 0"
TITLE = "document.getElementById('head-title').textContent"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_controlled_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def address(run: Run) -> str:
    return report(run).as_uri()


@pytest.fixture(scope="module")
def _browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("browser"))
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
    browser.wait_for(ALL_DRAWN)
    assert browser.evaluate(TITLE) == "Layer 1 · Head 1"
    clips = browser.evaluate(CLIPS % run_id)
    assert {clip["concept"] for clip in clips} == set(range(shown.concepts(1, 1).k))
    for clip in clips:
        share = (shown.support(clip["video"], 1, 1) == clip["concept"]).mean(axis=(1, 2))
        bars = [float(bar) for bar in clip["bars"]]
        np.testing.assert_allclose(bars, share / share.max(), atol=6e-4)


def test_outside_of_a_concept_is_dimmed(tmp_path: Path, browser: Browser) -> None:
    """Inside, the pixels are the video's; outside, they are dark and grey."""
    run = write_run(tmp_path, num_videos=1, concepts=(2,), shape=(1, 32, 32))
    browser.open(report(run).as_uri(), 1280, 4000)
    browser.wait_for(ALL_DRAWN)
    for concept in range(2):
        pixels = browser.evaluate(PIXELS.replace("CARD", f"keys-L0-H0-C{concept}"))
        shown = np.array(pixels["data"]).reshape(pixels["height"], pixels["width"], 4)[..., :3]
        inside = np.kron(run.support(0, 0, 0)[0] == concept, np.ones((9, 9))) > 0
        rows = np.linspace(0, len(shown) - 1, len(inside)).round().astype(int)
        shown = shown[rows][:, rows]
        colourful = np.ptp(shown, axis=-1)
        assert np.median(colourful[~inside]) <= 12
        assert np.median(colourful[inside]) > np.median(colourful[~inside])
        assert shown[~inside].mean() < 0.8 * shown[inside].mean()


def test_both_runs_stand_side_by_side_where_there_is_room(address: str, browser: Browser) -> None:
    columns = (
        "[...document.querySelectorAll('.column')].map((column) => column.classList[1]).join()"
    )
    browser.open(address, 1280, 900)
    browser.wait_for(ANY_CLIP)
    assert browser.evaluate(columns) == "model,control"
    browser.open(address, 360, 800)
    browser.wait_for(ANY_CLIP)
    assert browser.evaluate(columns) == "model"
    assert browser.evaluate("document.documentElement.scrollWidth") <= 360
    browser.evaluate("document.querySelector('#view input[value=control]').click()")
    assert browser.evaluate(columns) == "control"


def test_arrow_keys_move_through_the_map(address: str, browser: Browser) -> None:
    browser.open(address, 1280, 900)
    browser.wait_for(ANY_CLIP)
    browser.evaluate("document.querySelector('#head-map button').focus()")
    for key, title in (
        ("ArrowLeft", "Layer 0 · Head 0"),
        ("ArrowRight", "Layer 0 · Head 1"),
        ("ArrowDown", "Layer 1 · Head 1"),
        ("Home", "Layer 1 · Head 0"),
        ("ArrowUp", "Layer 0 · Head 0"),
    ):
        browser.evaluate(PRESS % key)
        assert browser.evaluate(TITLE) == title
    labels = browser.evaluate(
        "[...document.querySelectorAll('#head-map button')].map((cell) => cell.ariaLabel).join()"
    )
    assert "layer 1, head 0: Number of concepts 3" in labels


def test_clips_play_and_pause(address: str, browser: Browser) -> None:
    number = "document.querySelector('[data-frame-number]').textContent"
    browser.open(address, 1280, 1600)
    browser.wait_for(ALL_DRAWN)
    before = browser.evaluate(number)
    browser.wait_for(f"{number} !== '{before}'")
    browser.evaluate("document.querySelector('[data-play]').click()")
    assert browser.evaluate("document.querySelector('[data-play]').ariaLabel") == "Play"


def test_every_frame_is_drawn(address: str, browser: Browser) -> None:
    browser.open(address, 1280, 1600, reduced_motion="reduce")
    browser.wait_for(ALL_DRAWN)
    seen = set()
    for frame in range(4):
        browser.evaluate(SEEK % frame)
        browser.wait_for(
            f"document.querySelectorAll('.coverage i:nth-child({frame + 1}).now').length"
        )
        seen.add(browser.screenshot()[500:].tobytes())
    assert len(seen) == 4


def test_clips_stand_still_for_those_who_prefer_it(address: str, browser: Browser) -> None:
    browser.open(address, 1280, 1600, reduced_motion="reduce")
    browser.wait_for(ALL_DRAWN)
    tick = "document.querySelector('[data-frame]').value"
    before = browser.evaluate(tick)
    browser.evaluate("window.later = false, setTimeout(() => { window.later = true }, 400), 0")
    browser.wait_for("window.later")
    assert browser.evaluate(tick) == before
    assert browser.evaluate("document.querySelector('[data-play]').ariaLabel") == "Play"


def test_dark_and_light(address: str, browser: Browser) -> None:
    browser.open(address, 1280, 900, color_scheme="dark")
    browser.wait_for(ANY_CLIP)
    assert browser.screenshot()[2, 2].max() < 40
    browser.evaluate("document.getElementById('theme').click()")  # from automatic to light
    assert browser.screenshot()[2, 2].min() > 220


def test_enlarged_clip_opens_and_closes(address: str, browser: Browser) -> None:
    browser.open(address, 1280, 900)
    browser.wait_for(ANY_CLIP)
    browser.evaluate("document.querySelectorAll('.clip')[4].click()")
    assert browser.evaluate("document.querySelectorAll('#enlarged canvas').length") == 2
    browser.evaluate("document.getElementById('close').click()")
    assert browser.evaluate("document.getElementById('enlarged').open") is False


def test_table_sorts(address: str, browser: Browser) -> None:
    browser.open(address, 1280, 900)
    browser.wait_for(ANY_CLIP)
    browser.evaluate("document.querySelector('#concept-table thead button').click()")
    values = browser.evaluate(
        "[...document.querySelectorAll('#concept-table tbody tr')]"
        ".map((row) => Number(row.cells[1].dataset.value))"
    )
    assert values == sorted(values, reverse=True)
    assert len(values) == 10
