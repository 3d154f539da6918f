"""What every result can do in Python: rows, a table, a picture, equality."""

from __future__ import annotations

import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from pipeline.report_page import write_controlled_run, write_run
from pipeline.videos import moving_square

import vtcd_ops
from vtcd_ops.adapters import example_adapter
from vtcd_ops.vos_metrics import evaluate

mpl.use("Agg")

RESULTS = ("run", "importance", "interactions", "curves", "evidence", "rosetta", "comparison",
           "segmentation", "evaluation", "keep")  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("results")
    model, videos = example_adapter(), [moving_square(seed=seed) for seed in range(4)]
    samples = [(video, index % 2) for index, video in enumerate(videos)]
    run = vtcd_ops.discover(
        model, videos, out=folder / "run", layers=[1, 2], sanity=True, progress=False
    )
    found: dict[str, Any] = {"run": run}
    found["importance"] = vtcd_ops.rank(run, model, samples, num_masks=64, progress=False)
    found["interactions"] = found["importance"].interactions(top=3)
    found["curves"] = vtcd_ops.curves(run, model, samples, num_points=4, progress=False)
    found["evidence"] = vtcd_ops.evidence(
        run, model, videos, copies=1, starts=1, shuffles=0, progress=False
    )
    other = vtcd_ops.discover(
        model, videos, out=folder / "other", layers=[0], sanity=True, seed=1, progress=False
    )
    found["rosetta"] = vtcd_ops.rosetta(
        [run, other], out=folder / "shared", importances=None, delta=0.01, progress=False
    )
    found["comparison"] = vtcd_ops.compare(run, other)
    mask = np.zeros((32, 32), dtype=np.uint8)
    mask[4:16, 4:16], mask[20:30, 20:30] = 1, 2
    found["segmentation"] = vtcd_ops.segment(model, videos[0], mask)
    found["evaluation"] = _evaluated(folder / "masks")
    found["keep"] = vtcd_ops.learn_keep(
        model, [vtcd_ops.Sample(*sample) for sample in samples], epochs=1, progress=False
    )
    return found


def _evaluated(folder: Path) -> Any:
    from PIL import Image

    for frame in range(4):
        for kind, shift in (("found", 1), ("truth", 0)):
            mask = np.zeros((24, 24), dtype=np.uint8)
            mask[6 + shift : 16, 6:16] = 255
            (folder / kind / "square").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(folder / kind / "square" / f"{frame:05d}.png")
    return evaluate(folder / "found", folder / "truth")


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_its_rows_in_every_form(results: dict[str, Any], name: str) -> None:
    found = results[name]
    rows = list(found)
    assert len(rows) == len(found) > 0
    assert found, "a result is true"
    frame = found.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == list(rows[0])
    again = pd.DataFrame(rows)
    pd.testing.assert_frame_equal(frame, again)
    assert repr(found).startswith(type(found).__name__ + "(")
    assert len(repr(found)) < 400  # no arrays


class _Table(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


@pytest.mark.parametrize("name", RESULTS)
def test_a_notebook_shows_a_table_of_the_first_rows(results: dict[str, Any], name: str) -> None:
    found = results[name]
    html = found._repr_html_()
    tags, rows = _Table(html).tags, min(len(found), 20)
    assert tags.count("tr") == rows + 1
    assert tags.count("td") == rows * len(next(iter(found)))
    assert ("more</p>" in html) == (len(found) > 20)


@pytest.mark.parametrize("name", RESULTS)
def test_a_plot_has_titles_of_both_axes_and_something_drawn(
    results: dict[str, Any], name: str, tmp_path: Path
) -> None:
    ax = results[name].plot()
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    assert ax.has_data()
    ax.figure.savefig(tmp_path / "plot.svg")
    assert re.search("<path", (tmp_path / "plot.svg").read_text())
    given = mpl.figure.Figure().subplots()
    assert results[name].plot(ax=given) is given
    mpl.pyplot.close("all")


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_equal_by_content(results: dict[str, Any], name: str) -> None:
    """Where the fields are arrays, a dataclass's own == raises, and a plain class's is identity."""
    import copy

    found = results[name]
    assert found == copy.deepcopy(found)
    assert (found == results["run"]) == (name == "run")
    assert found != object()


def test_equality_sees_one_changed_number(results: dict[str, Any]) -> None:
    import copy

    changed = {
        "importance": lambda one: one.value,
        "curves": lambda one: one.fractions,
        "evidence": lambda one: one.copy_overlap,
        "rosetta": lambda one: one.scores,
        "segmentation": lambda one: one.labels,
        "evaluation": lambda one: one.objects[0].region,
        "keep": lambda one: one.value,
        "comparison": lambda one: one.scores[0],
    }
    for name, array in changed.items():
        other = copy.deepcopy(results[name])
        array(other)[(0,) * array(other).ndim] += 1
        assert other != results[name], name


def test_runs_are_equal_where_their_files_are(results: dict[str, Any], tmp_path: Path) -> None:
    run = results["run"]
    shutil.copytree(run.path, tmp_path / "moved")
    moved = vtcd_ops.load(tmp_path / "moved")
    assert moved == run
    assert hash(moved) == hash(run)
    assert write_run(tmp_path / "one") != write_run(tmp_path / "two", seed=1)


def test_rows_of_a_run_count_what_its_concepts_hold(results: dict[str, Any]) -> None:
    run = results["run"]
    frame = run.to_pandas()
    assert frame[["layer", "head", "concept"]].to_numpy().tolist() == run.units().tolist()
    for (layer, head), rows in frame.groupby(["layer", "head"]):
        concepts = run.concepts(layer, head)
        assert rows["tubelets"].sum() == len(concepts.concept)
        assert rows["voxels"].sum() == concepts.size.sum()
        for row in rows.itertuples():
            assert row.videos == len(set(concepts.video[concepts.concept == row.concept]))


def test_a_run_gives_its_curves(results: dict[str, Any], tmp_path: Path) -> None:
    assert results["run"].curves() == results["curves"]
    assert results["run"].curves(results["curves"].name) == results["curves"]
    assert write_controlled_run(tmp_path / "no").curves() is None
    with pytest.raises(vtcd_ops.InputError, match="no finished curves 'other'"):
        results["run"].curves("other")


@pytest.mark.parametrize(
    ("package", "call", "extra"),
    [("pandas", "to_pandas", "tables"), ("matplotlib.pyplot", "plot", "plots")],
)
def test_a_missing_package_is_named_with_what_installs_it(
    results: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    call: str,
    extra: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{call}: needs .*pip install 'vtcd-ops\[{extra}\]'"):
        getattr(results["run"], call)()


def test_show_names_the_degenerate_heads(tmp_path: Path) -> None:
    from vtcd_ops.commands.show import describe

    run = write_run(tmp_path / "one", num_videos=1, concepts=(3, 2))
    said = dict(describe(run))["degenerate"]
    heads = {(row["layer"], row["head"]) for row in run if row["degenerate"]}
    assert heads, "a tubelet a concept in one video"
    assert all(f"layer {layer} head {head}" in said for layer, head in heads)
    assert dict(describe(write_run(tmp_path / "two")))["degenerate"] == "none"
