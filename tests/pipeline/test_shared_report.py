"""The page of Rosetta concepts: complete, faithful to the supports that were scored, and usable."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pipeline.browser import CHROMIUM, Browser
from pipeline.report_page import Page, links
from pipeline.seen_objects import Eye, write_seen, write_shared

import vtcd_ops
from vtcd_ops.common.errors import InputError
from vtcd_ops.reporting import report

needs_browser = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no chromium: the scripts of the report were NOT tested (apt install chromium)",
)
EYES = {
    "fine": Eye(),
    "cropped <b>": Eye(crop=(0.0, 16.0, 96.0, 96.0), tokens=(24, 14, 14)),
    "slow": Eye(frames=tuple(range(8, 40, 2)), tokens=(8, 12, 16)),
}
DRAWN = "document.querySelector('#cards .tuple .coverage')?.childElementCount > 0"
CARDS = "document.querySelectorAll('#cards .tuple').length"
CHOOSE = """
(() => {
  const control = document.querySelector(%r);
  if (control.type === "checkbox") control.checked = true; else control.value = %r;
  control.dispatchEvent(new Event("change", { bubbles: true }));
})()
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> vtcd_ops.Rosetta:
    folder = tmp_path_factory.mktemp("seen")
    runs = [write_seen(folder / str(i), eye, name=name) for i, (name, eye) in
            enumerate(EYES.items())]  # fmt: skip
    return vtcd_ops.rosetta(runs, importances=None, delta=0.02, out=folder / "out", progress=False)


@pytest.fixture(scope="module")
def page(found: vtcd_ops.Rosetta) -> Page:
    return Page(report(found, progress=False))


def test_the_page_loads_nothing(page: Page) -> None:
    assert all(link.startswith(("#", "data:")) for link in links(page)), links(page)
    assert "<b>" not in page.document["runs"][1]["title"].replace("cropped <b>", "")
    assert "cropped <b>" in page.text


def test_every_tuple_has_its_card(page: Page, found: vtcd_ops.Rosetta) -> None:
    cards = page.document["cards"]
    assert len(cards) == len(found)
    orders = [card["order"] for card in cards]
    assert orders == sorted(orders, reverse=True)
    by_members = {
        tuple((m["run"], m["layer"], m["head"], m["concept"]) for m in card["members"]): card
        for card in cards
    }
    for index in range(len(found)):
        card = by_members[tuple((f"run{m.run}", *m[1:]) for m in found.members(index))]
        assert card["score"] == pytest.approx(found.scores[index], abs=1e-4)
        assert card["unique"] == (index in found.without_repeats(card["order"]))
        ratios = [video["ratio"] for video in card["videos"]]
        expected = np.sort(found.per_video[index])[::-1]
        np.testing.assert_allclose(ratios, expected[expected > 0], atol=1e-4)


def test_supports_are_those_that_were_scored(page: Page, found: vtcd_ops.Rosetta) -> None:
    """The overlap that the page's own voxels give is close to the ratio it states."""
    volumes = {}
    for run in page.document["runs"]:
        for head in run["heads"]:
            blob = page.scripts[f"support-{run['id']}-{head['key']}"]
            raw = np.frombuffer(zlib.decompress(base64.b64decode(blob)), np.uint8)
            begin = 0
            for position in head["packed"]:
                video = page.document["videos"][position]
                shape = video["support"][run["id"]]
                count = shape["height"] * shape["width"] * len(video["frames"])
                volumes[run["id"], head["key"], position] = raw[begin : begin + count]
                begin += count
    for card in page.document["cards"]:
        for entry in card["videos"]:
            masks = [
                volumes[m["run"], m["key"], entry["video"]] == m["concept"] + 1
                for m in card["members"]
            ]
            ratio = np.logical_and.reduce(masks).sum() / np.logical_or.reduce(masks).sum()
            assert ratio == pytest.approx(entry["ratio"], abs=0.02)


def test_limits_and_places(found: vtcd_ops.Rosetta, tmp_path: Path) -> None:
    page = Page(report(found, tmp_path / "few.html", max_cards=2, max_clips=1, progress=False))
    assert [card["order"] for card in page.document["cards"]] == [3, 3, 2, 2]
    assert "4 of" in page.text
    assert all(len(card["videos"]) == 1 for card in page.document["cards"])
    again = Page(report(found.path, tmp_path / "again.html", max_cards=2, max_clips=1,
                        progress=False))  # fmt: skip
    assert again.html == page.html
    with pytest.raises(InputError, match="max_cards expected a whole number above 0, got 0"):
        report(found, max_cards=0)


def test_a_result_that_was_not_saved_needs_a_place(tmp_path: Path) -> None:
    blocks = np.zeros((2, 1, 4, 6, 6), dtype=int)
    runs = [write_shared(tmp_path / name, blocks, name=name) for name in "ab"]
    found = vtcd_ops.rosetta(runs, importances=None, progress=False)
    with pytest.raises(InputError, match="out expected a file, as the result was not saved"):
        report(found, progress=False)
    assert report(found, tmp_path / "page.html", progress=False).is_file()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()
    assert browser.problems == []


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_cards_play_and_filters_choose(
    page: Page, found: vtcd_ops.Rosetta, browser: Browser, width: int
) -> None:
    assert found.path is not None
    address = (found.path / "report.html").as_uri()
    browser.open(address, width, 6000)
    browser.wait_for(DRAWN)
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    cards = page.document["cards"]
    assert browser.evaluate(CARDS) == min(12, len(cards))
    browser.evaluate("document.getElementById('more').click()")
    assert browser.evaluate(CARDS) == min(24, len(cards))
    browser.evaluate(CHOOSE % ("#order", "3"))
    triples = [card for card in cards if card["order"] == 3]
    assert browser.evaluate(CARDS) == min(12, len(triples))
    browser.evaluate(CHOOSE % ("#unique", ""))
    unique = [card for card in triples if card["unique"]]
    assert browser.evaluate(CARDS) == len(unique)
    browser.wait_for(DRAWN)
    browser.evaluate(CHOOSE % ("[data-run=run1]", "0"))
    assert browser.evaluate(CARDS) == len(unique)
