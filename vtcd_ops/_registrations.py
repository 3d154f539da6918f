"""Fake (meta) kernels and derivatives of the operators."""

from __future__ import annotations

import torch
from torch import Tensor

from vtcd_ops import _checks


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
