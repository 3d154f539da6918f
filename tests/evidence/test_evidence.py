"""`vtcd_ops.evidence`: copies, storing, finding again; planted objects and copies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pipeline.videos import moving_square
from pruning import tiny_models

import vtcd_ops
from vtcd_ops.adapters import example_adapter
from vtcd_ops.common.errors import InputError


@pytest.fixture(scope="module")
def videos() -> list[np.ndarray]:
    return [moving_square(seed=seed) for seed in range(4)]


@pytest.fixture
def run(tmp_path: Path, videos: list[np.ndarray]) -> vtcd_ops.Run:
    return vtcd_ops.discover(
        example_adapter(), videos, out=tmp_path / "run", layers=[1, 2], sanity=True, progress=False
    )


def files_below(folder: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_copies_have_seeds_of_their_own_and_are_found_again(run, videos):
    found = vtcd_ops.evidence(run, example_adapter(), videos, starts=0, progress=False)
    names = [control["model"] for control in found.settings["controls"]]
    assert names == [f"example (weights randomised, seed {seed})" for seed in range(3)]
    copies = run.copies()
    assert len({copy.model["sha256"] for copy in copies}) == found.num_copies == 3
    assert not np.array_equal(found.copy_overlap[:, 0], found.copy_overlap[:, 1])
    before = files_below(run.path)
    again = vtcd_ops.evidence(vtcd_ops.load(run.path), starts=0, progress=False)  # without a model
    assert again == found == run.evidence()
    assert files_below(run.path) == before
    fewer = vtcd_ops.evidence(run, copies=1, starts=0, progress=False)
    assert np.array_equal(fewer.copy_overlap, found.copy_overlap[:, :1])
    assert run.evidence() == fewer  # replaced


def test_the_arrays_are_in_the_order_of_the_units(run):
    found = vtcd_ops.evidence(run, copies=1, progress=False)
    units = run.units()
    assert np.array_equal(found.units, units)
    for unit in (0, len(units) - 1):
        layer, head, concept = units[unit]
        table = run.concepts(layer, head)
        assert found.videos[unit] == len(set(table.video[table.concept == concept].tolist()))
        best = found.copy_unit[unit, 0]
        ratios = []
        for video in range(len(run.videos)):
            mine = run.tokens(video, layer)[head] == concept
            its = run.sanity.tokens(video, best[0])[best[1]] == best[2]
            if (mine | its).any():
                ratios.append((mine & its).sum() / (mine | its).sum())
        assert found.copy_overlap[unit, 0] == pytest.approx(np.mean(ratios))
        assert found.of(unit)["measures"]["copy"]["value"] == pytest.approx(np.mean(ratios))
    json.dumps([found.of(unit) for unit in range(len(units))] + [found.to_json()], allow_nan=False)


def test_a_run_without_evidence_says_so_and_one_begun_anew_loses_it(run, videos):
    assert run.evidence() is None
    vtcd_ops.evidence(run, copies=1, starts=0, progress=False)
    assert run.evidence() is not None
    run = vtcd_ops.discover(
        example_adapter(), videos, out=run.path, layers=[2], overwrite=True, progress=False
    )
    assert run.evidence() is None


def test_evidence_of_another_run_in_its_place_is_refused(run, videos, tmp_path):
    vtcd_ops.evidence(run, copies=1, starts=0, progress=False)
    other = vtcd_ops.discover(
        example_adapter(), videos, out=tmp_path / "other", layers=[1], seed=1, progress=False
    )
    (run.path / "evidence").rename(other.path / "evidence")
    with pytest.raises(InputError, match="make the evidence again"):
        other.evidence()


def test_damaged_evidence_is_refused_and_made_again(run):
    found = vtcd_ops.evidence(run, copies=1, starts=0, progress=False)
    file = run.path / "evidence" / "keys" / "evidence.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        run.evidence()
    assert vtcd_ops.evidence(run, copies=1, starts=0, progress=False) == found


def test_samples_that_are_not_the_runs_are_refused(run, videos):
    with pytest.raises(InputError, match="samples expected the 4 videos"):
        vtcd_ops.evidence(run, samples=videos[:3], progress=False)
    with pytest.raises(InputError, match="in its order"):
        vtcd_ops.evidence(run, samples=videos[::-1], progress=False)
    with pytest.raises(InputError, match="was an array: give the samples again"):
        vtcd_ops.evidence(run, example_adapter(), copies=2, progress=False)
    with pytest.raises(InputError, match="evidence: part expected one of keys, got 'values'"):
        vtcd_ops.evidence(run, part="values", progress=False)


def planted(path: Path, run: vtcd_ops.Run, squares: list[np.ndarray], name: str) -> vtcd_ops.Run:
    """A run of one head: concept 0 is given, concept 1 the rest."""
    supports = [np.where(square, 0, 1)[None] for square in squares]
    return vtcd_ops.store_concepts(
        path, run, {("keys", 2): supports}, {("keys", 2): [np.eye(2, 8)]}, method=name
    )


def test_a_planted_object_is_found_in_videos_held_out_and_its_copy_is_no_discovery(
    run, videos, tmp_path
):
    random = np.random.default_rng(0)
    masks = []
    for _ in videos:
        mask = np.zeros((4, 32, 32), dtype=bool)
        row, column = random.integers(0, 20, 2)
        mask[:, row : row + 12, column : column + 12] = True
        masks.append(mask)
    samples = [vtcd_ops.Sample(v, target_masks=m) for v, m in zip(videos, masks, strict=True)]
    same = planted(tmp_path / "same", run, masks, "planted")
    other = planted(tmp_path / "other", run, [np.roll(m, 16, axis=1) for m in masks], "elsewhere")
    alike = vtcd_ops.evidence(same, samples=samples, controls=[same], progress=False)
    unlike = vtcd_ops.evidence(same, samples=samples, controls=[other], progress=False)
    assert alike.unlike_copies[0] == pytest.approx(0)
    assert unlike.unlike_copies[0] > 0.9
    assert unlike.copy_overlap[0, 0] < alike.copy_overlap[0, 0] == 1
    row = unlike.objects[-1]
    assert (row.layer, row.chosen, row.num_videos) == (None, (2, 0, 0), 4)
    assert row.value == pytest.approx(1)
    assert max(row.copies, row.chance) < 0.5
    assert unlike.values("object")[0] == pytest.approx(1)
    assert alike.copy_unit[0, 0].tolist() == [2, 0, 0]


def test_controls_over_other_videos_are_refused(run, videos, tmp_path):
    other = vtcd_ops.discover(
        example_adapter(), videos[:2], out=tmp_path / "o", layers=[2], progress=False
    )
    with pytest.raises(InputError, match="controls expected keys of the videos of"):
        vtcd_ops.evidence(run, controls=[other], progress=False)


def test_heads_that_were_pruned_have_no_evidence(videos, tmp_path):
    model = vtcd_ops.prune(tiny_models.videomae(), heads=[(2, 1), (2, 3)])
    run = vtcd_ops.discover(
        model, videos, out=tmp_path / "run", layers=[2], sanity=True, progress=False
    )
    found = vtcd_ops.evidence(run, copies=1, progress=False)
    assert set(found.units[:, 1].tolist()) == {0, 2}
    assert np.array_equal(found.units, run.units())
    assert np.isfinite(found.values("copy")).all()
