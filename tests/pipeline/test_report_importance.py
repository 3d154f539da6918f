"""What the report shows of a ranking is the ranking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipeline.additive import additive_adapter, samples
from pipeline.report_page import Page, links

import vtcd_ops
from vtcd_ops import Run
from vtcd_ops.importance.curves import Curves
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
    bars = [a["href"] for tag, a in page.elements if tag == "a" and "-C" in str(a.get("href"))]
    assert bars[0] == f"#values-L{layer}-H{head}-C{concept}"
    assert f"{importance.reliability:.2f}" in page.text
    assert sum(tag == "polyline" for tag, _ in page.elements) == 5
    curves = vtcd_ops.curves(run, additive_adapter(), samples(), **FAST)
    area = f"{curves.area('cris-logit', 'positive'):.3g}".replace("-", "−")
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
    """From 0 to 1 over the width; the axis' ends at the box's."""
    scores = np.array([[1.0, 0.5, 0.0]] * 3)
    curves = Curves(
        "x", {"metric": "logit"}, np.array([0.0, 0.5, 1.0]), {("a", "positive"): scores}
    )
    figure = curve_figure(curves)
    assert (figure.axis.low, figure.axis.high) == (0.0, 1.0)
    assert figure.lines[0].points == "0.00,0.00 50.00,30.00 100.00,60.00"
    assert figure.lines[0].area == 0.5
