"""Values of every size, equal rows, common offsets: cnmf, kmeans, silhouette, choose_num_concepts.

The oracles work at the size 1, or in the 80-bit numbers of NumPy, whose exponents reach 4,932.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from ops.ragged import blobs, planted
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, silhouette_samples

import vtcd_ops
from vtcd_ops.ops import reference

FLOAT32, FLOAT64 = torch.float32, torch.float64
SIZES = [
    *[(FLOAT64, size) for size in (1e-320, 1e-300, 1e-200, 1e-160, 1e150, 1e155, 1e300, 4e306)],
    *[(FLOAT32, size) for size in (1e-43, 1e-37, 1e-30, 1e20, 1e36)],
]
SOLVERS = ["cd", "mu"]
needs_wide_exponents = pytest.mark.skipif(
    np.finfo(np.longdouble).maxexp < 16384, reason="no 80-bit numbers on this processor"
)


def sized(data: np.ndarray, dtype: torch.dtype, size: float) -> tuple[torch.Tensor, np.ndarray]:
    """The data at a size, and what became of them there, as 80-bit numbers at the size 1."""
    tensor = torch.from_numpy(data * size).to(dtype)
    return tensor, tensor.double().numpy().astype(np.longdouble) / np.longdouble(size)


def separated() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = random.integers(5, size=120)
    return 8 * np.eye(5)[truth] + 0.3 * random.normal(size=(120, 5)), truth


@pytest.mark.parametrize(("dtype", "size"), SIZES)
def test_silhouette_of_any_size(dtype: torch.dtype, size: float) -> None:
    tensor, values = sized(blobs(90, 6, 3, seed=0), dtype, size)
    labels = torch.arange(90) % 4
    found = vtcd_ops.silhouette(tensor, labels)
    expected = silhouette_samples(values.astype(np.float64), labels)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 if dtype == FLOAT32 else 1e-12)


@needs_wide_exponents
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("dtype", "size"), SIZES)
def test_cnmf_of_any_size(dtype: torch.dtype, size: float, solver: str) -> None:
    tensor, values = sized(planted(60, 8, 3, seed=1), dtype, size)
    labels = KMeans(3, n_init=3, random_state=0).fit(values.astype(np.float64)).labels_
    found = vtcd_ops.cnmf(
        tensor, 3, init=torch.from_numpy(labels), solver=solver, max_num_iter=300
    )  # fmt: skip
    weights = found.weights.numpy().astype(np.longdouble)
    encoding = found.encoding.numpy().astype(np.longdouble)
    centers = weights.T @ values
    error = np.sqrt(np.square(values - encoding @ centers).sum())
    smallest = 1e-6 if dtype == FLOAT32 else 1e-12  # what rounding a number of this size costs
    smallest = max(smallest, torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps / size)
    scaled = found.centers.double().numpy().astype(np.longdouble) / np.longdouble(size)
    np.testing.assert_allclose(scaled, centers, rtol=0, atol=10 * smallest)
    reported = np.longdouble(float(found.error)) / np.longdouble(size)
    np.testing.assert_allclose(reported, error, rtol=0, atol=100 * smallest)
    _, _, updates = reference.cnmf(values.astype(np.float64), labels, 3, 300)
    assert error <= updates * (1 + 1e-3)


@needs_wide_exponents
@pytest.mark.parametrize(
    ("dtype", "size"),
    [(FLOAT64, 1e-150), (FLOAT64, 1e-120), (FLOAT64, 1e150), (FLOAT32, 1e-18), (FLOAT32, 1e17)],
)
def test_kmeans_of_any_size(dtype: torch.dtype, size: float) -> None:
    data, truth = separated()
    tensor, values = sized(data, dtype, size)
    found = vtcd_ops.kmeans(tensor, 5)
    assert adjusted_rand_score(truth, found.labels) == 1
    means = np.stack([values[found.labels == k].mean(0) for k in range(5)])
    scaled = found.centers.double().numpy() / size
    tolerance = 1e-5 if dtype == FLOAT32 else 1e-12
    np.testing.assert_allclose(scaled, means, rtol=0, atol=tolerance)
    inertia = np.square(values - means[found.labels]).sum() * np.longdouble(size) ** 2
    np.testing.assert_allclose(np.longdouble(float(found.inertia)), inertia, rtol=tolerance)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [
        *[(FLOAT64, size) for size in (1e-300, 1e-200, 1e155, 1e300)],
        *[(FLOAT32, size) for size in (1e-43, 1e-30, 1e20, 1e36)],
    ],
)
def test_an_inertia_beyond_the_dtype_is_refused(dtype: torch.dtype, size: float) -> None:
    data, _ = separated()
    tensor = torch.from_numpy(data * size).to(dtype)
    expected = "kmeans: data expected an inertia that {} can hold, got ".format(
        str(dtype).removeprefix("torch.")
    )
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}.* in problem 1$"):
        vtcd_ops.kmeans([torch.from_numpy(data).to(dtype), tensor], 5)
    same = vtcd_ops.kmeans(tensor[:1].repeat(7, 1), 3)  # its inertia is 0, at any size
    assert float(same.inertia) == 0
    assert torch.equal(same.centers, tensor[:1].repeat(3, 1))


def test_an_error_or_encoding_beyond_the_dtype_is_refused() -> None:
    """The row 3e38 is best written as a multiple of 1e-38; two rows cannot cancel."""
    data = torch.tensor([[3e38, 0.0], [0.0, 3e38]]).repeat(40, 1)
    with pytest.raises(ValueError, match=r"^cnmf: data expected an error that float32 can hold,"):
        vtcd_ops.cnmf(data, 1)
    start = torch.tensor([0, 1])
    data = torch.tensor([[3e38, 0.0], [-3e38, 1e-38]])
    found = vtcd_ops.cnmf(data, 2, init=start)
    assert torch.isfinite(found.encoding).all()


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1.0, 1e30, 1e155, 1e300])
@pytest.mark.parametrize("criterion", ["elbow", "elbow_released", "silhouette", "elbow_silhouette"])
def test_number_of_concepts_of_any_size(criterion: str, size: float) -> None:
    random = np.random.default_rng(4)
    data = 6 * np.eye(4, 32).repeat(15, 0) + 0.5 * random.normal(size=(60, 32))
    inertia = [KMeans(k, n_init=5, random_state=0).fit(data).inertia_ for k in range(1, 7)]
    elbow = reference.elbow(inertia, 0.9, released=criterion == "elbow_released")
    assert elbow == (5 if criterion == "elbow_released" else 4)
    for dtype in (FLOAT32, FLOAT64) if 1e-30 <= size <= 1e30 else (FLOAT64,):
        chosen = vtcd_ops.choose_num_concepts(torch.from_numpy(data * size).to(dtype), criterion)
        assert chosen == elbow
        if criterion == "elbow" and 1e-100 < size < 1e100:
            np.testing.assert_allclose(chosen.objective[4] / size**2, inertia[3] / 60, rtol=1e-5)


@pytest.mark.parametrize("offset", [1e4, 1e8, 1e9, 1e12])
def test_a_common_offset_does_not_move_clusters(offset: float) -> None:
    data, truth = separated()
    moved = data + offset
    exact = moved - np.float64(offset)  # no rounding: what the offset left of the data
    found = vtcd_ops.kmeans(torch.from_numpy(moved), 5)
    assert adjusted_rand_score(truth, found.labels) == 1
    means = np.stack([exact[found.labels == k].mean(0) for k in range(5)])
    np.testing.assert_allclose(found.centers - offset, means, rtol=0, atol=4e-16 * offset)
    np.testing.assert_allclose(
        found.inertia, np.square(exact - means[found.labels]).sum(), rtol=1e-10
    )
    silhouettes = vtcd_ops.silhouette(torch.from_numpy(moved), torch.from_numpy(truth))
    np.testing.assert_allclose(silhouettes, reference.silhouette(exact, truth), rtol=0, atol=1e-9)


def test_four_points_at_a_thousand_million() -> None:
    data = torch.tensor([[0.0], [0.2], [5.0], [5.2]], dtype=FLOAT64) + 1e9
    labels = vtcd_ops.kmeans(data, 2).labels.tolist()
    assert labels in ([0, 0, 1, 1], [1, 1, 0, 0])


def test_structure_beside_a_row_far_away() -> None:
    """Lengths of 1e9 on one side, distances of 0.2 on both: neither mean nor product keeps them."""
    near = np.array([0.0, 0.2, 5.0, 5.2])
    for far in ([1e9], [1e9, 1e9 + 0.2, 1e9 + 5, 1e9 + 5.2], [-1e12, 1e12]):
        data = np.concatenate([near, far])[:, None]
        k = 2 + (2 if len(far) == 4 else len(far))
        labels = vtcd_ops.kmeans(torch.from_numpy(data), k).labels.numpy()
        truth = [0, 0, 1, 1] + ([2, 2, 3, 3] if len(far) == 4 else [2, 3][: len(far)])
        assert adjusted_rand_score(truth, labels) == 1
        found = vtcd_ops.silhouette(torch.from_numpy(data), torch.tensor(truth))
        np.testing.assert_allclose(found, reference.silhouette(data, np.array(truth)), atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("value", [0.0, 1e300, -1e300, 1e-300, -1e-300, 5e-324, 1.0])
@pytest.mark.parametrize(("num_rows", "k"), [(1, 1), (4, 1), (4, 2), (4, 4)])
def test_constant_data(value: float, num_rows: int, k: int, solver: str) -> None:
    data = torch.full((num_rows, 3), value, dtype=FLOAT64)
    labels = torch.arange(num_rows) % k
    found = vtcd_ops.cnmf(data, k, solver=solver)
    assert float(found.error) <= 1e-7 * abs(value)
    np.testing.assert_allclose(found.weights.sum(0), 1, rtol=1e-12)
    clusters = vtcd_ops.kmeans(data, k)
    assert float(clusters.inertia) == 0
    assert torch.equal(clusters.centers, data[:k])
    assert not vtcd_ops.silhouette(data, labels).any()
    assert vtcd_ops.choose_num_concepts(data) == 1


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("k", [1, 2, 4])
def test_all_sizes_in_one_matrix(k: int, solver: str) -> None:
    """Against a row of 1e300 the others are nothing: the error is that of the large rows."""
    data = torch.tensor([[1e300, 0.0], [0.0, -1e300], [1e-300, 5e-324], [0.0, 1.0]], dtype=FLOAT64)
    found = vtcd_ops.cnmf(data, k, solver=solver)
    assert float(found.error) <= (1.0 if k == 1 else 0.01) * 1e300 * (1 + 1e-9)
    assert all(torch.isfinite(part).all() for part in found)
    labels = vtcd_ops.silhouette(data, torch.tensor([0, 1, 2, 2]))
    np.testing.assert_allclose(labels, [0, 0, 1, 1], atol=1e-12)


def test_kmeans_of_repeated_rows_is_as_fast_as_of_different_ones() -> None:
    """Twenty different rows, 100 times each: sorted out before the first iteration."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(20, 16))
    order = random.permutation(np.arange(20).repeat(100))
    data = torch.from_numpy(rows[order])
    for k in (20, 50):
        found = vtcd_ops.kmeans(data, k)
        assert float(found.inertia) == 0
        assert int(found.num_iter) == 1
        assert torch.equal(found.centers[found.labels.long()], data)
    found = vtcd_ops.kmeans(data, 7)
    weighted = min(
        KMeans(7, n_init=10, random_state=seed).fit(rows, sample_weight=np.full(20, 100)).inertia_
        for seed in range(3)
    )
    assert float(found.inertia) <= weighted * 1.1
    means = np.stack([data[found.labels == k].mean(0).numpy() for k in range(7)])
    np.testing.assert_allclose(found.centers, means, rtol=1e-12)
