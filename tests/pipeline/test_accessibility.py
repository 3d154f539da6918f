"""What a reader who cannot see, or does not use a mouse, meets: axe-core on every page and part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline.browser import CHROMIUM, Browser
from pipeline.videos import moving_square

import vtcd_ops
from vtcd_ops.adapters import example_adapter
from vtcd_ops.reporting import report

pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no chromium: the scripts of the report were NOT tested (apt install chromium)",
)

PARTS = ("findings", "heads", "concepts", "videos", "importance", "control", "method", "export",
         "keys-L2-H1-C0")  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A report with all its parts (copy, evidence with masks, ranking, curves), and a Rosetta's."""
    folder = tmp_path_factory.mktemp("pages")
    model = example_adapter()
    masks = np.zeros((4, 32, 32), dtype=bool)
    masks[:, 8:24, 8:24] = True
    samples = [
        vtcd_ops.Sample(moving_square(seed=seed), label=seed % 2, target_masks=masks)
        for seed in range(4)
    ]
    run = vtcd_ops.discover(
        model, samples, out=folder / "run", layers=[1, 2], sanity=True, progress=False
    )
    vtcd_ops.evidence(run, model, samples, copies=2, starts=1, shuffles=9, progress=False)
    vtcd_ops.rank(run, model, samples, num_masks=64, progress=False)
    vtcd_ops.curves(run, model, samples, num_points=4, progress=False)
    other = vtcd_ops.discover(
        model, samples, out=folder / "other", layers=[0], sanity=True, seed=1, progress=False
    )
    shared = vtcd_ops.rosetta(
        [run, other], out=folder / "shared", importances=None, delta=0.01, progress=False
    )
    names = {"keys-L2-H1-C0": {"name": "square", "by": "a model", "score": 0.4}}
    return {
        "report": report(run, names=names, progress=False).as_uri(),
        "rosetta": report(shared, progress=False).as_uri(),
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = Browser()
    yield found
    found.close()


def violations(browser: Browser, rules: tuple[str, ...] = ()) -> list[str]:
    """What axe-core finds wrong in the page as it is now, rule and element; () for all rules."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    found: list[dict[str, Any]] = Axe().run(browser.page, options=options).response["violations"]
    return [f"{one['id']}: {node['html'][:120]}" for one in found for node in one["nodes"]]


def test_axe_sees_what_is_wrong(tmp_path: Path, browser: Browser) -> None:
    """So that silence means something."""
    (tmp_path / "bad.html").write_text("<html lang=en><title>x</title><img src='data:,'></html>")
    browser.open((tmp_path / "bad.html").as_uri(), 800, 600)
    assert any(one.startswith("image-alt") for one in violations(browser))


@pytest.mark.parametrize(
    ("scheme", "width", "parts", "rules"),
    [
        ("light", 1440, PARTS, ()),
        ("dark", 1440, PARTS, ("color-contrast",)),  # all that the scheme changes
        ("light", 390, ("findings", "heads"), ()),
    ],
)
def test_axe_finds_nothing_in_any_part_of_the_report(
    pages: dict[str, str],
    browser: Browser,
    scheme: str,
    width: int,
    parts: tuple[str, ...],
    rules: tuple[str, ...],
) -> None:
    browser.open(pages["report"], width, 900, color_scheme=scheme, reduced_motion="reduce")
    found = {}
    for part in parts:
        browser.evaluate(f"location.hash = '{part}'")
        browser.wait_for(
            f"document.getElementById('view-{part}')?.classList.contains('current')"
            " || document.getElementById('card').open"
        )
        browser.page.wait_for_timeout(100)  # what is drawn late
        found[part] = violations(browser, rules)
    assert found == {part: [] for part in parts}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_page_of_shared_concepts(
    pages: dict[str, str], browser: Browser, scheme: str
) -> None:
    browser.open(pages["rosetta"], 1440, 900, color_scheme=scheme, reduced_motion="reduce")
    browser.wait_for("document.querySelectorAll('#cards article').length > 0")
    assert violations(browser, () if scheme == "light" else ("color-contrast",)) == []
