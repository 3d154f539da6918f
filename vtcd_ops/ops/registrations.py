"""Fake (meta) kernels of the operators."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vtcd_ops.ops import checks, mask_checks


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
    checks.check_slic3d(
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
    checks.check_tubelet_pool(features, labels, num_tubelets, interpolation)
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
    checks.check_tubelet_pool_backward(grad_means, labels, counts, grid, interpolation)
    return grad_means.new_empty((grad_means.shape[0], grad_means.shape[2], *grid))


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
    checks.check_cnmf(data, offsets, k, init, solver, max_num_iter, tol)
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
    checks.check_kmeans(data, offsets, k, num_restarts, max_num_iter, tol)
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
    checks.check_silhouette(data, offsets, labels)
    return data.new_empty((data.shape[0],))


@torch.library.register_fake("vtcd::concept_mask")
def _concept_mask_fake(
    x: Tensor,  # [B, A, N, C]
    assign: Tensor,  # [B or 1, A, N - P]
    keep: Tensor,  # [B, U]
    num_prefix_tokens: int = 0,
) -> Tensor:
    mask_checks.check_concept_mask(x, assign, keep, num_prefix_tokens)
    return torch.empty_like(x)


@torch.library.register_fake("vtcd::_concept_mask_backward")
def _concept_mask_backward_fake(
    grad: Tensor,  # [B, A, N, C]
    x: Tensor,  # [B, A, N, C]
    assign: Tensor,  # [B or 1, A, N - P]
    keep: Tensor,  # [B, U]
    num_prefix_tokens: int,
) -> tuple[Tensor, Tensor]:
    mask_checks.check_concept_mask_backward(grad, x, assign, keep, num_prefix_tokens)
    return torch.empty_like(x), torch.empty_like(keep, memory_format=torch.contiguous_format)


@torch.library.register_fake("vtcd::cris_sample")
def _cris_sample_fake(
    num_units: int,
    num_masks: int,
    ratio: float,
    seed: int,
    start: int = 0,
    design: str = "simple",
) -> Tensor:
    mask_checks.check_cris_sample(num_units, num_masks, ratio, seed, start, design)
    return torch.empty((num_masks, num_units), dtype=torch.bool, device="cpu")


@torch.library.register_fake("vtcd::cris_accumulate")
def _cris_accumulate_fake(
    count: Tensor,  # [2, U]
    total: Tensor,  # [2, U]
    total_sq: Tensor,  # [2, U]
    keep: Tensor,  # [M, U]
    drop: Tensor,  # [M]
    present: Tensor | None = None,  # [U]
) -> None:
    mask_checks.check_cris_accumulate(count, total, total_sq, keep, drop, present)


@torch.library.register_fake("vtcd::rosetta_search")
def _rosetta_search_fake(
    supports: Tensor,  # [C * W]
    videos: Tensor,  # [V + 1]
    models: Tensor,  # [D + 1]
    delta: float = 0.15,
    *,
    max_order: int = 8,
    top: int = 0,
    max_tuples: int = 1_000_000,
) -> tuple[Tensor, Tensor]:
    checks.check_rosetta_search(supports, videos, models, delta, max_order, top, max_tuples)
    num_tuples = torch.library.get_ctx().new_dynamic_size()  # as many as there are
    return (
        supports.new_empty((num_tuples, models.shape[0] - 1), dtype=torch.int32),
        supports.new_empty((num_tuples,), dtype=torch.float64),
    )


@torch.library.register_fake("vtcd::rosetta_ratios")
def _rosetta_ratios_fake(
    supports: Tensor,  # [C * W]
    videos: Tensor,  # [V + 1]
    models: Tensor,  # [D + 1]
    tuples: Tensor,  # [Q, D]
) -> Tensor:
    checks.check_rosetta_ratios(supports, videos, models, tuples)
    return supports.new_empty((tuples.shape[0], videos.shape[0] - 1), dtype=torch.float64)
