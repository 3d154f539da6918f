"""Fake (meta) kernels and derivatives of the operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vtcd_ops import _checks


@torch.library.register_fake("vtcd::slic3d")
def _slic3d_fake(
    features: Tensor,  # [B, C, t, h, w]
    size: Sequence[int],
    n_segments: int = 12,
    compactness: float = 0.1,
    *,
    max_num_iter: int = 10,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    enforce_connectivity: bool = True,
    min_size_factor: float = 0.5,
    max_size_factor: float = 3.0,
    interpolation: str = "trilinear",
) -> Tensor:
    _checks.check_slic3d(
        features, size, n_segments, compactness, max_num_iter, spacing, min_size_factor,
        max_size_factor, interpolation,
    )  # fmt: skip
    return features.new_empty((features.shape[0], *size), dtype=torch.int32)


@torch.library.register_fake("vtcd::tubelet_pool")
def _tubelet_pool_fake(
    features: Tensor,  # [B, C, t, h, w]
    labels: Tensor,  # [B, T, H, W]
    num_tubelets: int,
    interpolation: str = "trilinear",
) -> tuple[Tensor, Tensor]:
    _checks.check_tubelet_pool(features, labels, num_tubelets, interpolation)
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
    return grad_means.new_empty((grad_means.shape[0], grad_means.shape[2], *grid))


def _save_pooled(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    features, labels, _, interpolation = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(labels, output[1])
    ctx.grid = features.shape[2:]
    ctx.interpolation = interpolation


def _tubelet_pool_gradient(
    ctx: Any, grad_means: Tensor, _grad_counts: Tensor | None
) -> tuple[Tensor | None, ...]:
    labels, counts = ctx.saved_tensors
    grad = torch.ops.vtcd._tubelet_pool_backward(
        grad_means, labels, counts, ctx.grid, ctx.interpolation
    )
    return grad, None, None, None


torch.library.register_autograd(
    "vtcd::tubelet_pool", _tubelet_pool_gradient, setup_context=_save_pooled
)


def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad_means, labels, _, _, interpolation = inputs
    ctx.save_for_backward(labels)
    ctx.num_tubelets = grad_means.shape[1]
    ctx.interpolation = interpolation


def _tubelet_pool_second_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    # The means are linear in the features, so the derivative of the derivative is the mean again.
    (labels,) = ctx.saved_tensors
    means, _ = torch.ops.vtcd.tubelet_pool(grad, labels, ctx.num_tubelets, ctx.interpolation)
    return means, None, None, None, None


torch.library.register_autograd(
    "vtcd::_tubelet_pool_backward", _tubelet_pool_second_gradient, setup_context=_save_backward
)


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
    _checks.check_cnmf(data, offsets, k, init, solver, max_num_iter, tol)
    max_k = torch.library.get_ctx().new_dynamic_size()  # the largest value in k
    table = (data.shape[0], max_k)
    return (
        data.new_empty(table),
        data.new_empty(table),
        data.new_empty((k.shape[0], max_k, data.shape[1])),
        data.new_empty((k.shape[0],)),
        data.new_empty((k.shape[0],), dtype=torch.int64),
    )


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
    _checks.check_kmeans(data, offsets, k, num_restarts, max_num_iter, tol)
    max_k = torch.library.get_ctx().new_dynamic_size()  # the largest value in k
    return (
        data.new_empty((data.shape[0],), dtype=torch.int32),
        data.new_empty((k.shape[0], max_k, data.shape[1])),
        data.new_empty((k.shape[0],)),
        data.new_empty((k.shape[0],), dtype=torch.int64),
    )


@torch.library.register_fake("vtcd::silhouette")
def _silhouette_fake(
    data: Tensor,  # [ΣN, C]
    offsets: Tensor,  # [P + 1]
    labels: Tensor,  # [ΣN]
) -> Tensor:
    _checks.check_silhouette(data, offsets, labels)
    return data.new_empty((data.shape[0],))
