"""A ragged batch: matrices of different heights one below the other, and where each begins.

What the operators on it share: making it from what the public functions are given, and its checks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.ops import arguments
from vtcd_ops.ops.arguments import dtype_name


def matrices(op: str, data: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Return one matrix, or a list of them, as a list.

    >>> len(matrices("kmeans", torch.zeros(2, 3)))
    1

    Raises:
        TypeError: neither a tensor nor a list of tensors.
    """
    if isinstance(data, Tensor):
        return [data]
    if not isinstance(data, Iterable) or isinstance(data, (str, dict, np.ndarray)):
        raise TypeError(
            f"{op}: data expected a tensor or a list of tensors, got {type(data).__name__}"
        )
    found = list(data)
    for matrix in found:
        if not isinstance(matrix, Tensor):
            raise TypeError(f"{op}: data expected tensors, got {type(matrix).__name__}")
    return found


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
    return rows.detach(), torch.tensor(offsets, dtype=torch.int64, device="cpu")


def pack_labels(
    op: str, argument: str, data: Sequence[Tensor], labels: Tensor | Sequence[Tensor]
) -> Tensor:
    """Put the labellings of matrices one after the other, each as long as its matrix.

    >>> pack_labels("silhouette", "labels", [torch.zeros(2, 3)], [torch.tensor([0, 1])]).tolist()
    [0, 1]

    Args:
        op: the operator, for the errors.
        argument: the labels' name.
        data: the matrices [N, C].
        labels: the labelling [N] of the only matrix, or one for each matrix.

    Returns:
        int32 or int64 [ΣN].
    """
    if isinstance(labels, Tensor):
        return labels  # of one matrix: the operator checks the length
    if not isinstance(labels, Iterable) or isinstance(labels, (str, dict, np.ndarray)):
        raise TypeError(
            f"{op}: {argument} expected a tensor or a list of tensors, got {type(labels).__name__}"
        )
    labels = list(labels)
    if len(labels) != len(data):
        raise ValueError(
            f"{op}: {argument} expected one per matrix ({len(data)}), got {len(labels)}"
        )
    for index, (matrix, labelling) in enumerate(zip(data, labels, strict=True)):
        if not isinstance(labelling, Tensor):
            raise TypeError(f"{op}: {argument} expected tensors, got {type(labelling).__name__}")
        if labelling.dtype not in (torch.int32, torch.int64):
            raise TypeError(
                f"{op}: {argument} expected int32 or int64, got {dtype_name(labelling)}"
            )
        if labelling.device != matrix.device:
            raise ValueError(
                f"{op}: {argument} expected on {matrix.device}, got {labelling.device}"
            )
        if list(labelling.shape) != [matrix.shape[0]]:
            raise ValueError(
                f"{op}: {argument} expected [{matrix.shape[0]}], one per row of matrix {index}, "
                f"got {list(labelling.shape)}"
            )
    return torch.cat(list(labels))


def k_tensor(op: str, k: int | Sequence[int], count: int) -> Tensor:
    """Return the number of clusters of each matrix, int64 [P], from one for all or one for each."""
    try:
        values: list[object] = list(k)  # type: ignore[arg-type]
    except TypeError:  # one number
        values = [k] * count
    if len(values) != count:
        raise ValueError(f"{op}: k expected one per matrix ({count}), got {len(values)}")
    integers = [arguments.as_integer(op, "k", value) for value in values]
    return torch.tensor(integers, dtype=torch.int64, device="cpu")


def check_ragged(op: str, data: Tensor, offsets: Tensor) -> None:
    """Check what is known of a batch without the values of the offsets."""
    arguments.tensor(op, "data", data)
    arguments.tensor(op, "offsets", offsets)
    if data.dim() != 2:
        raise ValueError(f"{op}: data expected [N, C], got {list(data.shape)}")
    if data.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{op}: data expected float32 or float64, got {dtype_name(data)}")
    if data.shape[1] == 0:
        raise ValueError(f"{op}: data expected at least 1 channel, got {list(data.shape)}")
    if offsets.dtype != torch.int64:
        raise TypeError(f"{op}: offsets expected int64, got {dtype_name(offsets)}")
    arguments.beside(op, "offsets", offsets, data.device)
    if offsets.dim() != 1 or offsets.shape[0] == 0:
        raise ValueError(f"{op}: offsets expected [P + 1], got {list(offsets.shape)}")


def check_k(op: str, data: Tensor, offsets: Tensor, k: Tensor) -> None:
    """Check what is known of the numbers of clusters without their values."""
    arguments.tensor(op, "k", k)
    if k.dtype != torch.int64:
        raise TypeError(f"{op}: k expected int64, got {dtype_name(k)}")
    arguments.beside(op, "k", k, data.device)
    count = offsets.shape[0] - 1
    if k.dim() != 1 or k.shape[0] != count:
        raise ValueError(f"{op}: k expected [{count}], one per problem, got {list(k.shape)}")


def check_labels(op: str, argument: str, data: Tensor, labels: Tensor) -> None:
    """Check what is known of the labels of a batch's rows without their values."""
    arguments.tensor(op, argument, labels)
    if labels.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"{op}: {argument} expected int32 or int64, got {dtype_name(labels)}")
    arguments.on_device(op, argument, labels, data.device)
    if labels.dim() != 1 or labels.shape[0] != data.shape[0]:
        raise ValueError(
            f"{op}: {argument} expected [{data.shape[0]}], one per row of data, "
            f"got {list(labels.shape)}"
        )


def check_iterations(op: str, max_num_iter: int, tol: float) -> None:
    """Check when iterations are to end."""
    arguments.repeats(op, "max_num_iter", max_num_iter)
    arguments.number(op, "tol", tol)
    if not 0 <= tol < math.inf:
        raise ValueError(f"{op}: tol expected finite and at least 0, got {tol:g}")
