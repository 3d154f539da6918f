"""Features multiplied by what a table says of their tokens' units, and the derivatives.

A *unit* is anything that tokens can be assigned to and that can be removed: a concept of a head, a
whole head, a group of neurons.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vtcd_ops.ops import arguments, derivatives
from vtcd_ops.ops.arguments import FLOATING, dtype_name


def concept_mask(x: Tensor, assign: Tensor, keep: Tensor, num_prefix_tokens: int = 0) -> Tensor:
    """Multiply the features of every token by what a table says of its unit (equations 4, 5).

    >>> x = torch.ones(2, 1, 3, 1)  # two copies of one head: a class token and two others
    >>> assign = torch.tensor([[[0, 1]]], dtype=torch.int32)  # of the two others, for both copies
    >>> keep = torch.tensor([[True, False], [False, False]])  # a mask for each copy
    >>> concept_mask(x, assign, keep, num_prefix_tokens=1).flatten(1).tolist()
    [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]

    A bool table selects: what it does not keep becomes 0, whatever it was. A floating table
    multiplies, and is differentiable, twice, as are the features; so the gradient with respect to
    all units at once is one backward pass. Vectorises under ``torch.vmap``; masks may change from
    call to call under ``torch.compile(fullgraph=True)`` without a graph break or a recompilation.

    Args:
        x: floating [B, A, N, C], in any layout; prefix tokens come first.
        assign: int32 [B, A, N - P], or [1, A, N - P] for the whole batch: the unit of each token
            that is no prefix token, a column of ``keep``; -1 is never masked.
        keep: bool or floating [B, U].
        num_prefix_tokens: P, tokens before the first assigned one; never masked.

    Returns:
        [B, A, N, C] in the dtype and the layout of ``x``. Where its dtype is half or bfloat16 and
        ``keep`` is floating, the product is float32, rounded once.

    Raises:
        ValueError: shapes that do not fit, a unit out of range.
        TypeError: another dtype.
    """
    check_concept_mask(x, assign, keep, num_prefix_tokens)
    with arguments.kernel_errors("concept_mask"):
        masked: Tensor = torch.ops.vtcd.concept_mask(x, assign, keep, num_prefix_tokens)
    return masked


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
        raise TypeError(f"{op}: x expected a floating dtype, got {dtype_name(x)}")
    batch, heads, tokens = x.shape[:3]
    arguments.integer(op, "num_prefix_tokens", num_prefix_tokens)
    if not 0 <= num_prefix_tokens <= tokens:
        raise ValueError(f"{op}: num_prefix_tokens expected 0 to {tokens}, got {num_prefix_tokens}")
    arguments.tensor(op, "assign", assign)
    if assign.dtype != torch.int32:
        raise TypeError(f"{op}: assign expected int32, got {dtype_name(assign)}")
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
        raise TypeError(f"{op}: keep expected bool or a floating dtype, got {dtype_name(keep)}")
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
        raise TypeError(f"{op}: keep expected a floating dtype, got {dtype_name(keep)}")
    if grad.dtype not in FLOATING:
        raise TypeError(f"{op}: grad expected a floating dtype, got {dtype_name(grad)}")
    arguments.on_device(op, "grad", grad, x.device)
    if grad.shape != x.shape:
        raise ValueError(f"{op}: grad expected {list(x.shape)}, got {list(grad.shape)}")


@torch.library.register_fake("vtcd::concept_mask")
def _concept_mask_fake(
    x: Tensor,  # [B, A, N, C]
    assign: Tensor,  # [B or 1, A, N - P]
    keep: Tensor,  # [B, U]
    num_prefix_tokens: int = 0,
) -> Tensor:
    check_concept_mask(x, assign, keep, num_prefix_tokens)
    return torch.empty_like(x)


@torch.library.register_fake("vtcd::_concept_mask_backward")
def _concept_mask_backward_fake(
    grad: Tensor,  # [B, A, N, C]
    x: Tensor,  # [B, A, N, C]
    assign: Tensor,  # [B or 1, A, N - P]
    keep: Tensor,  # [B, U]
    num_prefix_tokens: int,
) -> tuple[Tensor, Tensor]:
    check_concept_mask_backward(grad, x, assign, keep, num_prefix_tokens)
    return torch.empty_like(x), torch.empty_like(keep, memory_format=torch.contiguous_format)


def _save_masked(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, assign, keep, ctx.num_prefix_tokens = inputs
    # The features are needed for the derivative in keep only, and are not held for any other.
    ctx.save_for_backward(x if ctx.needs_input_grad[2] else None, assign, keep)


def _mask_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, assign, keep = ctx.saved_tensors
    prefix = ctx.num_prefix_tokens
    if x is None:
        return torch.ops.vtcd.concept_mask(grad, assign, keep, prefix), None, None, None
    grad_x, grad_keep = torch.ops.vtcd._concept_mask_backward(grad, x, assign, keep, prefix)
    return grad_x if ctx.needs_input_grad[0] else None, None, grad_keep, None


def _times_units(x: Tensor, assign: Tensor, table: Tensor, num_prefix_tokens: int) -> Tensor:
    """Multiply features by a table [B, U] where tokens without a unit count for nothing, not once.

    They, and prefix tokens, get a unit of their own, which is 0.
    """
    everywhere = torch.nn.functional.pad(assign, (num_prefix_tokens, 0), value=-1)
    everywhere = torch.where(everywhere < 0, table.shape[1], everywhere)
    return torch.ops.vtcd.concept_mask(x, everywhere, torch.nn.functional.pad(table, (0, 1)))


def _sum(terms: list[Tensor]) -> Tensor | None:
    return sum(terms[1:], start=terms[0]) if terms else None


def _mask_tangent(
    primals: tuple[Any, ...], tangents: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    """The product is linear in the features and in the table."""
    x, assign, keep, prefix = primals
    dx, _, dkeep, _ = tangents
    terms = []
    if dx is not None:
        terms.append(torch.ops.vtcd.concept_mask(dx, assign, keep, prefix))
    if dkeep is not None:
        terms.append(_times_units(x, assign, dkeep, prefix))
    return (_sum(terms),)


def _mask_vmap(
    info: Any,
    in_dims: tuple[int | None, ...],
    x: Tensor,  # [B, A, N, C], and an axis that is mapped over
    assign: Tensor,  # [B or 1, A, N - P]
    keep: Tensor,  # [B, U]
    num_prefix_tokens: int = 0,
) -> tuple[Tensor, int]:
    """Take the mapped axis as part of the batch."""
    count = info.batch_size
    features = derivatives.lanes(x, in_dims[0], count)
    units = _lane_units(assign, in_dims[1], count, features.shape[1])
    table = derivatives.lanes(keep, in_dims[2], count).flatten(0, 1)
    masked = torch.ops.vtcd.concept_mask(features.flatten(0, 1), units, table, num_prefix_tokens)
    return masked.unflatten(0, features.shape[:2]), 0


def _lane_units(assign: Tensor, dim: int | None, count: int, batch: int) -> Tensor:
    """Return the units of all lanes: one row where all share it."""
    if dim is None and assign.shape[0] == 1:
        return assign
    return derivatives.lanes(assign, dim, count).expand(-1, batch, -1, -1).flatten(0, 1)


derivatives.register("concept_mask", (0,), _save_masked, _mask_gradient, _mask_tangent, _mask_vmap)


def _save_mask_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    grad, x, assign, keep, ctx.num_prefix_tokens = inputs
    ctx.save_for_backward(grad, x, assign, keep)


def _mask_second_gradient(
    ctx: Any, second_x: Tensor, second_keep: Tensor
) -> tuple[Tensor | None, ...]:
    """Derive <second_x, grad * keep[assign]> + <second_keep[assign], grad * x>."""
    grad, x, assign, keep = ctx.saved_tensors
    prefix = ctx.num_prefix_tokens
    of_grad = torch.ops.vtcd.concept_mask(second_x, assign, keep, prefix) + _times_units(
        x, assign, second_keep, prefix
    )
    _, of_keep = torch.ops.vtcd._concept_mask_backward(second_x, grad, assign, keep, prefix)
    return of_grad, _times_units(grad, assign, second_keep, prefix), None, of_keep, None


def _mask_backward_tangent(
    primals: tuple[Any, ...], tangents: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    """Derive grad * keep[assign], linear in either, and the units' sums of grad * x."""
    grad, x, assign, keep, prefix = primals
    dgrad, dx, _, dkeep, _ = tangents
    of_x, of_keep = [], []
    if dgrad is not None:
        first, second = torch.ops.vtcd._concept_mask_backward(dgrad, x, assign, keep, prefix)
        of_x.append(first)
        of_keep.append(second)
    if dx is not None:
        of_keep.append(torch.ops.vtcd._concept_mask_backward(grad, dx, assign, keep, prefix)[1])
    if dkeep is not None:
        of_x.append(_times_units(grad, assign, dkeep, prefix))
    return _sum(of_x), _sum(of_keep)


def _mask_backward_vmap(
    info: Any,
    in_dims: tuple[int | None, ...],
    grad: Tensor,  # [B, A, N, C], and an axis that is mapped over
    x: Tensor,  # [B, A, N, C]
    assign: Tensor,  # [B or 1, A, N - P]
    keep: Tensor,  # [B, U]
    num_prefix_tokens: int,
) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    """Take the mapped axis as part of the batch."""
    count = info.batch_size
    grads, features = (
        derivatives.lanes(grad, in_dims[0], count),
        derivatives.lanes(x, in_dims[1], count),
    )
    units = _lane_units(assign, in_dims[2], count, features.shape[1])
    table = derivatives.lanes(keep, in_dims[3], count)
    grad_x, grad_keep = torch.ops.vtcd._concept_mask_backward(
        grads.flatten(0, 1), features.flatten(0, 1), units, table.flatten(0, 1), num_prefix_tokens
    )
    lanes = features.shape[:2]
    return (grad_x.unflatten(0, lanes), grad_keep.unflatten(0, lanes)), (0, 0)


derivatives.register(
    "_concept_mask_backward", (), _save_mask_backward, _mask_second_gradient,
    _mask_backward_tangent, _mask_backward_vmap,
)  # fmt: skip
