"""Plainer ways of finding concepts: what they find, and that they find as many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pipeline.videos import moving_square
from sklearn.metrics import adjusted_rand_score

import vtcd_ops
from reproduce.evidence import METHODS, Subject, _lower, evidence
from reproduce.evidence_real import evidence_real
from reproduce.other_concepts import (
    ACTIVE,
    by_autoencoder,
    by_crops,
    by_kmeans,
    counts_of,
    tokens_of,
    train_autoencoder,
)
from reproduce.results import Cell
from reproduce.study import QUICK, Study
from vtcd_ops.adapters import example_adapter
from vtcd_ops.video.samples import Sample, as_samples


def planted(num_rows: int = 600) -> tuple[torch.Tensor, np.ndarray]:
    """Rows of four directions, one each, and which it is."""
    random = np.random.default_rng(0)
    which = random.integers(0, 4, num_rows)
    rows = np.eye(4, 16)[which] * random.uniform(1, 2, (num_rows, 1))
    rows += 0.02 * random.normal(size=rows.shape)
    return torch.from_numpy(rows.astype(np.float32)), which


def test_the_autoencoder_finds_planted_directions_and_keeps_few_latents() -> None:
    rows, which = planted()
    model = train_autoencoder(rows, 4)
    with torch.no_grad():
        latents, error = model.encode(rows), (model(rows) - rows).pow(2).mean()
    assert int((latents > 0).sum(dim=1).max()) <= ACTIVE
    assert float(error) < 0.1 * float((rows - rows.mean(dim=0)).pow(2).mean())
    assert adjusted_rand_score(which, latents.argmax(dim=1).numpy()) > 0.9


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, vtcd_ops.Run]:
    folder: Path = tmp_path_factory.mktemp("runs")
    model, videos = example_adapter(), [moving_square(seed=seed) for seed in range(3)]

    def discover(name: str, **more: str) -> vtcd_ops.Run:
        out = folder / name
        return vtcd_ops.discover(model, videos, out=out, layers=[2], progress=False, **more)

    found = {"vtcd": discover("vtcd")}
    counts = counts_of(found["vtcd"])
    tokens = tokens_of(found["vtcd"], model, list(as_samples(videos)))
    found["kmeans"] = by_kmeans(tokens, counts, found["vtcd"], folder / "kmeans")
    found["sae"] = by_autoencoder(tokens, counts, found["vtcd"], folder / "sae")
    crops = discover("crops", proposals="random_crops")
    found["crops"] = by_crops(crops, counts, folder / "by-crops")
    return found


@pytest.mark.parametrize("method", ["kmeans", "sae", "crops"])
def test_every_way_finds_as_many_concepts_in_every_head(runs, method: str) -> None:
    assert np.array_equal(runs[method].units(), runs["vtcd"].units())
    assert runs[method].tokens(0, 2).shape == runs["vtcd"].tokens(0, 2).shape


def test_tokens_of_a_kmeans_concept_are_nearest_to_its_centre(runs) -> None:
    run, model = runs["kmeans"], example_adapter()
    samples = list(as_samples([moving_square(seed=seed) for seed in range(3)]))
    [features] = tokens_of(runs["vtcd"], model, samples)[2][1:2]
    for head in run.heads:
        rows = features[head].reshape(len(features[head]), -1).T
        centers = run.concepts(2, head).centers
        nearest = ((rows[:, None] - centers[None]) ** 2).sum(axis=2).argmin(axis=1)
        assert np.array_equal(run.tokens(1, 2)[head], nearest)


@pytest.mark.parametrize(
    ("cell", "holds"),
    [(Cell(0.2, 0.1, 0.3), True), (Cell(0.45, 0.3, 0.6), None), (Cell(0.8, 0.7, 0.9), False)],
)
def test_a_claim_is_undecided_where_the_interval_holds_the_bound(cell: Cell, holds) -> None:
    assert _lower("Lower.", cell, 0.5).holds is holds


def test_the_study_has_a_row_for_every_way_and_says_loudly_what_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VTCD_DATA", raising=False)
    samples = []
    for seed in range(4):
        video, mask = moving_square(seed=seed), np.zeros((4, 32, 32), dtype=bool)
        mask[:, :16, :16] = True
        samples.append(Sample(video, target_masks=mask))
    study = Study(tmp_path, QUICK, {"videomae": "example"})
    study._adapters["videomae", False] = example_adapter()
    monkeypatch.setattr(Study, "roles", lambda self: ["videomae"])
    monkeypatch.setattr(Study, "samples", lambda self, role: samples)
    found = evidence(study)
    assert [row.label for row in found.rows] == [f"VideoMAE, {method}" for method in METHODS]
    assert "VTCD_DATA names no folder" in capsys.readouterr().out
    assert any("VTCD_DATA names no folder" in note for note in found.notes)
    for row in found.rows:
        assert {"copy", "between", "moved", "place", "object", "object of copies"} <= set(row.cells)
        assert all(-1 <= cell.value <= 1 for cell in row.cells.values())
    assert "halves" in found.rows[0].cells
    assert len(found.claims) == 2


def test_the_study_of_a_real_model_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VTCD_DATA", raising=False)
    found = evidence_real(Study(tmp_path, QUICK))
    assert found.rows == []
    assert "VTCD_DATA names no folder" in capsys.readouterr().out
    assert any("VTCD_DATA names no folder" in note for note in found.notes)


def test_the_study_of_a_real_model_has_a_row_for_each_set_of_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = list(as_samples([moving_square(seed=seed) for seed in range(4)]))
    subject = Subject("squares", "squares", example_adapter(), videos, {"layers": [2]})
    monkeypatch.setattr("reproduce.evidence_real.real_subjects", lambda: iter([subject]))
    found = evidence_real(Study(tmp_path, QUICK))
    [row] = found.rows
    assert row.label == "squares"
    assert {"copy", "between", "moved", "starts", "halves", "degenerate"} <= set(row.cells)
    assert len(vtcd_ops.load(tmp_path / "evidence/squares-4/vtcd-0").copies()) == 0
    assert (tmp_path / "evidence/squares-4/vtcd-3/run.json").is_file()
