"""Operators on sets of vectors: convex factorisation, k-means, silhouettes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, overload

import torch
from torch import Tensor

from vtcd_ops.ops import checks, ragged


class ConvexNMF(NamedTuple):
    """A convex factorisation ``data ≈ encoding @ centers``, ``centers = weights.T @ data``.

    Args:
        weights: [N, K], not negative, columns sum to 1: what each concept is composed of.
        encoding: [N, K], not negative: what each row of the data is composed of.
        centers: [K, C], the concepts.
        error: [], Frobenius norm of ``data - encoding @ centers``.
        num_iter: int64 [], sweeps (``cd``) or updates (``mu``) until it stopped.
    """

    weights: Tensor
    encoding: Tensor
    centers: Tensor
    error: Tensor
    num_iter: Tensor


class KMeans(NamedTuple):
    """A clustering.

    Args:
        labels: int32 [N], the cluster of each row.
        centers: [K, C], the mean of each cluster.
        inertia: [], sum of squared distances of the rows to their centers.
        num_iter: int64 [], iterations of the best run.
    """

    labels: Tensor
    centers: Tensor
    inertia: Tensor
    num_iter: Tensor


@overload
def cnmf(
    data: Tensor,
    k: int,
    *,
    init: str | Tensor = ...,
    solver: str = ...,
    max_num_iter: int = ...,
    tol: float = ...,
    seed: int = ...,
) -> ConvexNMF: ...
@overload
def cnmf(
    data: Sequence[Tensor],
    k: int | Sequence[int],
    *,
    init: str | Sequence[Tensor] = ...,
    solver: str = ...,
    max_num_iter: int = ...,
    tol: float = ...,
    seed: int = ...,
) -> list[ConvexNMF]: ...
def cnmf(
    data: Tensor | Sequence[Tensor],
    k: int | Sequence[int],
    *,
    init: str | Tensor | Sequence[Tensor] = "kmeans",
    solver: str = "cd",
    max_num_iter: int = 1000,
    tol: float = 1e-6,
    seed: int = 0,
) -> ConvexNMF | list[ConvexNMF]:
    """Factorise data into concepts that are convex combinations of its own rows.

    >>> corners = torch.eye(3)
    >>> data = torch.cat([corners, (corners[0:1] + corners[1:2]) / 2])
    >>> found = cnmf(data, 3)
    >>> found.encoding.argmax(1)[:3].unique().numel()  # each corner is a concept of its own
    3
    >>> bool(found.error < 1e-6)
    True
    >>> [result.centers.shape[0] for result in cnmf([data, corners], [3, 2])]
    [3, 2]

    Minimises ``‖data - encoding @ weights.T @ data‖`` (Frobenius) with ``weights, encoding >= 0``
    and columns of ``weights`` that sum to 1: equations 2 and 3 of the paper, convex NMF of Ding,
    Li and Jordan (2010). It stops when changing the weights alone, or the encoding alone, could not
    lower the squared error by more than the share ``tol``, however slowly the error moves.

    Args:
        data: float32 or float64 [N, C], or a list of such, solved in one call.
        k: number of concepts, 1 <= k <= N; for a list, one number or one for each matrix.
        init: ``"kmeans"``, or a labelling int [N] with values below k (a list of them for a list).
        solver: ``"cd"``, coordinate and active-set descent, O(N C K) a sweep; ``"mu"``, the
            multiplicative updates of Ding, Li and Jordan, O(N² K) an update.
        max_num_iter: sweeps or updates at most.
        tol: possible relative gain in squared error at which it stops; 0: never before
            ``max_num_iter``, unless nothing at all can be gained.
        seed: of the k-means start.

    Returns:
        A :class:`ConvexNMF`, or a list of them.

    Raises:
        ValueError: shapes that do not fit, NaN or Inf, k > N, a label out of range, an error or an
            encoding that the dtype cannot hold.
        TypeError: another dtype.
    """
    matrices = ragged.matrices("cnmf", data)
    if not matrices:
        return []
    rows, offsets = ragged.pack("cnmf", matrices)
    k_each = ragged.k_tensor("cnmf", k, len(matrices))
    labels = _start(init, matrices)
    max_num_iter = ragged.integer("cnmf", "max_num_iter", max_num_iter)
    seed = ragged.integer("cnmf", "seed", seed)
    tol = ragged.real("cnmf", "tol", tol)
    checks.check_cnmf(rows, offsets, k_each, labels, solver, max_num_iter, tol)
    with checks.kernel_errors("cnmf"):
        weights, encoding, centers, error, num_iter = torch.ops.vtcd.cnmf(
            rows, offsets, k_each, init=labels, solver=solver, max_num_iter=max_num_iter, tol=tol,
            seed=seed,
        )  # fmt: skip
    results = []
    for p, (first, last) in enumerate(pairwise(offsets.tolist())):
        concepts = slice(0, int(k_each[p]))
        results.append(
            ConvexNMF(
                weights[first:last, concepts],
                encoding[first:last, concepts],
                centers[p, concepts],
                error[p],
                num_iter[p],
            )
        )
    return results[0] if isinstance(data, Tensor) else results


def _start(init: str | Tensor | Sequence[Tensor], matrices: list[Tensor]) -> Tensor | None:
    """Return the labelling to start from, [ΣN], or None for that of k-means."""
    if isinstance(init, str):
        if init != "kmeans":
            raise ValueError(f"cnmf: init expected kmeans or a labelling, got {init}")
        return None
    if isinstance(init, Tensor) and len(matrices) > 1:
        raise TypeError("cnmf: init expected a list of tensors for a list, got Tensor")
    return ragged.pack_labels("cnmf", "init", matrices, init)


@overload
def kmeans(
    data: Tensor,
    k: int,
    *,
    num_restarts: int = ...,
    max_num_iter: int = ...,
    tol: float = ...,
    seed: int = ...,
) -> KMeans: ...
@overload
def kmeans(
    data: Sequence[Tensor],
    k: int | Sequence[int],
    *,
    num_restarts: int = ...,
    max_num_iter: int = ...,
    tol: float = ...,
    seed: int = ...,
) -> list[KMeans]: ...
def kmeans(
    data: Tensor | Sequence[Tensor],
    k: int | Sequence[int],
    *,
    num_restarts: int = 10,
    max_num_iter: int = 300,
    tol: float = 1e-4,
    seed: int = 0,
) -> KMeans | list[KMeans]:
    """Cluster the rows of data: Lloyd's algorithm from greedy k-means++ starts.

    >>> found = kmeans(torch.tensor([[0.0], [0.2], [5.0], [5.2]]), 2)
    >>> round(float(found.inertia), 6)
    0.04
    >>> bool(found.labels[0] == found.labels[1] != found.labels[2])
    True

    The same as scikit-learn's ``KMeans``, up to the random numbers. An emptied cluster moves to the
    row farthest from its center.

    Args:
        data: float32 or float64 [N, C], or a list of such, clustered in one call.
        k: number of clusters, 1 <= k <= N; for a list, one number or one for each matrix.
        num_restarts: runs from different starts, of which the best is returned.
        max_num_iter: iterations of a run at most.
        tol: a run stops when the summed squared shift of the centers is at most this share of the
            mean variance of a channel, or when no label changes.
        seed: of the starts.

    Returns:
        A :class:`KMeans`, or a list of them.

    Raises:
        ValueError: shapes that do not fit, NaN or Inf, k > N, an inertia that the dtype cannot hold
            (float32 data of 1e20: convert them to float64).
        TypeError: another dtype.
    """
    matrices = ragged.matrices("kmeans", data)
    if not matrices:
        return []
    rows, offsets = ragged.pack("kmeans", matrices)
    k_each = ragged.k_tensor("kmeans", k, len(matrices))
    num_restarts = ragged.integer("kmeans", "num_restarts", num_restarts)
    max_num_iter = ragged.integer("kmeans", "max_num_iter", max_num_iter)
    seed = ragged.integer("kmeans", "seed", seed)
    tol = ragged.real("kmeans", "tol", tol)
    checks.check_kmeans(rows, offsets, k_each, num_restarts, max_num_iter, tol)
    with checks.kernel_errors("kmeans"):
        labels, centers, inertia, num_iter = torch.ops.vtcd.kmeans(
            rows, offsets, k_each, num_restarts=num_restarts, max_num_iter=max_num_iter, tol=tol,
            seed=seed,
        )  # fmt: skip
    results = [
        KMeans(labels[first:last], centers[p, : int(k_each[p])], inertia[p], num_iter[p])
        for p, (first, last) in enumerate(pairwise(offsets.tolist()))
    ]
    return results[0] if isinstance(data, Tensor) else results


@overload
def silhouette(data: Tensor, labels: Tensor) -> Tensor: ...
@overload
def silhouette(data: Sequence[Tensor], labels: Sequence[Tensor]) -> list[Tensor]: ...
def silhouette(
    data: Tensor | Sequence[Tensor], labels: Tensor | Sequence[Tensor]
) -> Tensor | list[Tensor]:
    """Tell how well each row lies in its cluster: 1 inside, 0 between two, -1 in the wrong one.

    >>> data = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    >>> [round(value, 3) for value in silhouette(data, torch.tensor([0, 0, 1, 1])).tolist()]
    [0.905, 0.895, 0.895, 0.905]

    The same as scikit-learn's ``silhouette_samples`` with Euclidean distances; also defined for a
    single cluster, where it is 0.

    Args:
        data: float32 or float64 [N, C], or a list of such.
        labels: int32 or int64 [N], not negative, or a list of such.

    Returns:
        The coefficients [N], or a list of them.

    Raises:
        ValueError: shapes that do not fit, NaN or Inf, a negative label.
        TypeError: another dtype.
    """
    matrices = ragged.matrices("silhouette", data)
    if isinstance(data, Tensor) != isinstance(labels, Tensor):
        raise TypeError(
            "silhouette: labels expected a tensor for a tensor and a list for a list, "
            f"got {type(labels).__name__}"
        )
    if not matrices and not len(labels):
        return []
    clusters = ragged.pack_labels("silhouette", "labels", matrices, labels)
    rows, offsets = ragged.pack("silhouette", matrices)
    checks.check_silhouette(rows, offsets, clusters)
    with checks.kernel_errors("silhouette"):
        coefficients = torch.ops.vtcd.silhouette(rows, offsets, clusters)
    if isinstance(data, Tensor):
        return coefficients
    return list(coefficients.split([len(matrix) for matrix in matrices]))
