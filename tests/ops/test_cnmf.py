"""cnmf against scipy's non-negative least squares, the plain updates, and closed forms."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ops.ragged import batch, blobs, planted
from scipy.optimize import nnls
from sklearn.cluster import KMeans

import vtcd_ops
from vtcd_ops.ops import reference

DTYPES = [torch.float32, torch.float64]
SOLVERS = ["cd", "mu"]


def start(data: np.ndarray, k: int) -> np.ndarray:
    return KMeans(k, n_init=2, random_state=0).fit(data).labels_


def residual(data: np.ndarray, found: vtcd_ops.ConvexNMF) -> np.ndarray:
    return data - found.encoding.double().numpy() @ found.weights.double().numpy().T @ data


def check_constraints(data: np.ndarray, found: vtcd_ops.ConvexNMF, tolerance: float) -> None:
    assert (found.weights >= 0).all()
    assert (found.encoding >= 0).all()
    torch.testing.assert_close(
        found.weights.sum(0), torch.ones_like(found.weights.sum(0)), rtol=0, atol=tolerance
    )
    scale = np.linalg.norm(data) + 1e-300
    assert abs(np.linalg.norm(residual(data, found)) - float(found.error)) <= tolerance * scale
    centers = found.weights.double().numpy().T @ data
    np.testing.assert_allclose(
        found.centers, centers, rtol=0, atol=tolerance * max(np.abs(data).max(), 1e-300)
    )


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_factors_are_convex_and_error_is_the_residual(solver: str, dtype: torch.dtype) -> None:
    data = torch.from_numpy(planted(60, 12, 4, seed=0)).to(dtype)
    found = vtcd_ops.cnmf(data, 4, solver=solver, max_num_iter=200)
    assert found.weights.dtype == found.centers.dtype == found.error.dtype == dtype
    assert found.weights.shape == found.encoding.shape == (60, 4)
    assert found.centers.shape == (4, 12)
    check_constraints(data.double().numpy(), found, 1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("num_iter", [1, 7, 100])
def test_mu_is_the_reference(num_iter: int) -> None:
    data = planted(50, 8, 3, seed=1)
    labels = start(data, 3)
    found = vtcd_ops.cnmf(
        torch.from_numpy(data), 3, init=torch.from_numpy(labels), solver="mu",
        max_num_iter=num_iter, tol=0,
    )  # fmt: skip
    weights, encoding, error = reference.cnmf(data, labels, 3, num_iter)
    assert int(found.num_iter) == num_iter
    np.testing.assert_allclose(found.weights, weights, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(found.encoding, encoding, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(found.error, error, rtol=1e-10)


@pytest.mark.parametrize(("num_rows", "k", "seed"), [(40, 2, 0), (80, 4, 1), (120, 6, 2)])
@pytest.mark.parametrize("make", [planted, blobs])
def test_cd_ends_no_higher_than_many_multiplicative_updates(
    make: object, num_rows: int, k: int, seed: int
) -> None:
    data = make(num_rows, 16, k, seed)
    labels = start(data, k)
    found = vtcd_ops.cnmf(torch.from_numpy(data), k, init=torch.from_numpy(labels))
    _, _, error = reference.cnmf(data, labels, k, 3000)
    assert float(found.error) <= error * (1 + 1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_cd_ends_where_neither_factor_alone_can_improve(seed: int) -> None:
    """Scipy solves for the encoding, and for each column of the weights, with the rest fixed."""
    data = planted(70, 10, 4, seed, offset=2.0)
    found = vtcd_ops.cnmf(torch.from_numpy(data), 4, tol=1e-12, max_num_iter=5000)
    assert int(found.num_iter) < 5000
    centers, encoding = found.centers.numpy(), found.encoding.numpy()
    best = np.stack([nnls(centers.T, row)[0] for row in data])
    np.testing.assert_allclose(encoding, best, atol=1e-6)
    squared = float(found.error) ** 2
    for k in range(4):
        usage = encoding[:, k] @ encoding[:, k]
        target = centers[k] + encoding[:, k] @ (data - encoding @ centers) / usage
        nearest, _ = nnls(data.T, target)  # whose distance SciPy 1.15 may tell wrongly
        distance = np.linalg.norm(data.T @ nearest - target)
        gain = usage * (np.square(target - centers[k]).sum() - distance**2)
        assert gain <= 1e-9 * squared


def plateau() -> tuple[torch.Tensor, torch.Tensor]:
    """A start with all centers nearly equal, which multiplicative updates are slow to leave."""
    data = planted(150, 32, 6, seed=1, noise=0.1, offset=0.3)
    return torch.from_numpy(data), torch.arange(150) % 6


def test_plateau_does_not_stop_mu() -> None:
    """The error falls by 1 % in the third hundred updates, then to a third in the next three."""
    data, labels = plateau()
    errors = {
        num_iter: float(
            vtcd_ops.cnmf(data, 6, init=labels, solver="mu", max_num_iter=num_iter).error
        )
        for num_iter in (200, 300, 600)
    }
    assert errors[300] > 0.98 * errors[200]
    assert errors[600] < 0.4 * errors[300]


def test_plateau_does_not_hold_cd() -> None:
    data, labels = plateau()
    _, _, error = reference.cnmf(data.numpy(), labels.numpy(), 6, 2000)
    found = vtcd_ops.cnmf(data, 6, init=labels)
    assert float(found.error) <= error
    assert int(found.num_iter) < 100


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_concept_of_proportional_rows_is_exact(solver: str) -> None:
    """All rows are multiples of one vector: any weights will do, the error is 0."""
    direction = np.array([1.0, -2.0, 3.0])
    data = np.outer([1.0, 2.0, 5.0, 0.5], direction)
    found = vtcd_ops.cnmf(torch.from_numpy(data), 1, solver=solver)
    np.testing.assert_allclose(found.error, 0, atol=1e-7)
    np.testing.assert_allclose(found.encoding @ found.centers, data, atol=1e-7)


def test_one_concept_is_the_best_rank_one_approximation() -> None:
    """The leading singular vector lies in the cone of positive data (Eckart and Young)."""
    data = np.abs(planted(30, 6, 2, seed=3)) + 0.5
    found = vtcd_ops.cnmf(torch.from_numpy(data), 1, tol=1e-12)
    singular = np.linalg.svd(data, compute_uv=False)
    np.testing.assert_allclose(found.error, np.linalg.norm(singular[1:]), rtol=1e-6)


def test_separable_data_is_exact_and_finds_the_corners() -> None:
    """Rows are convex combinations of 5 of them, the corners: the error is 0 at the corners."""
    random = np.random.default_rng(0)
    corners = random.normal(size=(5, 12)) + 1
    data = np.concatenate([corners, random.dirichlet(np.full(5, 0.5), size=60) @ corners])
    errors = []
    for seed in range(3):
        found = vtcd_ops.cnmf(torch.from_numpy(data), 5, tol=0, max_num_iter=3000, seed=seed)
        errors.append(float(found.error))
        if errors[-1] < 1e-6:
            assert (found.weights[:5].argmax(0).sort().values == torch.arange(5)).all()
            assert found.weights[:5].max(0).values.min() > 0.999
    assert min(errors) < 1e-6 * np.linalg.norm(data)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "data",
    [np.zeros((4, 3)), np.ones((5, 2)), np.eye(4), np.array([[1.0, 0], [0, 0], [1, 0], [0, 1]])],
    ids=["zeros", "duplicates", "identity", "zero row and duplicates"],
)
@pytest.mark.parametrize("k", [1, 2, 4])
def test_degenerate_data(data: np.ndarray, k: int, solver: str) -> None:
    found = vtcd_ops.cnmf(torch.from_numpy(data), k, solver=solver)
    check_constraints(data, found, 1e-9)
    if solver == "cd" and k >= np.linalg.matrix_rank(data):
        assert float(found.error) < 1e-7


def test_as_many_concepts_as_rows_is_exact() -> None:
    data = planted(6, 9, 3, seed=0)
    found = vtcd_ops.cnmf(torch.from_numpy(data), 6)
    assert float(found.error) < 1e-9 * np.linalg.norm(data)


@pytest.mark.parametrize("solver", SOLVERS)
def test_empty_cluster_in_the_start(solver: str) -> None:
    """Cluster 2 of the start has no row; with cd the concept is still put to use."""
    data = planted(50, 8, 3, seed=4)
    labels = torch.from_numpy(start(data, 2))
    found = vtcd_ops.cnmf(torch.from_numpy(data), 3, init=labels, solver=solver)
    check_constraints(data, found, 1e-9)
    if solver == "cd":
        assert found.encoding[:, 2].max() > 0
        two = vtcd_ops.cnmf(torch.from_numpy(data), 2, init=labels)
        assert float(found.error) < float(two.error)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("seed", range(3))
def test_twice_the_sweeps_never_give_a_larger_error(seed: int, solver: str) -> None:
    """Extrapolation may cost a sweep, but is taken back where the error rises."""
    data = torch.from_numpy(planted(80, 16, 5, seed))
    errors = [
        float(vtcd_ops.cnmf(data, 5, solver=solver, max_num_iter=2**power, tol=0).error)
        for power in range(8)
    ]
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in pairwise(errors))


def test_smaller_tolerance_gives_no_larger_error() -> None:
    data = torch.from_numpy(planted(80, 16, 5, seed=6))
    errors = [float(vtcd_ops.cnmf(data, 5, tol=tol).error) for tol in (1e-1, 1e-3, 1e-6, 1e-9)]
    assert errors == sorted(errors, reverse=True)


@given(
    seed=st.integers(0, 10_000),
    num_rows=st.integers(1, 25),
    num_channels=st.integers(1, 9),
    k=st.integers(1, 6),
)
def test_constraints_hold(seed: int, num_rows: int, num_channels: int, k: int) -> None:
    random = np.random.default_rng(seed)
    data = random.integers(-2, 3, size=(num_rows, num_channels)).astype(float)  # duplicates, zeros
    found = vtcd_ops.cnmf(torch.from_numpy(data), min(k, num_rows), max_num_iter=200)
    check_constraints(data, found, 1e-9)
    assert float(found.error) <= np.linalg.norm(data) * (1 + 1e-12)


@given(seed=st.integers(0, 10_000))
def test_order_of_rows_does_not_matter(seed: int) -> None:
    random = np.random.default_rng(seed)
    data = planted(30, 6, 3, seed, offset=2.0)
    labels = start(data, 3)
    order = random.permutation(30)
    plain = vtcd_ops.cnmf(torch.from_numpy(data), 3, init=torch.from_numpy(labels))
    permuted = vtcd_ops.cnmf(torch.from_numpy(data[order]), 3, init=torch.from_numpy(labels[order]))
    np.testing.assert_allclose(permuted.error, plain.error, rtol=1e-4)
    np.testing.assert_allclose(
        permuted.encoding @ permuted.centers, (plain.encoding @ plain.centers)[order], atol=0.05
    )


@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3))
def test_scale_of_the_data_only_scales_the_error(seed: int, scale: float) -> None:
    data = planted(30, 6, 3, seed, offset=2.0)
    labels = torch.from_numpy(start(data, 3))
    plain = vtcd_ops.cnmf(torch.from_numpy(data), 3, init=labels)
    scaled = vtcd_ops.cnmf(torch.from_numpy(scale * data), 3, init=labels)
    np.testing.assert_allclose(scaled.error, scale * plain.error, rtol=1e-4)


def test_layout_and_requires_grad_do_not_matter() -> None:
    data = torch.from_numpy(planted(40, 8, 3, seed=7))
    strided = data.T.contiguous().T.requires_grad_()
    plain, other = vtcd_ops.cnmf(data, 3), vtcd_ops.cnmf(strided, 3)
    assert all(torch.equal(a, b) for a, b in zip(plain, other))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_alone_and_in_a_batch_and_any_threads(
    solver: str, dtype: torch.dtype, num_threads: None
) -> None:
    problems = [planted(n, 17, 3, seed=n) for n in (40, 1, 133, 7, 64, 600)]
    data = [torch.from_numpy(problem).to(dtype) for problem in problems]
    k = [4, 1, 6, 2, 3, 5]
    torch.set_num_threads(1)
    alone = [
        vtcd_ops.cnmf(d, n, solver=solver, max_num_iter=50) for d, n in zip(data, k, strict=True)
    ]
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        single = vtcd_ops.cnmf(
            data[-1], k[-1], solver=solver, max_num_iter=50
        )  # all threads inside
        assert all(torch.equal(a, b) for a, b in zip(single, alone[-1]))
        together = vtcd_ops.cnmf(data, k, solver=solver, max_num_iter=50)
        for one, many in zip(alone, together, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, many))


def test_large_problem_is_the_same_for_any_threads(num_threads: None) -> None:
    """12,000 rows are split over the threads inside one problem."""
    data = torch.from_numpy(planted(12_000, 64, 5, seed=0)).float()
    labels = (torch.arange(12_000) * 5) // 12_000
    torch.set_num_threads(1)
    alone = vtcd_ops.cnmf(data, 5, init=labels, max_num_iter=10)
    for count in (2, 3):
        torch.set_num_threads(count)
        for _ in range(2):
            found = vtcd_ops.cnmf(
                [data[:50], data], 5, init=[labels[:50] * 0, labels], max_num_iter=10
            )
            assert all(torch.equal(a, b) for a, b in zip(alone, found[1]))


def test_seed_decides() -> None:
    data = torch.from_numpy(planted(90, 8, 6, seed=8))
    one, same = vtcd_ops.cnmf(data, 6, seed=1), vtcd_ops.cnmf(data, 6, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(one, same))
    starts = {float(vtcd_ops.cnmf(data, 6, seed=seed, max_num_iter=1).error) for seed in range(20)}
    assert len(starts) > 1


def test_batch_is_padded_with_zeros() -> None:
    data, offsets = batch(planted(20, 5, 2, seed=0), planted(9, 5, 2, seed=1))
    weights, encoding, centers, error, num_iter = torch.ops.vtcd.cnmf(
        data, offsets, torch.tensor([2, 4])
    )
    assert weights.shape == encoding.shape == (29, 4)
    assert centers.shape == (2, 4, 5)
    assert error.shape == num_iter.shape == (2,)
    for padding in (weights[:20, 2:], encoding[:20, 2:], centers[0, 2:]):
        assert not padding.any()


def test_empty_batch() -> None:
    assert vtcd_ops.cnmf([], 3) == []
    data, offsets, k = torch.zeros(0, 5), torch.tensor([0]), torch.zeros(0, dtype=torch.int64)
    outputs = torch.ops.vtcd.cnmf(data, offsets, k)
    assert [list(output.shape) for output in outputs] == [[0, 0], [0, 0], [0, 0, 5], [0], [0]]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("with_init", [False, True])
def test_opcheck(solver: str, with_init: bool) -> None:
    data, offsets = batch(planted(20, 5, 2, seed=0), planted(9, 5, 2, seed=1))
    init = torch.zeros(29, dtype=torch.int32) if with_init else None
    torch.library.opcheck(
        torch.ops.vtcd.cnmf.default,
        (data, offsets, torch.tensor([2, 4])),
        {"init": init, "solver": solver, "max_num_iter": 5},
    )


class Concepts(torch.nn.Module):
    """The concept of each row of two matrices, as a model would compute it."""

    def forward(self, data: torch.Tensor, offsets: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        encoding = torch.ops.vtcd.cnmf(data * 1.0, offsets, k, max_num_iter=20)[1]
        return encoding.sum(1) + data.mean(1)


def test_compile_and_export() -> None:
    data, offsets = batch(planted(20, 5, 2, seed=0), planted(9, 5, 2, seed=1))
    k = torch.tensor([2, 4])
    expected = Concepts()(data, offsets, k)
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(Concepts(), fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(data, offsets, k), expected)
    exported = torch.export.export(Concepts(), (data, offsets, k)).module()
    torch.testing.assert_close(exported(data, offsets, k), expected)
