"""The runner of the paper's results: its arithmetic, its files, and one small run of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from reproduce import page, results
from reproduce.figure9 import likeness
from reproduce.masks import iou, on_grid
from reproduce.results import Cell, Claim, Result, Row

ROOT = Path(__file__).parents[2]


def small_result() -> Result:
    row = Row("SLIC (VTCD)", {"target": Cell.of([20.0, 22.0, 27.0], published=19.2)})
    other = Row("The tracker itself", {"target": Cell.of([40.0])})
    return Result(
        name="table4",
        title="Concepts that coincide with objects",
        paper="Table 4",
        unit="per cent",
        columns={"target": "Target"},
        rows=[row, other],
        claims=[Claim("A holds.", True, "1 < 2"), Claim("B holds.", False, "3 < 2")],
        notes=["A note."],
    )


def test_interval_is_students() -> None:
    values = [20.0, 22.0, 27.0]
    cell = Cell.of(values)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (cell.low, cell.high) == pytest.approx((low, high))
    assert Cell.of([1.0]).low is None


def test_result_survives_the_disk(tmp_path: Path) -> None:
    result = small_result()
    results.write(result, tmp_path)
    assert results.read(tmp_path, "table4") == result
    assert results.read(tmp_path, "table1") is None
    assert [path.name for path in tmp_path.iterdir()] == ["table4.json"]


def test_result_of_another_format_is_refused() -> None:
    document = json.loads(small_result().as_json())
    with pytest.raises(ValueError, match="format"):
        Result.from_json(json.dumps(document | {"format": 99}))


def test_cells_without_a_column_are_refused() -> None:
    with pytest.raises(ValueError, match="no column"):
        Result("a", "A", "Table", "", {"x": "X"}, [Row("row", {"y": Cell(1.0)})])


def test_page_shows_measured_beside_published() -> None:
    text = page.markdown([small_result()], "# Results")
    assert "|  | Target | Target, paper |" in text
    assert "| SLIC (VTCD) | 23.000 [14.043, 31.957] | 19.2 |" in text
    assert "| The tracker itself | 40.000 | – |" in text
    assert "**Agrees:** A holds. (1 < 2)" in text
    assert "**Does not agree:** B holds. (3 < 2)" in text


def test_html_holds_its_figure(tmp_path: Path) -> None:
    from dataclasses import replace

    (tmp_path / "curve.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    text = page.html([replace(small_result(), figure="curve.svg")], "<b>hello</b>", tmp_path)
    assert "data:image/svg+xml;base64," in text
    assert "&lt;b&gt;hello" in text  # text is text
    assert text.count("<th>") == 3


def test_iou_counts_voxels() -> None:
    first, second = np.zeros((2, 4), dtype=bool), np.zeros((2, 4), dtype=bool)
    assert iou(first, second) == 1.0
    first[0], second[:, :2] = True, True
    assert iou(first, second) == pytest.approx(2 / 6)


def test_masks_keep_their_place_on_a_coarser_grid() -> None:
    mask = np.zeros((2, 8, 8), dtype=bool)
    mask[:, 4:, :4] = True
    assert on_grid(mask, (2, 4, 4))[:, 2:, :2].all()
    assert on_grid(mask, (2, 4, 4)).mean() == mask.mean()
    assert np.array_equal(on_grid(mask, mask.shape), mask)


def test_likeness_against_sets() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(-1, 4, 500), rng.integers(-1, 3, 500)
    best = []
    for a in range(first.max() + 1):
        one = set(np.flatnonzero(first == a))
        others = [set(np.flatnonzero(second == b)) for b in range(second.max() + 1)]
        best.append(max(len(one & other) / len(one | other) for other in others))
    assert likeness(first, second) == pytest.approx(np.mean(best))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nobody=x"], "role expected one of tcow"),
        (["--data", "tcow=nowhere.csv", "--only", "table4"], "nowhere.csv"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reproduce", str(tmp_path / "work"), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_small_run_ends_in_a_page_and_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "reproduce", str(tmp_path), "--only", "table4", "figure9"]
    command += ["--videos", "3", "--seeds", "2", "--masks", "8"]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr
    assert "table4: there already" in done.stdout
    found = results.read(tmp_path, "table4")
    assert found is not None
    rows = {row.label: row.cells for row in found.rows}
    # what the concepts of a trained tracker must do, and three clips suffice to see
    assert rows["The tracker itself"]["target"].value > 5
    assert all(0 <= cell.value <= 100 for cells in rows.values() for cell in cells.values())
    assert "Concepts of different heads" in (tmp_path / "results.html").read_text()
