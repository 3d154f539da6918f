"""Argument checks of the operators on masks of units, in the same words as the C++ kernels."""

from __future__ import annotations

import torch
from torch import Tensor

from vtcd_ops.ops import arguments
from vtcd_ops.ops.arguments import FLOATING
from vtcd_ops.ops.arguments import dtype_name as _dtype


def check_concept_mask(
    x: Tensor,  # [B, A, N, C]
    assign: Tensor,  # [B or 1, A, N - P]
    keep: Tensor,  # [B, U]
    num_prefix_tokens: int,
    op: str = "concept_mask",
) -> None:
    """Check what is known of the arguments of ``concept_mask`` without the values of assign."""
    arguments.tensor(op, "x", x)
    if x.dim() != 4:
        raise ValueError(f"{op}: x expected [B, A, N, C], got {list(x.shape)}")
    if x.dtype not in FLOATING:
        raise TypeError(f"{op}: x expected a floating dtype, got {_dtype(x)}")
    batch, heads, tokens = x.shape[:3]
    arguments.integer(op, "num_prefix_tokens", num_prefix_tokens)
    if not 0 <= num_prefix_tokens <= tokens:
        raise ValueError(f"{op}: num_prefix_tokens expected 0 to {tokens}, got {num_prefix_tokens}")
    arguments.tensor(op, "assign", assign)
    if assign.dtype != torch.int32:
        raise TypeError(f"{op}: assign expected int32, got {_dtype(assign)}")
    arguments.on_device(op, "assign", assign, x.device)
    assigned = tokens - num_prefix_tokens
    if (
        assign.dim() != 3
        or assign.shape[0] not in (batch, 1)
        or assign.shape[1] != heads
        or assign.shape[2] != assigned
    ):
        raise ValueError(
            f"{op}: assign expected [{batch} or 1, {heads}, {assigned}], got {list(assign.shape)}"
        )
    arguments.tensor(op, "keep", keep)
    if keep.dtype != torch.bool and keep.dtype not in FLOATING:
        raise TypeError(f"{op}: keep expected bool or a floating dtype, got {_dtype(keep)}")
    arguments.on_device(op, "keep", keep, x.device)
    if keep.dim() != 2 or keep.shape[0] != batch:
        raise ValueError(f"{op}: keep expected [{batch}, U], got {list(keep.shape)}")


def check_concept_mask_backward(
    grad: Tensor,  # [B, A, N, C]
    x: Tensor,  # [B, A, N, C]
    assign: Tensor,  # [B or 1, A, N - P]
    keep: Tensor,  # [B, U]
    num_prefix_tokens: int,
) -> None:
    """Check what is known of the arguments of the derivative of ``concept_mask``."""
    op = "_concept_mask_backward"
    check_concept_mask(x, assign, keep, num_prefix_tokens, op)
    if keep.dtype not in FLOATING:
        raise TypeError(f"{op}: keep expected a floating dtype, got {_dtype(keep)}")
    if grad.dtype not in FLOATING:
        raise TypeError(f"{op}: grad expected a floating dtype, got {_dtype(grad)}")
    arguments.on_device(op, "grad", grad, x.device)
    if grad.shape != x.shape:
        raise ValueError(f"{op}: grad expected {list(x.shape)}, got {list(grad.shape)}")


_MOST_UNITS = 2**31 - 1
_LAST_START = 2**62 - 1


def check_cris_sample(
    num_units: int, num_masks: int, ratio: float, seed: int, start: int, design: str
) -> None:
    """Check the arguments of ``cris_sample``."""
    op = "cris_sample"
    arguments.integer(op, "num_units", num_units)
    if not 2 <= num_units <= _MOST_UNITS:
        raise ValueError(f"{op}: num_units expected 2 to {_MOST_UNITS}, got {num_units}")
    arguments.at_least(op, "num_masks", num_masks, 0)
    arguments.number(op, "ratio", ratio)
    if not 0 < ratio < 1:
        raise ValueError(f"{op}: ratio expected above 0 and below 1, got {ratio:g}")
    arguments.integer(op, "seed", seed)
    arguments.integer(op, "start", start)
    if not 0 <= start <= _LAST_START:
        raise ValueError(f"{op}: start expected 0 to {_LAST_START}, got {start}")
    arguments.choice(op, "design", design, ("simple", "antithetic", "balanced"))
    arguments.output(op, "num_masks", (num_masks, num_units), 1)


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
        raise TypeError(f"{op}: keep expected bool, got {_dtype(keep)}")
    if keep.dim() != 2:
        raise ValueError(f"{op}: keep expected [M, U], got {list(keep.shape)}")
    masks, units = keep.shape
    float64, int64 = torch.float64, torch.int64
    for name, sums, dtype in (
        ("count", count, int64), ("total", total, float64), ("total_sq", total_sq, float64),
    ):  # fmt: skip
        if sums.dtype != dtype:
            expected = str(dtype).removeprefix("torch.")
            raise TypeError(f"{op}: {name} expected {expected}, got {_dtype(sums)}")
        if sums.dim() != 2 or sums.shape[0] != 2 or sums.shape[1] != units:
            raise ValueError(f"{op}: {name} expected [2, {units}], got {list(sums.shape)}")
    if drop.dtype != float64:
        raise TypeError(f"{op}: drop expected float64, got {_dtype(drop)}")
    if drop.dim() != 1 or drop.shape[0] != masks:
        raise ValueError(f"{op}: drop expected [{masks}], one per mask, got {list(drop.shape)}")
    if present is not None and present.dtype != torch.bool:
        raise TypeError(f"{op}: present expected bool, got {_dtype(present)}")
    if present is not None and (present.dim() != 1 or present.shape[0] != units):
        raise ValueError(f"{op}: present expected [{units}], got {list(present.shape)}")
