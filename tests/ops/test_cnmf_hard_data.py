"""cnmf where it is hard: data of mean zero, a common offset, a row far away."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

import vtcd_ops
from vtcd_ops.ops import reference

# (N, C, k): the errors that 10,000 updates of reference.cnmf reach on gaussian(N, C, seed), for
# each seed, from the labels start(data, k).
UPDATES = {
    (60, 12, 8): [
        11.4077,
        11.474,
        11.8901,
        12.1682,
        11.4268,
        11.9455,
        11.4386,
        11.1573,
        12.2878,
        11.7542,
        11.5766,
        11.2202,
    ],
    (40, 6, 4): [
        7.809,
        7.3466,
        7.7609,
        7.8244,
        7.2453,
        7.4166,
        7.8601,
        6.3987,
        8.5292,
        6.5584,
        7.2314,
        7.1299,
    ],
    (30, 4, 3): [
        5.0764,
        4.3273,
        4.8243,
        5.1352,
        4.7234,
        4.1428,
        4.2296,
        3.9594,
        5.6931,
        3.3975,
        4.1967,
        5.1723,
    ],
}


def gaussian(num_rows: int, num_channels: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_rows, num_channels))


def start(data: np.ndarray, k: int) -> np.ndarray:
    """Each row goes with the most similar of the first k."""
    return (data @ data[:k].T).argmax(1)


def solve(data: np.ndarray, k: int, labels: np.ndarray, **options: float) -> vtcd_ops.ConvexNMF:
    return vtcd_ops.cnmf(torch.from_numpy(data), k, init=torch.from_numpy(labels), **options)


@pytest.mark.parametrize("shape", UPDATES)
def test_zero_mean_data_end_below_ten_thousand_updates(shape: tuple[int, int, int]) -> None:
    num_rows, num_channels, k = shape
    assert len(UPDATES[shape]) == 12
    for seed, updates in enumerate(UPDATES[shape]):
        data = gaussian(num_rows, num_channels, seed)
        found = solve(data, k, start(data, k))
        residual = data - found.encoding.numpy() @ (found.weights.numpy().T @ data)
        np.testing.assert_allclose(np.linalg.norm(residual), found.error, rtol=1e-9)
        assert float(found.error) <= updates, (shape, seed)
        assert int(found.num_iter) < 1000


def test_the_stored_errors_are_those_of_the_updates() -> None:
    data = gaussian(30, 4, 0)
    _, _, error = reference.cnmf(data, start(data, 3), 3, 10_000)
    assert round(error, 4) == UPDATES[30, 4, 3][0]


def test_all_sweeps_are_counted_and_bounded() -> None:
    data = gaussian(60, 12, 0)
    labels = start(data, 8)
    errors = []
    for most in (1, 2, 20, 60, 100, 300):
        found = solve(data, 8, labels, max_num_iter=most)
        assert int(found.num_iter) <= most
        errors.append(float(found.error))
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("offset", [1e3, 1e5, 1e8, 1e10])
def test_a_common_offset_neither_stops_nor_delays(offset: float) -> None:
    """So far from the origin rows of the encoding sum to 1, but for what the offset's axis needs.

    What is left is a problem of hulls at right angles to that axis, which no longer depends on the
    offset; scipy solves for both its factors with the rest fixed.
    """
    data = gaussian(60, 12, 0)
    labels = start(data, 8)
    found = solve(data + offset, 8, labels, tol=1e-8, max_num_iter=3000)
    assert int(found.num_iter) < 1000
    exact = (data + offset) - offset
    exact = exact - exact.mean(1, keepdims=True)
    weights, encoding = found.weights.numpy(), found.encoding.numpy()
    np.testing.assert_allclose(encoding.sum(1), 1, atol=10 / offset)
    encoding = encoding / encoding.sum(1, keepdims=True)
    centers = weights.T @ exact
    error = np.linalg.norm(exact - encoding @ centers)
    np.testing.assert_allclose(found.error, error, rtol=1e-5 + 10 / offset)
    _, _, updates = reference.cnmf(data + 30, labels, 8, 3000)  # slower, the farther away
    assert error <= updates * 1.01
    heavy = 1e4  # a row of this says that the coefficients sum to 1
    best = [nnls(np.append(centers.T, [[heavy] * 8], 0), np.append(row, heavy))[1] for row in exact]
    assert error <= np.linalg.norm(best) * (1 + 1e-4)
    hull = np.append(exact.T, np.full((1, 60), heavy), 0)
    for k in range(8):
        usage = encoding[:, k] @ encoding[:, k]
        target = centers[k] + encoding[:, k] @ (exact - encoding @ centers) / usage
        _, distance = nnls(hull, np.append(target, heavy))
        gain = usage * (np.square(target - centers[k]).sum() - distance**2)
        assert gain <= 1e-4 * error**2


@pytest.mark.parametrize("solver", ["cd", "mu"])
def test_an_offset_does_not_make_the_error_wrong(solver: str) -> None:
    data = gaussian(60, 12, 1) + 1e8
    found = vtcd_ops.cnmf(torch.from_numpy(data), 4, solver=solver, max_num_iter=50)
    encoding = found.encoding.numpy()
    left = (data - 1e8) - encoding @ (found.weights.numpy().T @ (data - 1e8))
    left += 1e8 * (1 - encoding.sum(1, keepdims=True))
    np.testing.assert_allclose(found.error, np.linalg.norm(left), rtol=1e-3)


@pytest.mark.parametrize("size", [1e3, 1e6, 1e9])
def test_a_row_far_away_leaves_the_others_alone(size: float) -> None:
    rest = np.abs(gaussian(59, 12, 2)) + 0.2
    data = np.insert(rest, 7, size, axis=0)
    labels = np.insert(1 + start(rest, 4), 7, 0)
    found = solve(data, 5, labels)
    assert int(found.num_iter) < 200
    _, _, updates = reference.cnmf(rest, start(rest, 4), 4, 3000)
    assert float(found.error) <= updates * 1.001


@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
def test_one_channel_far_larger_than_the_others(size: float) -> None:
    data = np.abs(gaussian(40, 6, 3))
    scaled = data * [size, 1, 1, 1, 1, 1]
    found = solve(scaled, 3, start(data, 3))
    error = np.linalg.norm(scaled - found.encoding.numpy() @ found.weights.numpy().T @ scaled)
    np.testing.assert_allclose(found.error, error, rtol=1e-6)
    assert int(found.num_iter) < 1000


@pytest.mark.parametrize("tiny", [5e-324, 1e-310, 1e-300, 1e-160])
def test_rows_that_are_nothing_beside_the_others(tiny: float) -> None:
    """Whose inverse lengths are no numbers; also where one sweep is all there is."""
    for seed in range(12):
        draw = np.random.default_rng(seed)
        rows, channels = int(draw.integers(3, 8)), int(draw.integers(1, 4))
        data = draw.standard_normal((rows, channels))
        small = draw.random((rows, channels)) < 0.5
        data[small] = tiny * draw.integers(-3, 4, int(small.sum()))
        data[0], data[1, 0] = tiny, 1.0
        for max_num_iter in (1, 2, 5):
            found = vtcd_ops.cnmf(torch.from_numpy(data), 2, max_num_iter=max_num_iter)
            encoding, weights = found.encoding.numpy(), found.weights.numpy()
            assert np.isfinite(encoding).all()
            np.testing.assert_allclose(weights.sum(0), 1, rtol=1e-12)
            left = np.linalg.norm(data - encoding @ (weights.T @ data))
            np.testing.assert_allclose(found.error, left, rtol=1e-9, atol=1e-9)
            assert left <= np.linalg.norm(data) * (1 + 1e-12)
