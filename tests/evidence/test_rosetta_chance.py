"""Rosetta concepts beside chance, corrected by size, exclusive; two runs compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pipeline.videos import moving_square

import vtcd_ops
from vtcd_ops.adapters import example_adapter
from vtcd_ops.common.errors import InputError, InputWarning
from vtcd_ops.rosetta_concepts import result


@pytest.fixture(scope="module")
def videos() -> list[np.ndarray]:
    return [moving_square(seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, videos) -> list[vtcd_ops.Run]:
    folder = tmp_path_factory.mktemp("runs")
    return [
        vtcd_ops.discover(
            example_adapter(seed),
            videos,
            out=folder / str(seed),
            layers=[1, 2],
            seed=seed,  # of the weights of the copy, too
            sanity=True,
            progress=False,
        )
        for seed in range(2)
    ]


def labelled(folder: Path, run: vtcd_ops.Run, volumes: list[np.ndarray], k: int) -> vtcd_ops.Run:
    """A run of one head whose concepts are given."""
    supports = {("keys", 2): [volume[None] for volume in volumes]}
    return vtcd_ops.store_concepts(
        folder, run, supports, {("keys", 2): [np.eye(k, 8)]}, method=folder.name
    )


def test_chance_is_the_same_search_among_the_copies(runs):
    options = {"importances": None, "delta": 0.2, "progress": False}
    found = vtcd_ops.rosetta(runs, **options)
    copies = vtcd_ops.rosetta([run.sanity for run in runs], **options)
    assert np.array_equal(found.chance[2].scores, copies.scores)
    [row] = found.summary()
    [of_copies] = copies.summary()
    for key in ("tuples", "mean", "best", "mean_of_all", "all_tuples"):
        assert row["chance"][key] == of_copies[key]
    score = found.scores[0]
    as_good = (copies.scores >= score).sum() / of_copies["all_tuples"]
    assert found.as_good_by_chance(0) == as_good
    assert "copies with random weights" in found.line(row)
    assert vtcd_ops.rosetta(runs, chance=False, **options).chance == {}


def test_copies_with_the_same_weights_are_no_chance(tmp_path, videos, runs):
    twin = vtcd_ops.discover(
        example_adapter(0), videos, out=tmp_path / "twin", layers=[2], sanity=True, progress=False
    )
    with pytest.warns(InputWarning, match="same random weights"):
        found = vtcd_ops.rosetta([runs[0], twin], importances=None, progress=False)
    assert found.chance == {}
    assert found.as_good_by_chance(0) is None


def test_as_many_concepts_of_the_copies_are_drawn_as_are_important(runs):
    importances = [np.arange(len(run.units())) for run in runs]
    found = vtcd_ops.rosetta(
        runs, importances=importances, epsilon=0.5, delta=None, top=5, progress=False
    )
    assert found.chance[2].num_tuples == np.prod([len(units) for units in found.units])


def test_exclusive_concepts_are_those_without_a_partner(runs):
    found = vtcd_ops.rosetta(runs, importances=None, delta=0.3, progress=False)
    best = [np.zeros(len(units)) for units in found.units]
    every = vtcd_ops.rosetta(runs, importances=None, delta=1e-9, chance=False, progress=False)
    for row, score in zip(every.tuples, every.scores, strict=True):
        for run, unit in enumerate(row):
            best[run][unit] = max(best[run][unit], score)
    for run in range(2):
        assert found.partners.scores[run] == pytest.approx(best[run])
        alone = [tuple(member[1:]) for member in found.exclusive(run)]
        expected = {tuple(unit) for unit in found.units[run][best[run] < 0.3].tolist()}
        assert set(alone) == expected
        assert len(found.exclusive(found.runs[run].name, below=1.1)) == len(found.units[run])
    with pytest.raises(InputError, match="exclusive expected one of"):
        found.exclusive("another")


def test_scores_are_corrected_by_size(tmp_path, runs):
    random = np.random.default_rng(0)
    one = [random.integers(0, 2, (4, 32, 32)) for _ in range(3)]
    other = [np.where(random.random((4, 32, 32)) < 0.9, 0, 1) for _ in range(3)]
    pair = [
        labelled(tmp_path / "one", runs[0], one, 2),
        labelled(tmp_path / "other", runs[0], other, 2),
    ]
    found = vtcd_ops.rosetta(pair, importances=None, delta=0.01, progress=False)
    assert found.scores.max() > 0.4  # half of the voxels, and nine of ten: large, not alike
    assert found.expected == pytest.approx(found.scores, abs=0.02)
    assert found.corrected == pytest.approx(0, abs=0.04)
    same = vtcd_ops.rosetta([pair[0], pair[0]], importances=None, progress=False)
    assert same.corrected[:2] == pytest.approx(1)


def test_a_result_keeps_chance_and_partners(tmp_path, runs):
    found = vtcd_ops.rosetta(runs, importances=None, out=tmp_path / "new", progress=False)
    again = vtcd_ops.load_rosetta(tmp_path / "new")
    assert again.summary() == found.summary()
    assert np.array_equal(again.corrected, found.corrected)
    assert again.exclusive(1) == found.exclusive(1)
    assert again.as_good_by_chance(0) == found.as_good_by_chance(0)


def test_results_of_the_version_before_are_read(tmp_path, runs, monkeypatch):
    found = vtcd_ops.rosetta(runs, importances=None, chance=False, progress=False)
    found.partners = None
    monkeypatch.setattr(result, "FORMAT", 2)
    found.save(tmp_path / "old")
    monkeypatch.undo()
    again = vtcd_ops.load_rosetta(tmp_path / "old")
    assert np.array_equal(again.scores, found.scores)
    assert again.chance == {}
    with pytest.raises(InputError, match="earlier version: compare again"):
        again.exclusive(0)


def test_two_checkpoints_keep_lose_and_gain_concepts(tmp_path, runs):
    before = np.zeros((4, 32, 32), dtype=int)  # 0: left upper, 1: left lower, 2: right
    before[:, 16:], before[:, :, 16:] = 1, 2
    after = np.where(before == 2, 0, 1)  # 0: right; 1: left, of which each half is half
    after[:, :2] = 2  # 2: two rows at the top
    pair = [
        labelled(tmp_path / "before", runs[0], [before] * 3, 3),
        labelled(tmp_path / "after", runs[0], [after] * 3, 3),
    ]
    found = vtcd_ops.compare(*pair, threshold=0.6, progress=False)
    # of the 512 voxels on the right the 480 that are not on top; of the 480 on the left 256
    assert [tuple(kept) for kept in found.kept()] == [((2, 0, 2), (2, 0, 0), 480 / 512)]
    assert found.lost() == [(2, 0, 0), (2, 0, 1)]
    assert found.new() == [(2, 0, 2), (2, 0, 1)]
    assert found.scores[0] == pytest.approx([224 / 512, 256 / 480, 480 / 512])
    written = json.loads(found.write(tmp_path / "found.json").read_text())
    assert written["kept"] == [{"first": [2, 0, 2], "second": [2, 0, 0], "score": 480 / 512}]
    assert [len(written[key]) for key in ("lost", "new")] == [2, 2]


def test_a_comparison_says_what_random_weights_would_keep(runs):
    found = vtcd_ops.compare(*runs, progress=False)
    copy = vtcd_ops.compare(runs[0], runs[1].sanity, progress=False)
    assert np.array_equal(found.chance, copy.scores[0])
    assert found.kept_by_chance == len(copy.kept())
    assert any("by random weights" in line for line in found.lines())


def test_runs_over_other_videos_are_not_compared(tmp_path, videos, runs):
    other = vtcd_ops.discover(
        example_adapter(), videos[:2], out=tmp_path / "o", layers=[2], progress=False
    )
    with pytest.raises(InputError, match="compare: the runs are over different videos"):
        vtcd_ops.compare(runs[0], other)
    with pytest.raises(InputError, match="compare: threshold expected above 0"):
        vtcd_ops.compare(*runs, threshold=0)
