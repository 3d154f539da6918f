"""What is taken away from the segmentation: each variant does what its name says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pipeline.videos import moving_square
from sklearn.cluster import KMeans

import vtcd_ops
from reproduce import table3, table3_parts
from reproduce.study import QUICK, Study
from vtcd_ops.adapters import example_adapter
from vtcd_ops.ops import slic3d
from vtcd_ops.segmentation.log_odds import TokenConcepts
from vtcd_ops.video.samples import Sample

GRID = (4, 6, 6)


def blobs() -> torch.Tensor:
    """Two heads whose tokens lie around one of four points, [2, 8, 4, 6, 6]."""
    generator = torch.Generator().manual_seed(0)
    kind = torch.randint(4, (2, *GRID), generator=generator)
    noise = 0.05 * torch.randn(2, 8, *GRID, generator=generator)
    return (4 * torch.eye(8)[kind]).movedim(-1, 1).contiguous() + noise


def same_partition(one: torch.Tensor, other: np.ndarray) -> bool:
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_kmeans_of_tokens_is_that_of_scikit_learn() -> None:
    features = blobs()
    found, number = table3_parts.KMeansOfTokens(num_concepts=4).find(features)
    assert number == [4, 4]
    for mine, head in zip(found, features, strict=True):
        known = KMeans(4, n_init=10, random_state=0).fit_predict(head.flatten(1).T.numpy())
        assert same_partition(mine, known)


def test_the_tokens_of_a_tubelet_share_its_concept() -> None:
    features = torch.nn.functional.interpolate(blobs()[..., ::2, ::2, ::2], GRID)
    making = table3_parts.WholeTubelets(num_concepts=4, tokens_per_tubelet=4)
    found, number = making.find(features)
    labels = slic3d(features, GRID, making.wanted(GRID), making.compactness).flatten(1)
    assert number == [4, 4]
    assert all(4 < len(one.unique()) < 144 for one in labels)
    for concepts, tubelets in zip(found, labels, strict=True):
        for one in tubelets.unique():
            assert len(concepts[tubelets == one].unique()) == 1


def test_tubelets_are_divided_at_the_edge_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    features, seen = blobs(), []
    plain = table3_parts.means_of_tubelets
    monkeypatch.setattr(
        table3_parts,
        "means_of_tubelets",
        lambda one, labels: seen.append(labels.clone()) or plain(one, labels),
    )
    edge = torch.zeros(36, dtype=torch.bool)
    edge[14] = True
    making = table3_parts.FinerAtTheEdge(num_concepts=4, edge=edge)
    making.find(features)
    coarse = slic3d(features, GRID, making.wanted(GRID), making.compactness).flatten(1)
    fine = TokenConcepts(tokens_per_tubelet=table3_parts.FINE)
    finest = slic3d(features, GRID, fine.wanted(GRID), making.compactness).flatten(1)
    for labels, whole, parts in zip(seen, coarse, finest, strict=True):
        at_edge = whole == whole[14]
        assert torch.equal(labels[~at_edge], whole[~at_edge])
        assert same_partition(labels[at_edge], parts[at_edge].numpy())
        assert not set(labels[at_edge].tolist()) & set(labels[~at_edge].tolist())


def test_every_part_is_taken_away_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VTCD_DATA", raising=False)
    video = moving_square(seed=0)
    truth = np.zeros(video.shape[:3], dtype=bool)
    truth[:, 8:24, 8:24] = True
    samples = [Sample(video, target_masks=truth, name=name) for name in ("one", "two")]
    subject = table3.Subject("tiny", example_adapter(), samples)
    monkeypatch.setattr(table3, "subjects", lambda study: [subject])
    result = table3_parts.table3_parts(Study(tmp_path, QUICK, talks=False))
    assert [row.label for row in result.rows] == [
        f"tiny, {way}" for way in table3_parts.ways(subject.adapter)
    ]
    masks = vtcd_ops.segment(subject.adapter, video, truth[0]).masks.numpy()
    both, either = (masks & truth).sum((1, 2)), (masks | truth).sum((1, 2))
    whole = result.rows[0].cells["paper"].value
    assert whole == pytest.approx((both / either).mean())
    for row in result.rows[1:]:
        assert row.cells["gain"].value == pytest.approx(whole - row.cells["paper"].value)
