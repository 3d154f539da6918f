"""A ragged batch: matrices of different heights one below the other, and where each begins."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def pack(op: str, data: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Put matrices one below the other.

    >>> pack("kmeans", [torch.zeros(2, 3), torch.ones(1, 3)])[1].tolist()
    [0, 2, 3]

    Args:
        op: the operator, for the errors.
        data: at least one matrix [N, C], all of the same C, dtype and device.

    Returns:
        The rows [ΣN, C] and the offsets int64 [P + 1].
    """
    first = data[0]
    for matrix in data:
        if not isinstance(matrix, Tensor):
            raise TypeError(f"{op}: data expected tensors, got {type(matrix).__name__}")
        if matrix.dim() != 2:
            raise ValueError(f"{op}: data expected [N, C], got {list(matrix.shape)}")
        if matrix.shape[0] == 0:
            raise ValueError(f"{op}: data expected at least 1 row, got {list(matrix.shape)}")
        if matrix.dtype != first.dtype or matrix.device != first.device:
            raise TypeError(
                f"{op}: data expected one dtype and device, got {first.dtype} on {first.device} "
                f"and {matrix.dtype} on {matrix.device}"
            )
        if matrix.shape[1] != first.shape[1]:
            raise ValueError(
                f"{op}: data expected the same channels in all matrices, "
                f"got {first.shape[1]} and {matrix.shape[1]}"
            )
    offsets = [0]
    for matrix in data:
        offsets.append(offsets[-1] + matrix.shape[0])
    rows = data[0] if len(data) == 1 else torch.cat(list(data))
    return rows.detach(), torch.tensor(offsets, dtype=torch.int64)


def k_tensor(op: str, k: int | Sequence[int], count: int) -> Tensor:
    """Return the number of clusters of each matrix, int64 [P], from one for all or one for each."""
    values = [k] * count if isinstance(k, int) else list(k)
    if len(values) != count:
        raise ValueError(f"{op}: k expected one per matrix ({count}), got {len(values)}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{op}: k expected an integer, got {type(value).__name__}")
    return torch.tensor([int(value) for value in values], dtype=torch.int64)
