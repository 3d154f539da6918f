"""kmeans against scikit-learn and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ops.ragged import batch, blobs, planted
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

import vtcd_ops
from vtcd_ops.ops import reference

DTYPES = [torch.float32, torch.float64]


def check_is_clustering(data: np.ndarray, found: vtcd_ops.KMeans, tolerance: float) -> None:
    """Labels are those of the nearest center, the inertia is theirs."""
    distances = np.square(data[:, None] - found.centers.double().numpy()).sum(-1)
    labels = found.labels.numpy()
    chosen = distances[np.arange(len(data)), labels]
    scale = np.square(data).sum() + 1e-300
    np.testing.assert_allclose(chosen, distances.min(1), rtol=0, atol=tolerance * scale)
    np.testing.assert_allclose(found.inertia, chosen.sum(), rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", DTYPES)
def test_labels_are_the_nearest_centers(dtype: torch.dtype) -> None:
    data = torch.from_numpy(blobs(200, 8, 5, seed=0)).to(dtype)
    found = vtcd_ops.kmeans(data, 5)
    assert found.labels.dtype == torch.int32
    assert found.centers.dtype == found.inertia.dtype == dtype
    assert found.centers.shape == (5, 8)
    check_is_clustering(data.double().numpy(), found, 1e-5 if dtype == torch.float32 else 1e-12)


def test_converged_run_is_a_fixed_point_of_lloyd() -> None:
    data = planted(150, 6, 4, seed=1)
    found = vtcd_ops.kmeans(torch.from_numpy(data), 4, tol=0)
    labels, centers, _ = reference.kmeans(data, found.centers.numpy(), num_iter=1)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.centers, centers, rtol=1e-10)


def test_inertia_is_that_of_scikit_learn_on_average() -> None:
    ratios = []
    for seed in range(12):
        data = planted(250, 16, 6, seed, noise=0.5)
        ours = vtcd_ops.kmeans(torch.from_numpy(data), 8, seed=seed)
        theirs = KMeans(8, n_init=10, random_state=seed).fit(data)
        ratios.append(float(ours.inertia) / theirs.inertia_)
    assert np.mean(ratios) < 1.01
    assert np.max(ratios) < 1.05


@pytest.mark.parametrize("k", [2, 5, 9])
def test_finds_separated_clusters(k: int) -> None:
    random = np.random.default_rng(k)
    truth = np.arange(k).repeat(20)
    data = 10 * np.eye(k)[truth] + 0.1 * random.normal(size=(20 * k, k))
    found = vtcd_ops.kmeans(torch.from_numpy(data), k)
    assert adjusted_rand_score(truth, found.labels) == 1


def test_one_cluster_is_the_mean() -> None:
    data = planted(50, 7, 3, seed=2)
    found = vtcd_ops.kmeans(torch.from_numpy(data), 1)
    np.testing.assert_allclose(found.centers[0], data.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.inertia, np.square(data - data.mean(0)).sum(), rtol=1e-12)


def test_as_many_clusters_as_rows() -> None:
    data = torch.from_numpy(planted(12, 3, 3, seed=3))
    found = vtcd_ops.kmeans(data, 12)
    assert float(found.inertia) == 0
    assert found.labels.unique().numel() == 12


def test_fewer_distinct_rows_than_clusters() -> None:
    data = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).repeat(5, 1)
    found = vtcd_ops.kmeans(data, 4)
    assert float(found.inertia) == 0
    assert torch.isfinite(found.centers).all()


def test_more_restarts_are_never_worse() -> None:
    data = torch.from_numpy(planted(200, 8, 8, seed=4))
    inertia = [float(vtcd_ops.kmeans(data, 10, num_restarts=n).inertia) for n in (1, 2, 5, 20)]
    assert inertia == sorted(inertia, reverse=True)
    assert inertia[-1] < inertia[0]


@given(
    seed=st.integers(0, 10_000),
    num_rows=st.integers(1, 20),
    num_channels=st.integers(1, 5),
    k=st.integers(1, 8),
)
def test_invariants(seed: int, num_rows: int, num_channels: int, k: int) -> None:
    random = np.random.default_rng(seed)
    data = random.integers(-2, 3, size=(num_rows, num_channels)).astype(float)
    k = min(k, num_rows)
    found = vtcd_ops.kmeans(torch.from_numpy(data), k, num_restarts=3)
    check_is_clustering(data, found, 1e-12)
    distinct = len(np.unique(data, axis=0))
    assert found.labels.unique().numel() == min(k, distinct) or float(found.inertia) == 0
    assert (float(found.inertia) < 1e-12) == (k >= distinct)


def test_alone_and_in_a_batch_and_any_threads(num_threads: None) -> None:
    data = [torch.from_numpy(planted(n, 9, 3, seed=n)) for n in (40, 1, 133, 5000, 7)]
    k = [4, 1, 6, 5, 7]
    torch.set_num_threads(1)
    alone = [vtcd_ops.kmeans(d, n, num_restarts=3) for d, n in zip(data, k, strict=True)]
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        single = vtcd_ops.kmeans(data[2], k[2], num_restarts=3)  # all threads inside
        assert all(torch.equal(a, b) for a, b in zip(single, alone[2]))
        together = vtcd_ops.kmeans(data, k, num_restarts=3)
        for one, many in zip(alone, together, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, many))


def test_empty_batch() -> None:
    assert vtcd_ops.kmeans([], 3) == []
    data, offsets, k = torch.zeros(0, 5), torch.tensor([0]), torch.zeros(0, dtype=torch.int64)
    outputs = torch.ops.vtcd.kmeans(data, offsets, k)
    assert [list(output.shape) for output in outputs] == [[0], [0, 0, 5], [0], [0]]


def test_opcheck() -> None:
    data, offsets = batch(planted(20, 5, 2, seed=0), planted(9, 5, 2, seed=1))
    torch.library.opcheck(
        torch.ops.vtcd.kmeans.default,
        (data, offsets, torch.tensor([2, 4])),
        {"num_restarts": 2},
    )


def test_compile_and_export() -> None:
    class Labels(torch.nn.Module):
        def forward(
            self, data: torch.Tensor, offsets: torch.Tensor, k: torch.Tensor
        ) -> torch.Tensor:
            return torch.ops.vtcd.kmeans(data * 1.0, offsets, k)[0] + 1

    data, offsets = batch(planted(20, 5, 2, seed=0), planted(9, 5, 2, seed=1))
    k = torch.tensor([2, 4])
    expected = Labels()(data, offsets, k)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(Labels(), fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(data, offsets, k), expected)
    exported = torch.export.export(Labels(), (data, offsets, k)).module()
    assert torch.equal(exported(data, offsets, k), expected)
