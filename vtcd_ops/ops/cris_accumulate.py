"""Sums of what masks did, by the units that they remove and keep."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vtcd_ops.ops import arguments, derivatives
from vtcd_ops.ops.arguments import dtype_name


def cris_accumulate(
    count: Tensor,
    total: Tensor,
    total_sq: Tensor,
    keep: Tensor,
    drop: Tensor,
    present: Tensor | None = None,
) -> None:
    """Add the drops of masks to the sums of the units they remove and keep, in place.

    >>> count = torch.zeros(2, 2, dtype=torch.int64)
    >>> total, total_sq = torch.zeros(2, 2, 2, dtype=torch.float64)
    >>> keep = torch.tensor([[True, False], [False, True], [False, False]])
    >>> drop = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    >>> cris_accumulate(count, total, total_sq, keep, drop)
    >>> total.tolist()  # removed: unit 0 by the last two masks, unit 1 by the first and the last
    [[5.0, 4.0], [1.0, 2.0]]

    Masks are added one by one in their order: sums are the same bits whatever the number of threads
    and however the masks are divided among calls.

    Nothing is added by a call that fails. Sums have no derivative.

    Args:
        count: int64 [2, U], masks that remove (row 0) and that keep (row 1) each unit.
        total: float64 [2, U], sums of their drops.
        total_sq: float64 [2, U], sums of the squares of their drops.
        keep: bool [M, U], false where a mask removes a unit.
        drop: float64 [M], by how much the metric drops under each mask.
        present: bool [U]; a unit that does not occur is neither removed nor kept.

    Raises:
        ValueError: shapes that do not fit, NaN or Inf, sums that share memory with each other or
            with what is read, or that require a gradient.
        TypeError: another dtype.
    """
    check_cris_accumulate(count, total, total_sq, keep, drop, present)
    with arguments.kernel_errors("cris_accumulate"):
        torch.ops.vtcd.cris_accumulate(count, total, total_sq, keep, drop, present)


def check_cris_accumulate(
    count: Tensor,  # [2, U]
    total: Tensor,  # [2, U]
    total_sq: Tensor,  # [2, U]
    keep: Tensor,  # [M, U]
    drop: Tensor,  # [M]
    present: Tensor | None,  # [U]
) -> None:
    """Check what is known of the arguments of ``cris_accumulate`` without the values of drop."""
    op = "cris_accumulate"
    tensors = {"count": count, "total": total, "total_sq": total_sq, "keep": keep, "drop": drop}
    if present is not None:
        tensors["present"] = present
    for name, tensor in tensors.items():
        arguments.tensor(op, name, tensor)
        arguments.on_device(op, name, tensor, count.device)
    if keep.dtype != torch.bool:
        raise TypeError(f"{op}: keep expected bool, got {dtype_name(keep)}")
    if keep.dim() != 2:
        raise ValueError(f"{op}: keep expected [M, U], got {list(keep.shape)}")
    masks, units = keep.shape
    float64, int64 = torch.float64, torch.int64
    for name, sums, dtype in (
        ("count", count, int64), ("total", total, float64), ("total_sq", total_sq, float64),
    ):  # fmt: skip
        if sums.dtype != dtype:
            expected = str(dtype).removeprefix("torch.")
            raise TypeError(f"{op}: {name} expected {expected}, got {dtype_name(sums)}")
        if sums.dim() != 2 or sums.shape[0] != 2 or sums.shape[1] != units:
            raise ValueError(f"{op}: {name} expected [2, {units}], got {list(sums.shape)}")
    if drop.dtype != float64:
        raise TypeError(f"{op}: drop expected float64, got {dtype_name(drop)}")
    if drop.dim() != 1 or drop.shape[0] != masks:
        raise ValueError(f"{op}: drop expected [{masks}], one per mask, got {list(drop.shape)}")
    if present is not None and present.dtype != torch.bool:
        raise TypeError(f"{op}: present expected bool, got {dtype_name(present)}")
    if present is not None and (present.dim() != 1 or present.shape[0] != units):
        raise ValueError(f"{op}: present expected [{units}], got {list(present.shape)}")


@torch.library.register_fake("vtcd::cris_accumulate")
def _cris_accumulate_fake(
    count: Tensor,  # [2, U]
    total: Tensor,  # [2, U]
    total_sq: Tensor,  # [2, U]
    keep: Tensor,  # [M, U]
    drop: Tensor,  # [M]
    present: Tensor | None = None,  # [U]
) -> None:
    check_cris_accumulate(count, total, total_sq, keep, drop, present)


def _accumulate_above_autograd(*args: Any) -> None:
    """Refuse to change what a gradient is asked for; sums have no derivative."""
    if torch.is_grad_enabled():
        for name, sums in zip(("count", "total", "total_sq"), args, strict=False):
            if sums.requires_grad:
                raise ValueError(
                    f"cris_accumulate: {name} expected a tensor that requires no gradient, "
                    "got one that does"
                )
    with torch._C._AutoDispatchBelowAutograd():
        torch.ops.vtcd.cris_accumulate.default(*args)


def _accumulate_in_place(keyset: Any, *args: Any) -> None:
    """Say that the sums have changed, so that what was saved of them for a gradient is not used."""
    op = torch.ops.vtcd.cris_accumulate.default
    with torch._C._AutoDispatchBelowADInplaceOrView():
        op.redispatch(keyset & torch._C._after_ADInplaceOrView_keyset, *args)
    for sums in args[:3]:
        if not sums.is_inference():
            torch.autograd.graph.increment_version(sums)


derivatives.LIBRARY.impl("cris_accumulate", _accumulate_above_autograd, "Autograd")
derivatives.LIBRARY.impl(
    "cris_accumulate", _accumulate_in_place, "ADInplaceOrView", with_keyset=True
)
