"""Convex factorisation of sets of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, overload

import torch
from torch import Tensor

from vtcd_ops.ops import arguments, ragged


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
        max_num_iter: sweeps or updates at most; no more than 1,000,000.
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
    max_num_iter = arguments.as_integer("cnmf", "max_num_iter", max_num_iter)
    seed = arguments.as_integer("cnmf", "seed", seed)
    tol = arguments.as_number("cnmf", "tol", tol)
    check_cnmf(rows, offsets, k_each, labels, solver, max_num_iter, tol)
    with arguments.kernel_errors("cnmf"):
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


def check_cnmf(
    data: Tensor,  # [ΣN, C]
    offsets: Tensor,  # [P + 1]
    k: Tensor,  # [P]
    init: Tensor | None,  # [ΣN]
    solver: str,
    max_num_iter: int,
    tol: float,
) -> None:
    """Check what is known of the arguments of ``cnmf`` without their values."""
    ragged.check_ragged("cnmf", data, offsets)
    ragged.check_k("cnmf", data, offsets, k)
    if init is not None:
        ragged.check_labels("cnmf", "init", data, init)
    arguments.choice("cnmf", "solver", solver, ("cd", "mu"))
    ragged.check_iterations("cnmf", max_num_iter, tol)


@torch.library.register_fake("vtcd::cnmf")
def _cnmf_fake(
    data: Tensor,  # [ΣN, C]
    offsets: Tensor,  # [P + 1]
    k: Tensor,  # [P]
    *,
    init: Tensor | None = None,  # [ΣN]
    solver: str = "cd",
    max_num_iter: int = 1000,
    tol: float = 1e-6,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    check_cnmf(data, offsets, k, init, solver, max_num_iter, tol)
    max_k = torch.library.get_ctx().new_dynamic_size()  # the largest value in k
    table = (data.shape[0], max_k)
    return (
        data.new_empty(table),
        data.new_empty(table),
        data.new_empty((k.shape[0], max_k, data.shape[1])),
        data.new_empty((k.shape[0],)),
        data.new_empty((k.shape[0],), dtype=torch.int64),
    )
