"""Means of interpolated features over the labels of a volume, and their derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vtcd_ops.ops import arguments, derivatives, volumes
from vtcd_ops.ops.arguments import FLOATING, dtype_name


def tubelet_pool(
    features: Tensor,
    labels: Tensor,
    num_tubelets: int,
    interpolation: str = "trilinear",
) -> tuple[Tensor, Tensor]:
    """Average interpolated features over each label of a volume (equation 1 of the paper).

    >>> features = torch.tensor([0.0, 1.0, 2.0]).reshape(1, 1, 1, 1, 3)
    >>> labels = torch.tensor([0, 0, 1, 1, -1]).reshape(1, 1, 1, 5)
    >>> means, counts = tubelet_pool(features, labels, 3)
    >>> means.flatten().tolist(), counts.flatten().tolist()
    ([0.25, 1.25, 0.0], [2, 2, 0])

    The interpolated volume is never made: the voxels' interpolation weights are added up on the
    token grid, then multiplied with the features. Differentiable in the features, twice. NaN and
    infinity reach the means of those tubelets alone that have a voxel on their token.

    Args:
        features: floating [B, C, t, h, w].
        labels: int32 or int64 [B, T, H, W], below ``num_tubelets``; -1 belongs to no tubelet.
        num_tubelets: S, how many labels there are at most.
        interpolation: ``"trilinear"`` or ``"nearest"``, as in :func:`slic3d`.

    Returns:
        Means [B, S, C] in the dtype of the features, 0 for a label that does not occur, and the
        number of voxels of each label, int64 [B, S].

    Raises:
        ValueError: shapes that do not fit, a label out of range.
        TypeError: another dtype.
    """
    check_tubelet_pool(features, labels, num_tubelets, interpolation)
    volumes.warn_of_order("tubelet_pool", features, labels.shape[1:])
    with arguments.kernel_errors("tubelet_pool"):
        means, counts = torch.ops.vtcd.tubelet_pool(features, labels, num_tubelets, interpolation)
    return means, counts


def check_tubelet_pool(
    features: Tensor,  # [B, C, t, h, w]
    labels: Tensor,  # [B, T, H, W]
    num_tubelets: int,
    interpolation: str,
) -> None:
    """Check what is known of the arguments of ``tubelet_pool`` without the values of the labels."""
    op = "tubelet_pool"
    volumes.check_features(op, features)
    _check_volume_labels(op, labels, features.shape[0], features.device)
    arguments.at_least(op, "num_tubelets", num_tubelets, 0)
    shape = (features.shape[0], num_tubelets, features.shape[1])
    arguments.output(op, "num_tubelets", shape, features.element_size())
    volumes.check_interpolation(op, interpolation)


def check_tubelet_pool_backward(
    grad_means: Tensor,  # [B, S, C]
    labels: Tensor,  # [B, T, H, W]
    counts: Tensor,  # [B, S]
    grid: Sequence[int],
    interpolation: str,
) -> None:
    """Check what is known of the arguments of the derivative of ``tubelet_pool``."""
    op = "_tubelet_pool_backward"
    if grad_means.dim() != 3 or grad_means.dtype not in FLOATING:
        raise ValueError(
            f"{op}: grad_means expected floating [B, S, C], "
            f"got {dtype_name(grad_means)} {list(grad_means.shape)}"
        )
    batch, num_tubelets = grad_means.shape[:2]
    _check_volume_labels(op, labels, batch, grad_means.device)
    if counts.dtype != torch.int64 or counts.shape != (batch, num_tubelets):
        raise ValueError(
            f"{op}: counts expected int64 [{batch}, {num_tubelets}], "
            f"got {dtype_name(counts)} {list(counts.shape)}"
        )
    arguments.on_device(op, "counts", counts, grad_means.device)
    if len(grid) != 3 or any(length <= 0 for length in grid):
        raise ValueError(f"{op}: grid expected positive numbers (t, h, w), got {list(grid)}")
    shape = (batch, grad_means.shape[2], *grid)
    arguments.output(op, "grid", shape, grad_means.element_size())
    volumes.check_interpolation(op, interpolation)


def _check_volume_labels(op: str, labels: Tensor, batch: int, device: torch.device) -> None:
    arguments.tensor(op, "labels", labels)
    if labels.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"{op}: labels expected int32 or int64, got {dtype_name(labels)}")
    arguments.on_device(op, "labels", labels, device)
    if labels.dim() != 4 or labels.shape[0] != batch:
        raise ValueError(f"{op}: labels expected [{batch}, T, H, W], got {list(labels.shape)}")
    if any(length == 0 for length in labels.shape[1:]):
        raise ValueError(f"{op}: labels expected voxels, got {list(labels.shape)}")


@torch.library.register_fake("vtcd::tubelet_pool")
def _tubelet_pool_fake(
    features: Tensor,  # [B, C, t, h, w]
    labels: Tensor,  # [B, T, H, W]
    num_tubelets: int,
    interpolation: str = "trilinear",
) -> tuple[Tensor, Tensor]:
    check_tubelet_pool(features, labels, num_tubelets, interpolation)
    batch, channels = features.shape[:2]
    return (
        features.new_empty((batch, num_tubelets, channels)),
        features.new_empty((batch, num_tubelets), dtype=torch.int64),
    )


@torch.library.register_fake("vtcd::_tubelet_pool_backward")
def _tubelet_pool_backward_fake(
    grad_means: Tensor,  # [B, S, C]
    labels: Tensor,  # [B, T, H, W]
    counts: Tensor,  # [B, S]
    grid: Sequence[int],
    interpolation: str,
) -> Tensor:
    check_tubelet_pool_backward(grad_means, labels, counts, grid, interpolation)
    return grad_means.new_empty((grad_means.shape[0], grad_means.shape[2], *grid))


def _save_pooled(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    features, labels, _, ctx.interpolation = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(labels, output[1])
    ctx.grid = features.shape[2:]


def _pool_gradient(
    ctx: Any, grad_means: Tensor, _grad_counts: Tensor | None
) -> tuple[Tensor | None, ...]:
    labels, counts = ctx.saved_tensors
    grad = torch.ops.vtcd._tubelet_pool_backward(
        grad_means, labels, counts, ctx.grid, ctx.interpolation
    )
    return grad, None, None, None


def _pool_tangent(
    primals: tuple[Any, ...], tangents: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    """The means are linear in the features; the counts do not depend on them."""
    _, labels, num_tubelets, interpolation = primals
    means, _ = torch.ops.vtcd.tubelet_pool(tangents[0], labels, num_tubelets, interpolation)
    return means, None


def _pool_vmap(
    info: Any,
    in_dims: tuple[int | None, ...],
    features: Tensor,  # [B, C, t, h, w], and an axis that is mapped over
    labels: Tensor,  # [B, T, H, W]
    num_tubelets: int,
    interpolation: str = "trilinear",
) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    """Take the mapped axis as part of the batch."""
    volumes = derivatives.lanes(features, in_dims[0], info.batch_size)
    means, counts = torch.ops.vtcd.tubelet_pool(
        volumes.flatten(0, 1), derivatives.lanes(labels, in_dims[1], info.batch_size).flatten(0, 1),
        num_tubelets, interpolation,
    )  # fmt: skip
    lanes = volumes.shape[:2]
    return (means.unflatten(0, lanes), counts.unflatten(0, lanes)), (0, 0)


derivatives.register(
    "tubelet_pool", ("trilinear",), _save_pooled, _pool_gradient, _pool_tangent, _pool_vmap
)


def _save_pool_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad_means, labels, _, _, ctx.interpolation = inputs
    ctx.save_for_backward(labels)
    ctx.num_tubelets = grad_means.shape[1]


def _pool_second_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    # The means are linear in the features, so the derivative of the derivative is the mean again.
    (labels,) = ctx.saved_tensors
    means, _ = torch.ops.vtcd.tubelet_pool(grad, labels, ctx.num_tubelets, ctx.interpolation)
    return means, None, None, None, None


def _pool_backward_tangent(
    primals: tuple[Any, ...], tangents: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    """It is linear in the gradient of the means."""
    return (torch.ops.vtcd._tubelet_pool_backward(tangents[0], *primals[1:]),)


def _pool_backward_vmap(
    info: Any,
    in_dims: tuple[int | None, ...],
    grad_means: Tensor,  # [B, S, C], and an axis that is mapped over
    labels: Tensor,  # [B, T, H, W]
    counts: Tensor,  # [B, S]
    grid: list[int],
    interpolation: str,
) -> tuple[Tensor, int]:
    """Take the mapped axis as part of the batch."""
    grads, volumes, voxels = (
        derivatives.lanes(tensor, dim, info.batch_size)
        for tensor, dim in zip((grad_means, labels, counts), in_dims[:3], strict=True)
    )
    grad = torch.ops.vtcd._tubelet_pool_backward(
        grads.flatten(0, 1), volumes.flatten(0, 1), voxels.flatten(0, 1), grid, interpolation
    )
    return grad.unflatten(0, grads.shape[:2]), 0


derivatives.register(
    "_tubelet_pool_backward", (), _save_pool_backward, _pool_second_gradient,
    _pool_backward_tangent, _pool_backward_vmap,
)  # fmt: skip
