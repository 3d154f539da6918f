"""How well each of a set of vectors lies in its cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor

from vtcd_ops.ops import arguments, ragged


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
    check_silhouette(rows, offsets, clusters)
    with arguments.kernel_errors("silhouette"):
        coefficients = torch.ops.vtcd.silhouette(rows, offsets, clusters)
    if isinstance(data, Tensor):
        return coefficients
    return list(coefficients.split([len(matrix) for matrix in matrices]))


MOST_ROWS = 8192  # whose silhouettes are exact; among all pairs the time grows with the square


def silhouettes_of_many(
    data: Sequence[Tensor], labels: Sequence[Tensor], most: int = MOST_ROWS
) -> list[Tensor]:
    """Return the silhouettes of matrices of any length, in a time that grows with it.

    Larger ones are dealt out into parts of at most so many rows, each with the same share of
    every cluster, and a row is compared with those of its part: its mean distances are those to a
    sample.

    >>> data = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    >>> [found] = silhouettes_of_many([data], [torch.tensor([0, 0, 1, 1])])
    >>> [round(value, 3) for value in found.tolist()]
    [0.905, 0.895, 0.895, 0.905]

    Args:
        data: as of :func:`silhouette`.
        labels: as there.
        most: rows that are compared with all others.

    Returns:
        The coefficients [N] of each matrix.
    """
    places = []
    for its_labels in labels:
        order = torch.argsort(its_labels, stable=True)
        count = max(1, -(-len(order) // most))
        places.append([order[first::count] for first in range(count)])
    parts = [rows[place] for rows, its in zip(data, places, strict=True) for place in its]
    clusters = [own[place] for own, its in zip(labels, places, strict=True) for place in its]
    found = iter(silhouette(parts, clusters))
    coefficients = []
    for rows, its in zip(data, places, strict=True):
        own = rows.new_empty(len(rows))
        for place in its:
            own[place] = next(found)
        coefficients.append(own)
    return coefficients


def check_silhouette(
    data: Tensor,  # [ΣN, C]
    offsets: Tensor,  # [P + 1]
    labels: Tensor,  # [ΣN]
) -> None:
    """Check what is known of the arguments of ``silhouette`` without their values."""
    ragged.check_ragged("silhouette", data, offsets)
    ragged.check_labels("silhouette", "labels", data, labels)


@torch.library.register_fake("vtcd::silhouette")
def _silhouette_fake(
    data: Tensor,  # [ΣN, C]
    offsets: Tensor,  # [P + 1]
    labels: Tensor,  # [ΣN]
) -> Tensor:
    check_silhouette(data, offsets, labels)
    return data.new_empty((data.shape[0],))
