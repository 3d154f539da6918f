"""What the report shows of a ranking is the ranking."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline.additive import additive_adapter, samples
from pipeline.report_page import Page, links

import vtcd_ops
from vtcd_ops import Run
from vtcd_ops.estimates.mask_seeds import mask_seed
from vtcd_ops.importance.curves import Curves
from vtcd_ops.importance.per_video import costs_per_video
from vtcd_ops.reporting.importance import curve_figure

FAST: dict[str, Any] = {"progress": False, "dtype": "float32", "masks_per_forward": 16}


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Page]:
    adapter = additive_adapter()
    out = tmp_path_factory.mktemp("report") / "run"
    run = vtcd_ops.discover(adapter, samples(), out=out, parts=["values"], progress=False)
    vtcd_ops.rank(run, adapter, samples(), num_masks=200, **FAST)
    vtcd_ops.rank(run, adapter, samples(), method="occlusion", **FAST)
    vtcd_ops.curves(run, adapter, samples(), **FAST)
    return run, Page(vtcd_ops.report(run, progress=False))


def test_concepts_and_heads_have_their_places(ranked: tuple[Run, Page]) -> None:
    """The first number of both, 1 for the most important concept and 0 for the least."""
    run, page = ranked
    importance = run.importance()
    assert importance is not None
    for quantities in ("headQuantities", "conceptQuantities"):
        assert page.document[quantities][0]["key"] == "importance"
    num_units = len(importance.value)
    places = dict(zip(map(tuple, importance.units.tolist()), importance.rank, strict=True))
    for head in page.heads():
        own = []
        for index, concept in enumerate(head["concepts"]):
            rank = places[head["layer"], head["head"], index]
            own.append((num_units - rank) / num_units)
            assert concept["values"]["importance"] == pytest.approx(own[-1], abs=1e-4)
        assert head["values"]["importance"] == pytest.approx(np.mean(own), abs=1e-4)
        assert 0 <= head["values"]["uniqueness"] <= 1


def test_the_section(ranked: tuple[Run, Page]) -> None:
    """The most important concept comes first and is a link to it; every curve has its area."""
    run, page = ranked
    importance = run.importance()
    assert importance is not None
    layer, head, concept = importance.units[importance.order[0]]
    start = [a.get("id") for _, a in page.elements].index("figure-most-important")
    bars = [
        a["href"] for tag, a in page.elements[start:] if tag == "a" and "-C" in str(a.get("href"))
    ]
    assert bars[0] == f"#values-L{layer}-H{head}-C{concept}"
    assert f"{importance.reliability:.2f}" in page.text
    assert sum(a.get("class") == "curve" for _, a in page.elements) == 5
    assert sum(a.get("class") == "band" for _, a in page.elements) == 5
    curves = vtcd_ops.curves(run, additive_adapter(), samples(), **FAST)
    area = f"{curves.area('cris-logit', 'positive'):.2g}".replace("-", "−")
    assert area in page.text
    assert all(link.startswith(("#", "data:")) for link in links(page))


def test_a_run_without_a_ranking_has_no_section(tmp_path: Path) -> None:
    adapter = additive_adapter()
    run = vtcd_ops.discover(adapter, samples(2), out=tmp_path, parts=["values"], progress=False)
    page = Page(vtcd_ops.report(run, progress=False))
    assert 'id="importance"' not in page.html
    assert all(quantity["key"] != "importance" for quantity in page.document["conceptQuantities"])


def test_a_ranking_of_heads(tmp_path: Path) -> None:
    """Heads have a place, concepts have none."""
    adapter = additive_adapter()
    run = vtcd_ops.discover(adapter, samples(2), out=tmp_path, parts=["values"], progress=False)
    vtcd_ops.rank(run, adapter, samples(2), method="occlusion", units="heads", **FAST)
    page = Page(vtcd_ops.report(run, progress=False))
    assert sorted(h["values"]["importance"] for h in page.heads()) == pytest.approx(
        [1 / 4, 2 / 4, 3 / 4, 1], abs=1e-4
    )
    assert all(quantity["key"] != "importance" for quantity in page.document["conceptQuantities"])


def test_curves_lie_where_their_numbers_are() -> None:
    """Along straight axes: as far apart in the drawing as the numbers are."""
    scores = np.array([[1.0, 0.5, 0.0]] * 3)
    curves = Curves(
        "x", {"metric": "logit"}, np.array([0.0, 0.5, 1.0]), {("a", "positive"): scores}
    )
    figure = curve_figure(curves)
    [(_, points)] = re.findall(r'<polyline class="(curve)" points="([^"]*)"', figure.svg)
    x, y = np.array([point.split(",") for point in points.split()], float).T
    assert np.allclose(np.diff(x), np.diff(x)[0], atol=0.2)
    assert np.diff(x)[0] > 0
    assert np.allclose(np.diff(y), np.diff(y)[0], atol=0.2)
    assert np.diff(y)[0] > 0  # downwards
    assert [row[1:3] for row in figure.table.rows] == [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
    for text in ("Share of the concepts removed (%)", "Answer (logit)"):
        assert text in figure.svg


def test_costs_of_a_video_are_its_own(ranked: tuple[Run, Page]) -> None:
    """What removing a concept costs a video is the mean of its scores with it less without it."""
    run, page = ranked
    importance = run.importance()
    assert importance is not None
    costs = costs_per_video(importance)
    assert costs is not None
    settings, scores = importance.settings, importance.tensors["scores"]
    keep = [
        reference_masks(
            settings["num_units"], scores.shape[1], settings["ratio"],
            mask_seed(settings["seed"], video["sha256"]), settings["design"],
        )
        for video in settings["videos"]
    ]  # fmt: skip
    for unit in range(0, len(importance.value), 5):
        expected = [
            row[kept[:, unit]].mean() - row[~kept[:, unit]].mean()
            for row, kept in zip(scores, keep, strict=True)
        ]
        present = importance.tensors["present"][:, unit]
        np.testing.assert_allclose(costs[present, unit], np.array(expected)[present], rtol=1e-9)
        assert np.isnan(costs[~present, unit]).all()
    shown = [c["costs"] for head in page.heads() for c in head["concepts"]]
    assert any(shown)


def reference_masks(units: int, masks: int, ratio: float, seed: int, design: str) -> np.ndarray:
    keep = vtcd_ops.cris_sample(units, masks, ratio, seed, design=design)
    return keep.numpy()
