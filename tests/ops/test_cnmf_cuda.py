"""cnmf on a GPU: the CPU's error, the CPU's words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ops.cuda import expect_same_words
from ops.ragged import batch, blobs, planted

import vtcd_ops

SOLVERS = ["cd", "mu"]
DTYPES = [torch.float32, torch.float64]
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}  # of the numbers of the dtype


def gaussian(num_rows: int, num_channels: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_rows, num_channels))


def check_factors(data: torch.Tensor, found: vtcd_ops.ConvexNMF) -> None:
    """Convex, not negative, and the error is that of the factors."""
    values = data.double().cpu().numpy()
    weights, encoding, centers, error = (part.double().cpu().numpy() for part in found[:4])
    tolerance = TOLERANCE[data.dtype]
    size = max(np.linalg.norm(values), 1e-300)
    assert (weights >= 0).all()
    assert (encoding >= 0).all()
    np.testing.assert_allclose(weights.sum(0), 1, rtol=0, atol=10 * tolerance)
    np.testing.assert_allclose(centers, weights.T @ values, rtol=0, atol=tolerance * size)
    residual = np.linalg.norm(values - encoding @ (weights.T @ values))
    assert abs(residual - error) <= 10 * tolerance * size


def expect_as_on_the_cpu(
    device: torch.device, data: torch.Tensor, k: int, init: torch.Tensor | None, **options: object
) -> None:
    start = "kmeans" if init is None else init
    expected = vtcd_ops.cnmf(data, k, init=start, **options)
    on_device = "kmeans" if init is None else init.to(device)
    found = vtcd_ops.cnmf(data.to(device), k, init=on_device, **options)
    assert all(part.device == device for part in found)
    assert [part.dtype for part in found] == [part.dtype for part in expected]
    check_factors(data, found)
    size = float(torch.linalg.norm(data.double()))
    allowed = 1e-6 * float(expected.error) + TOLERANCE[data.dtype] * size
    assert abs(float(found.error) - float(expected.error)) <= allowed


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("num_rows", "num_channels", "k"),
    [(1, 1, 1), (7, 3, 2), (40, 9, 5), (33, 70, 1), (360, 64, 6), (130, 65, 12), (90, 24, 20)],
)
@pytest.mark.parametrize("make", [planted, blobs])
def test_the_error_is_that_of_the_cpu(
    cuda_device: torch.device,
    make: object,
    num_rows: int,
    num_channels: int,
    k: int,
    dtype: torch.dtype,
    solver: str,
) -> None:
    data = torch.from_numpy(make(num_rows, num_channels, k, 0)).to(dtype)
    most = 1000 if solver == "cd" else 100
    expect_as_on_the_cpu(cuda_device, data, k, None, solver=solver, max_num_iter=most)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("num_rows", "num_channels", "k"), [(60, 12, 8), (40, 6, 4), (30, 4, 3)])
def test_data_of_mean_zero(
    cuda_device: torch.device, num_rows: int, num_channels: int, k: int, seed: int
) -> None:
    """Degenerate factorisations, from which the descent begins anew."""
    data = torch.from_numpy(gaussian(num_rows, num_channels, seed))
    labels = (data @ data[:k].T).argmax(1)
    expect_as_on_the_cpu(cuda_device, data, k, labels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_more_than_shared_memory_holds(cuda_device: torch.device, dtype: torch.dtype) -> None:
    data = torch.from_numpy(planted(3000, 64, 5, seed=0)).to(dtype)
    labels = (torch.arange(3000) * 5) // 3000
    expect_as_on_the_cpu(cuda_device, data, 5, labels, max_num_iter=15)


@pytest.mark.parametrize("offset", [1e3, 1e5, 1e8])
def test_a_common_offset(cuda_device: torch.device, offset: float) -> None:
    data = torch.from_numpy(gaussian(60, 12, 0) + offset)
    labels = torch.arange(60) % 8
    expected = vtcd_ops.cnmf(data, 8, init=labels, tol=1e-8)
    found = vtcd_ops.cnmf(data.to(cuda_device), 8, init=labels.to(cuda_device), tol=1e-8)
    check_factors(data, found)
    assert float(found.error) <= float(expected.error) * (1 + 1e-4)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("size", [1e-300, 1e-150, 1e150, 1e300])
def test_extreme_numbers(cuda_device: torch.device, size: float, solver: str) -> None:
    data = torch.from_numpy(planted(60, 8, 3, seed=0) * size)
    labels = torch.arange(60) % 3
    options = {"solver": solver, "max_num_iter": 60}
    expected = vtcd_ops.cnmf(data, 3, init=labels, **options)
    found = vtcd_ops.cnmf(data.to(cuda_device), 3, init=labels.to(cuda_device), **options)
    assert all(torch.isfinite(part).all() for part in found)
    np.testing.assert_allclose(float(found.error) / size, float(expected.error) / size, rtol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "data",
    [np.zeros((4, 3)), np.ones((5, 2)), np.eye(4), np.array([[1.0, 0], [0, 0], [1, 0], [0, 1]])],
    ids=["zeros", "duplicates", "identity", "zero row and duplicates"],
)
@pytest.mark.parametrize("k", [1, 2, 4])
def test_degenerate_data(cuda_device: torch.device, data: np.ndarray, k: int, solver: str) -> None:
    found = vtcd_ops.cnmf(torch.from_numpy(data).to(cuda_device), k, solver=solver)
    check_factors(torch.from_numpy(data), found)
    if solver == "cd" and k >= np.linalg.matrix_rank(data):
        assert float(found.error) < 1e-7


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_alone_in_a_batch_and_again(
    cuda_device: torch.device, dtype: torch.dtype, solver: str
) -> None:
    rows = (40, 1, 133, 7, 64, 3000 if solver == "cd" else 600)
    data = [torch.from_numpy(planted(n, 17, 3, seed=n)).to(cuda_device, dtype) for n in rows]
    k = [4, 1, 6, 2, 3, 5]
    alone = [
        vtcd_ops.cnmf(d, n, solver=solver, max_num_iter=30) for d, n in zip(data, k, strict=True)
    ]
    for _ in range(2):
        together = vtcd_ops.cnmf(data, k, solver=solver, max_num_iter=30)
        for one, many in zip(alone, together, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, many))


def test_layout_does_not_matter(cuda_device: torch.device) -> None:
    data = torch.from_numpy(planted(40, 8, 3, seed=7)).to(cuda_device)
    plain, other = vtcd_ops.cnmf(data, 3), vtcd_ops.cnmf(data.T.contiguous().T, 3)
    assert all(torch.equal(a, b) for a, b in zip(plain, other))


def test_batch_is_padded_with_zeros(cuda_device: torch.device) -> None:
    data, offsets = batch(planted(20, 5, 2, seed=0), planted(9, 5, 2, seed=1))
    weights, encoding, centers, error, num_iter = torch.ops.vtcd.cnmf(
        data.to(cuda_device), offsets.to(cuda_device), torch.tensor([2, 4], device=cuda_device)
    )
    assert weights.shape == encoding.shape == (29, 4)
    assert centers.shape == (2, 4, 5)
    assert error.shape == num_iter.shape == (2,)
    for padding in (weights[:20, 2:], encoding[:20, 2:], centers[0, 2:]):
        assert not padding.any()


def test_empty_batch(cuda_device: torch.device) -> None:
    data = torch.zeros(0, 5, device=cuda_device)
    outputs = torch.ops.vtcd.cnmf(data, torch.tensor([0]), torch.zeros(0, dtype=torch.int64))
    assert [list(output.shape) for output in outputs] == [[0, 0], [0, 0], [0, 0, 5], [0], [0]]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("solver", SOLVERS)
def test_numbers_that_are_not_finite(cuda_device: torch.device, value: float, solver: str) -> None:
    data, offsets = batch(planted(20, 5, 2, seed=0), planted(9, 5, 2, seed=1))
    data[23, 4] = value
    expect_same_words(cuda_device, "cnmf", data, offsets, torch.tensor([2, 4]), solver=solver)


@pytest.mark.parametrize(
    ("k", "options"),
    [
        ([2, 10], {}),
        ([0, 4], {}),
        ([2], {}),
        ([2, 4], {"solver": "als"}),
        ([2, 4], {"max_num_iter": 0}),
        ([2, 4], {"tol": -1.0}),
        ([2, 4], {"init": torch.full((29,), 3)}),
        ([2, 4], {"init": torch.full((29,), -1, dtype=torch.int32)}),
        ([2, 4], {"init": torch.zeros(28, dtype=torch.int64)}),
        ([2, 4], {"init": torch.zeros(29)}),
    ],
)
def test_bad_values_are_told_in_the_words_of_the_cpu(
    cuda_device: torch.device, k: list[int], options: dict[str, object]
) -> None:
    data, offsets = batch(planted(20, 5, 2, seed=0), planted(9, 5, 2, seed=1))
    expect_same_words(cuda_device, "cnmf", data, offsets, torch.tensor(k), **options)


def test_an_error_beyond_the_dtype_is_refused(cuda_device: torch.device) -> None:
    data = torch.tensor([[3e38, 0.0], [0.0, 3e38]]).repeat(40, 1)
    rows = torch.cat([data / 1e30, data])
    offsets = torch.tensor([0, 80, 160])
    init = torch.zeros(160, dtype=torch.int64)
    expect_same_words(cuda_device, "cnmf", rows, offsets, torch.tensor([1, 1]), init=init)


def test_a_tensor_on_another_device_is_refused(cuda_device: torch.device) -> None:
    data, offsets = batch(planted(20, 5, 2, seed=0))
    init = torch.zeros(20, dtype=torch.int64)
    with pytest.raises(RuntimeError, match="cnmf: init expected on cuda:0, got cpu"):
        torch.ops.vtcd.cnmf(data.to(cuda_device), offsets, torch.tensor([2]), init=init)


@pytest.mark.parametrize("solver", SOLVERS)
def test_opcheck(cuda_device: torch.device, solver: str) -> None:
    data, offsets = batch(planted(20, 5, 2, seed=0), planted(9, 5, 2, seed=1))
    torch.library.opcheck(
        torch.ops.vtcd.cnmf.default,
        (data.to(cuda_device), offsets, torch.tensor([2, 4])),
        {"solver": solver, "max_num_iter": 5},
    )
