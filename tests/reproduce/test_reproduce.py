"""The runner of the paper's results: its arithmetic, its files, and one small run of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import vtcd_ops
from reproduce import page, processes, results, table1, table1_replaced
from reproduce.__main__ import main
from reproduce.figure9 import likeness
from reproduce.masks import iou, on_grid
from reproduce.results import Cell, Claim, Result, Row, compare
from reproduce.study import QUICK, Scale, Study, spread
from reproduce.table1 import METHODS, RANDOM_ORDER, Curve, curves_of, draw
from vtcd_ops.adapters import example_adapter
from vtcd_ops.common.errors import InputError
from vtcd_ops.video.samples import Sample

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
        claims=[
            Claim("A holds.", True, "1 < 2"),
            Claim("B holds.", False, "3 < 2"),
            Claim("C holds.", None, "2 < 2"),
        ],
        notes=["A note."],
    )


def test_interval_is_students() -> None:
    values = [20.0, 22.0, 27.0]
    cell = Cell.of(values)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (cell.low, cell.high) == pytest.approx((low, high))
    assert Cell.of([1.0]).low is None


@pytest.mark.parametrize(
    ("first", "second", "lower", "holds"),
    [
        ([1.0, 2.0, 3.0], [0.5, 1.4, 2.6], False, True),  # pair by pair, far apart though spread
        ([1.0, 2.0, 3.0], [0.5, 1.4, 2.6], True, False),
        ([0.5, 1.4, 2.6], [1.0, 2.0, 3.0], True, True),
        ([1.0, 2.0, 3.0], [0.5, 2.4, 2.6], False, None),
        ([1.0], [0.5], False, True),  # a single seed has no interval
    ],
)
def test_claims_are_decided_by_pairs(
    first: list[float], second: list[float], lower: bool, holds: bool | None
) -> None:
    claim = compare("A.", first, second, lower=lower)
    assert claim.holds is holds
    if len(first) > 2:
        chance = stats.ttest_rel(first, second).pvalue
        assert (claim.holds is None) == (chance > 0.05)


def test_videos_are_drawn_evenly_from_all_classes() -> None:
    samples = [Sample(f"{number}.mp4", label=f"class {number % 3}") for number in range(30)]
    drawn = spread(samples, 8)
    assert sorted(sum(one.label == f"class {c}" for one in drawn) for c in range(3)) == [2, 3, 3]
    assert [samples.index(one) for one in drawn] == sorted(samples.index(one) for one in drawn)
    assert spread(samples, 8) == drawn  # always the same
    assert spread(samples, 99) == samples


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
    assert "| SLIC (VTCD) | 23.00 [14.04, 31.96] | 19.20 |" in text
    assert "| The tracker itself | 40.00 | – |" in text
    assert "**Agrees:** A holds. (1 < 2)" in text
    assert "**Does not agree:** B holds. (3 < 2)" in text
    assert "**Undecided:** C holds. (2 < 2)" in text


def test_html_holds_its_figure(tmp_path: Path) -> None:
    (tmp_path / "curve.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    text = page.html([replace(small_result(), figure="curve.svg")], "<b>hello</b>", tmp_path)
    assert "data:image/svg+xml;base64," in text
    assert "&lt;b&gt;hello" in text  # text is text
    assert text.count("<th>") == 2
    assert "23.00<small>[14.04, 31.96]</small><small>paper 19.20</small>" in text


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
        (["--seeds", "0"], "whole number above 0"),
        (["--only", "table7"], "table7"),
    ],
)
def test_mistakes_are_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    # what the process of a command may change for good
    monkeypatch.setattr(processes, "share_processors", lambda count: None)
    try:
        status = main([str(tmp_path / "work"), "--processes", "1", *arguments])
    except SystemExit as ended:  # of argparse
        status = ended.code
    assert status == 2
    assert words in capsys.readouterr().err


def test_area_of_a_known_curve(tmp_path: Path) -> None:
    fractions = np.array([0.0, 0.5, 1.0])
    falls, stays = [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]
    curve = Curve(fractions, np.array([[falls, stays], [stays, stays]]))  # of two videos
    assert curve.areas("positive").tolist() == pytest.approx([0.25, 0.75])
    assert curve.areas("negative").tolist() == pytest.approx([0.75, 0.75])
    labels = [*METHODS, RANDOM_ORDER]
    draw({(label, role): [curve] for label in labels for role in ("tcow", "videomae")},
         tmp_path / "figure4.svg")  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["figure4.svg"]
    text = (tmp_path / "figure4.svg").read_text()
    assert "<svg" in text
    assert "share of the concepts removed" in text


@pytest.fixture
def example_study(tmp_path: Path) -> Study:
    """A study of the tiny example model in VideoMAE's role, on four of eight noise videos."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(8):
        folder = tmp_path / f"video_{number}"
        folder.mkdir()
        for frame in rng.integers(0, 255, (4, 32, 32, 3)).astype(np.uint8):
            imageio_write(folder / f"{len(list(folder.iterdir())):02d}.png", frame)
        rows.append({"video": folder.name, "label": number % 2})
    manifest = tmp_path / "videos.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scale = Scale(videos=4, seeds=2, masks=16, scored=2, points=4, steps=2)
    study = Study(tmp_path / "work", scale, {"videomae": "example"}, {"": str(manifest)})
    study._adapters["videomae", False] = example_adapter()
    return study


def imageio_write(path: Path, frame: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(frame).save(path)


def test_rankings_and_curves_are_made_once(
    example_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = curves_of(example_study, "videomae", 0, "slic")
    slic = {label for label, method in METHODS.items() if method.proposals == "slic"}
    assert set(first) == slic | {RANDOM_ORDER}
    for curve in first.values():
        assert curve.fractions[[0, -1]].tolist() == [0.0, 1.0]
        assert curve.scores.shape == (2, 4, 5)
        # nothing removed and everything removed are the same in whatever order
        assert np.ptp(curve.scores[..., 0], axis=0).max() == 0
        assert np.ptp(curve.scores[..., -1], axis=0).max() == 0
    random = first[RANDOM_ORDER].scores
    assert np.array_equal(random[0], random[1])

    adapter = example_study.adapter("videomae")

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the model was asked again")

    monkeypatch.setattr(adapter.model, "forward", never)
    again = curves_of(example_study, "videomae", 0, "slic")
    assert all(np.array_equal(again[label].scores, first[label].scores) for label in first)


def test_table_1_is_made_under_each_replacement(
    example_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    example_study.scale = replace(example_study.scale, seeds=1, masks=8, points=3)
    for module in (table1, table1_replaced):
        monkeypatch.setattr(module, "PAPER_ROLES", ("videomae",))
    rows = {row.label: row.cells for row in table1_replaced.table1_replaced(example_study).rows}
    orders = len([one for one in METHODS.values() if one.proposals == "slic"]) + 1
    assert len(rows) == orders * len(table1_replaced.IN_PLACE)
    study = example_study.until_reliable(times=1)
    ours = [curves_of(study, "videomae", seed, "slic")["SLIC, occlusion"] for seed in study.seeds]
    area = np.mean([curve.areas("positive") for curve in ours])
    assert rows["zeros: occlusion"]["videomae, positive"].value == pytest.approx(area)
    for kind in ("importance", "curves"):  # each order was made and followed with the same
        stored = example_study.run("videomae", 0).path.glob(f"{kind}/*/settings.json")
        found = Counter(json.loads(file.read_text()).get("replace", "zero") for file in stored)
        assert set(found) == set(table1_replaced.IN_PLACE)
        assert len(set(found.values())) == 1


def test_scored_videos_are_of_the_run_and_of_all_classes(example_study: Study) -> None:
    run = example_study.run("videomae", 0)
    assert sorted(video.label for video in run.videos) == [0, 0, 1, 1]
    example_study.scale = Scale(videos=4, seeds=2, masks=16, scored=1, points=4, steps=2)
    chosen = example_study.scored_samples("videomae", run)
    assert sorted(sample.label for sample in chosen) == [0, 0, 1, 1]  # two of each class
    assert len(example_study.scored_samples("videomae_ssl", run)) == 1
    others = example_study.held_out_samples("videomae", run)  # as many, that nothing came from
    assert sorted(sample.label for sample in others) == [0, 0, 1, 1]
    assert {sample.name for sample in others}.isdisjoint(video.name for video in run.videos)
    assert example_study.num_masks("videomae") == 16
    assert example_study.at(masks=9_000).num_masks("videomae") == 4_000  # as in the paper


def test_curves_are_not_measured_where_concepts_were_ranked(example_study: Study) -> None:
    example_study.scale = replace(example_study.scale, videos=8, scored=6)
    run = example_study.run("videomae", 0)
    ranked = {sample.name for sample in example_study.scored_samples("videomae", run)}
    others = {sample.name for sample in example_study.held_out_samples("videomae", run)}
    assert len(ranked) == 6  # all others are held out, though concepts were discovered in them
    assert others == {video.name for video in run.videos} - ranked
    example_study.scale = replace(example_study.scale, scored=8)
    with pytest.raises(InputError, match="more than the 8 that concepts are ranked on"):
        example_study.held_out_samples("videomae", run)


def test_parts_of_a_head_have_runs_of_their_own(example_study: Study) -> None:
    keys, again, values = (
        example_study.run("videomae", 0),
        example_study.run("videomae", 0, part="keys"),
        example_study.run("videomae", 0, part="values"),
    )
    assert keys.path == again.path != values.path
    assert isinstance(values, vtcd_ops.Run)
    assert list(values.parts) == ["values"]


def test_helpers_begin_apart_and_hold_all_seeds(example_study: Study) -> None:
    example_study.scale = Scale(videos=4, seeds=5, masks=16, scored=2, points=4, steps=2)
    assert example_study.seeds == [0, 1, 2, 3, 4]
    example_study.first_seed = 3
    assert example_study.seeds == [3, 4, 0, 1, 2]


@pytest.mark.slow
def test_a_killed_run_leaves_no_helper_and_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "reproduce", str(tmp_path), "--only", "figure9"]
    command += ["--videos", "3", "--seeds", "2", "--processes", "2"]
    killed = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_until(lambda: any(tmp_path.glob("runs/*/videos/*")) and children(killed.pid))
    [helper] = children(killed.pid)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    wait_until(lambda: not Path(f"/proc/{helper}").exists())
    assert results.read(tmp_path, "figure9") is None
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found = results.read(tmp_path, "figure9")
    assert found is not None
    assert all(0 <= cell.value <= 1 for row in found.rows for cell in row.cells.values())
    assert (tmp_path / "helper-1.log").read_text() == ""


def wait_until(condition: Callable[[], object], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in listed.split()]


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


def test_random_copies_of_models_alike_in_shape_are_not_alike(tmp_path: Path) -> None:
    """Concepts that they share would else be those of one model."""
    study = Study(tmp_path, QUICK)
    one, other = (
        dict(study.adapter(role, untrained=True).model.named_parameters())
        for role in ("videomae", "videomae_ssl")
    )
    both = [name for name in one if name in other and one[name].ndim > 1]
    assert both
    for name in both:
        pair = torch.stack([one[name].detach().flatten(), other[name].detach().flatten()])
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 0.2, name
