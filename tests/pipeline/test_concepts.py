"""Concepts of tubelets: assignment, and encoding against given concepts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery import concepts
from vtcd_ops.discovery.concepts import encode, find_concepts, paint
from vtcd_ops.discovery.settings import Settings


def clusters(num_clusters: int, seed: int = 0, channels: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Tubelets around far apart directions, and which is around which."""
    rng = np.random.default_rng(seed)
    centers = np.linalg.qr(rng.normal(size=(channels, num_clusters)))[0].T * 5
    truth = np.repeat(np.arange(num_clusters), 15)
    rows = centers[truth] + rng.normal(scale=0.1, size=(len(truth), channels))
    return rows.astype(np.float32), truth


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    return len(set(zip(a.tolist(), b.tolist(), strict=True))) == len(set(a)) == len(set(b))


def expect_optimal(tubelets: np.ndarray, centers: np.ndarray, got: np.ndarray) -> None:
    """The conditions of Karush, Kuhn and Tucker, which the minimum alone fulfils."""
    u, w = got.astype(np.float64), centers.astype(np.float64)
    slope = (tubelets - u @ w) @ w.T  # [N, K], of half the squared error, downhill
    lengths = np.linalg.norm(w, axis=1)
    terms = np.linalg.norm(tubelets, axis=1) + u @ lengths  # which float32 rounds
    scale = lengths * terms[:, None]
    assert (u >= 0).all()
    assert (slope <= 1e-6 * scale).all()
    assert (np.abs(slope[u > 0]) <= 1e-6 * scale[u > 0]).all()


@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 6))
def test_encoding_is_non_negative_least_squares(seed: int, k: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    tubelets = rng.normal(size=(5, channels))
    centers = rng.normal(size=(k, channels))
    expect_optimal(tubelets, centers, encode(tubelets, centers))


def test_nearly_equal_concepts_are_told_apart() -> None:
    """Coordinate descent was still far from the minimum after ten thousand sweeps here."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=8)
    centers = base + 1e-4 * rng.normal(size=(4, 8))
    truth = np.array([[1.0, 0.0, 2.0, 0.0], [0.0, 3.0, 0.0, 1.0]])
    got = encode(truth @ centers, centers)
    np.testing.assert_allclose(got, truth, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e30, 1e150])
def test_the_encoding_does_not_depend_on_the_unit(scale: float) -> None:
    rng = np.random.default_rng(0)
    tubelets, centers = rng.normal(size=(6, 5)), rng.normal(size=(4, 5))
    plain = encode(tubelets, centers)
    np.testing.assert_allclose(encode(tubelets * scale, centers * scale), plain, rtol=1e-5)


def test_an_encoding_without_an_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(*arguments: object, **options: object) -> None:
        raise RuntimeError("Maximum number of iterations reached.")

    monkeypatch.setattr(concepts.scipy.optimize, "nnls", give_up)
    with pytest.raises(InputError, match="how tubelet 0 is composed of 2 concepts could not be"):
        encode(np.ones((1, 2)), np.eye(2))


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_an_answer_that_is_no_minimum_is_not_taken(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SciPy 1.15 gives such answers now and then, without a word (scipy/scipy#25389)."""
    rng = np.random.default_rng(0)
    tubelets, centers = rng.normal(size=(40, 6)), rng.normal(size=(5, 6))
    right, solve = encode(tubelets, centers), concepts.scipy.optimize.nnls

    def wrong(*arguments: np.ndarray, maxiter: int) -> tuple[np.ndarray, float]:
        return share * solve(*arguments, maxiter=maxiter)[0], 0.0

    monkeypatch.setattr(concepts.scipy.optimize, "nnls", wrong)
    np.testing.assert_allclose(encode(tubelets, centers), right, atol=1e-6)
    expect_optimal(tubelets, centers, encode(tubelets, centers))


def test_a_zero_concept_encodes_nothing() -> None:
    got = encode(np.ones((2, 3)), np.array([[0.0, 0, 0], [1, 1, 1]]))
    np.testing.assert_allclose(got, [[0, 1], [0, 1]], atol=1e-6)


def test_heads_are_independent_and_clusters_are_found() -> None:
    data = [clusters(3, seed=1), clusters(5, seed=2)]
    together = find_concepts([rows for rows, _ in data], Settings())
    for (rows, truth), found in zip(data, together, strict=True):
        assert same_partition(found.concept, truth)
        [alone] = find_concepts([rows], Settings())
        np.testing.assert_array_equal(alone.centers, found.centers)
        np.testing.assert_array_equal(alone.concept, found.concept)


def test_concepts_are_convex_combinations_of_tubelets() -> None:
    rows, _ = clusters(4)
    [found] = find_concepts([rows], Settings())
    assert (found.weights >= 0).all()
    np.testing.assert_allclose(found.weights.sum(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(found.weights.T @ rows, found.centers, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        found.error, np.linalg.norm(rows - found.encoding @ found.centers), rtol=1e-3
    )


@pytest.mark.parametrize("assign", ["encoding", "weights"])
def test_assignment_is_the_largest_entry(assign: str) -> None:
    rows, _ = clusters(4)
    [found] = find_concepts([rows], Settings(assign=assign))
    table = found.encoding if assign == "encoding" else found.weights
    np.testing.assert_array_equal(found.concept, table.argmax(axis=1))


def test_silhouettes_are_scikit_learns() -> None:
    from sklearn.metrics import silhouette_samples

    rows, _ = clusters(3)
    [found] = find_concepts([rows], Settings())
    expected = silhouette_samples(rows, found.concept)
    np.testing.assert_allclose(found.silhouettes, expected, rtol=1e-4, atol=1e-5)


def test_one_tubelet_is_too_few() -> None:
    rows, _ = clusters(2)
    with pytest.raises(InputError, match="at least two tubelets, head 1 has 1 in all videos"):
        find_concepts([rows, rows[:1]], Settings())


def test_identical_tubelets_are_one_concept() -> None:
    [found] = find_concepts([np.ones((6, 4), dtype=np.float32)], Settings())
    assert len(found.centers) == 1
    assert (found.concept == 0).all()


def test_paint() -> None:
    labels = np.array([[[0, 1, -1]]])
    np.testing.assert_array_equal(paint(labels, np.array([3, -1])), [[[3, -1, -1]]])
