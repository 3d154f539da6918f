"""K-means of sets of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, overload

import torch
from torch import Tensor

from vtcd_ops.ops import arguments, ragged


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
        num_restarts: runs from different starts, of which the best is returned; at most 1,000,000.
        max_num_iter: iterations of a run at most; no more than 1,000,000.
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
    num_restarts = arguments.as_integer("kmeans", "num_restarts", num_restarts)
    max_num_iter = arguments.as_integer("kmeans", "max_num_iter", max_num_iter)
    seed = arguments.as_integer("kmeans", "seed", seed)
    tol = arguments.as_number("kmeans", "tol", tol)
    check_kmeans(rows, offsets, k_each, num_restarts, max_num_iter, tol)
    with arguments.kernel_errors("kmeans"):
        labels, centers, inertia, num_iter = torch.ops.vtcd.kmeans(
            rows, offsets, k_each, num_restarts=num_restarts, max_num_iter=max_num_iter, tol=tol,
            seed=seed,
        )  # fmt: skip
    results = [
        KMeans(labels[first:last], centers[p, : int(k_each[p])], inertia[p], num_iter[p])
        for p, (first, last) in enumerate(pairwise(offsets.tolist()))
    ]
    return results[0] if isinstance(data, Tensor) else results


def check_kmeans(
    data: Tensor,  # [ΣN, C]
    offsets: Tensor,  # [P + 1]
    k: Tensor,  # [P]
    num_restarts: int,
    max_num_iter: int,
    tol: float,
) -> None:
    """Check what is known of the arguments of ``kmeans`` without their values."""
    ragged.check_ragged("kmeans", data, offsets)
    ragged.check_k("kmeans", data, offsets, k)
    arguments.repeats("kmeans", "num_restarts", num_restarts)
    ragged.check_iterations("kmeans", max_num_iter, tol)


@torch.library.register_fake("vtcd::kmeans")
def _kmeans_fake(
    data: Tensor,  # [ΣN, C]
    offsets: Tensor,  # [P + 1]
    k: Tensor,  # [P]
    *,
    num_restarts: int = 10,
    max_num_iter: int = 300,
    tol: float = 1e-4,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    check_kmeans(data, offsets, k, num_restarts, max_num_iter, tol)
    max_k = torch.library.get_ctx().new_dynamic_size()  # the largest value in k
    return (
        data.new_empty((data.shape[0],), dtype=torch.int32),
        data.new_empty((k.shape[0], max_k, data.shape[1])),
        data.new_empty((k.shape[0],)),
        data.new_empty((k.shape[0],), dtype=torch.int64),
    )
