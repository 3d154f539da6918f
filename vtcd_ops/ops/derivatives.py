"""Derivatives of the operators: backward, forward, of any order, and under `torch.func`.

`torch.library.register_autograd` knows the backward mode outside `torch.func` only: there it fails,
and a forward-mode tangent is dropped without a word. So the operators have kernels of their own for
the key "Autograd", which do at one level of `torch.func` what torch's built-in operators do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction

_LIBRARY = torch.library.Library("vtcd", "IMPL")  # registered as long as this exists


def _below_autograd(op: Any, args: tuple[Any, ...]) -> Any:
    """Call an operator's kernel below autograd, or the next level of `torch.func`.

    Inside a function's forward the modes of that function's level are off; those of the level below
    have to be on.
    """
    if not torch._C._are_functorch_transforms_active():
        with torch._C._AutoDispatchBelowAutograd():
            return op(*args)
    with (
        torch.enable_grad(),
        forward_ad._set_fwd_grad_enabled(True),
        torch._C._AutoDispatchBelowAutograd(),
    ):
        return op(*args)


def _split(value: Any) -> tuple[Any, Tensor | None]:
    """Return an argument and its forward-mode tangent, None where it has none."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value, None
    primal, tangent = forward_ad.unpack_dual(value)
    return primal, tangent


def _function(
    name: str,
    op: Any,
    setup_context: Callable[..., None],
    backward: Callable[..., Any],
    tangents_of: Callable[..., tuple[Tensor | None, ...]],
) -> Any:
    """Return the autograd function of an operator at one level."""

    def forward(*args: Any) -> Any:
        return _below_autograd(op, args)

    def save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        setup_context(ctx, inputs, output)
        tensors = [value if isinstance(value, Tensor) else None for value in inputs]
        ctx.save_for_forward(*tensors)
        ctx.other_inputs = [None if isinstance(value, Tensor) else value for value in inputs]

    def forward_mode(ctx: Any, *tangents: Tensor | None) -> Any:
        primals = tuple(
            other if tensor is None else tensor
            for tensor, other in zip(ctx.saved_tensors, ctx.other_inputs, strict=True)
        )
        found = tangents_of(primals, tangents)
        return found if len(found) > 1 else found[0]

    return type(
        f"vtcd_{name.strip('_')}",
        (_SingleLevelFunction,),
        {
            "forward": staticmethod(forward),
            "setup_context": staticmethod(save),
            "backward": staticmethod(backward),
            "jvp": staticmethod(forward_mode),
        },
    )


def _register(
    name: str,
    defaults: tuple[Any, ...],
    setup_context: Callable[..., None],
    backward: Callable[..., Any],
    tangents_of: Callable[..., tuple[Tensor | None, ...]],
    vmap: Callable[..., Any],
) -> None:
    """Register the derivatives of an operator, and how it is mapped over.

    Args:
        name: of the operator.
        defaults: of its last arguments.
        setup_context, backward: as of a `torch.autograd.Function`.
        tangents_of: from the arguments and their tangents (None: 0), those of the results.
        vmap: as of a `torch.autograd.Function`.
    """
    op = getattr(torch.ops.vtcd, name).default
    num_args = len(op._schema.arguments)

    function = _function(name, op, setup_context, backward, tangents_of)

    def apply(args: tuple[Any, ...], needed: bool) -> Any:
        if not needed and not (torch.is_grad_enabled() and torch._C._any_requires_grad(*args)):
            return _below_autograd(op, args)
        with enable_single_level_autograd_function():
            return function.apply(*args)

    def kernel(*args: Any) -> Any:
        args = (*args, *defaults[len(defaults) - (num_args - len(args)) :])[:num_args]
        is_dual = forward_ad._current_level >= 0
        if not is_dual or not torch._C._are_functorch_transforms_active():
            return apply(args, is_dual)
        # One level of several: a function's own forward mode would lose the tangents of the others.
        primals, tangents = zip(*(_split(value) for value in args), strict=True)
        results = apply(primals, False)
        if all(tangent is None for tangent in tangents):
            return results
        found = tangents_of(primals, tangents)
        several = isinstance(results, tuple)
        duals = tuple(
            result if tangent is None else forward_ad.make_dual(result, tangent)
            for result, tangent in zip(results if several else (results,), found, strict=True)
        )
        return duals if several else duals[0]

    _LIBRARY.impl(name, kernel, "Autograd")
    torch.library.register_vmap(f"vtcd::{name}", vmap, lib=_LIBRARY)


def _lanes(tensor: Tensor, dim: int | None, count: int) -> Tensor:
    """Bring the mapped axis, of length ``count``, to the front; repeat what has none."""
    return tensor.expand(count, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


# --- concept_mask ---------------------------------------------------------------------------------


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
    features = _lanes(x, in_dims[0], count)
    units = _lane_units(assign, in_dims[1], count, features.shape[1])
    table = _lanes(keep, in_dims[2], count).flatten(0, 1)
    masked = torch.ops.vtcd.concept_mask(features.flatten(0, 1), units, table, num_prefix_tokens)
    return masked.unflatten(0, features.shape[:2]), 0


def _lane_units(assign: Tensor, dim: int | None, count: int, batch: int) -> Tensor:
    """Return the units of all lanes: one row where all share it."""
    if dim is None and assign.shape[0] == 1:
        return assign
    return _lanes(assign, dim, count).expand(-1, batch, -1, -1).flatten(0, 1)


_register("concept_mask", (0,), _save_masked, _mask_gradient, _mask_tangent, _mask_vmap)


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
    grads, features = _lanes(grad, in_dims[0], count), _lanes(x, in_dims[1], count)
    units = _lane_units(assign, in_dims[2], count, features.shape[1])
    table = _lanes(keep, in_dims[3], count)
    grad_x, grad_keep = torch.ops.vtcd._concept_mask_backward(
        grads.flatten(0, 1), features.flatten(0, 1), units, table.flatten(0, 1), num_prefix_tokens
    )
    lanes = features.shape[:2]
    return (grad_x.unflatten(0, lanes), grad_keep.unflatten(0, lanes)), (0, 0)


_register(
    "_concept_mask_backward", (), _save_mask_backward, _mask_second_gradient,
    _mask_backward_tangent, _mask_backward_vmap,
)  # fmt: skip


# --- tubelet_pool ---------------------------------------------------------------------------------


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
    volumes = _lanes(features, in_dims[0], info.batch_size)
    means, counts = torch.ops.vtcd.tubelet_pool(
        volumes.flatten(0, 1), _lanes(labels, in_dims[1], info.batch_size).flatten(0, 1),
        num_tubelets, interpolation,
    )  # fmt: skip
    lanes = volumes.shape[:2]
    return (means.unflatten(0, lanes), counts.unflatten(0, lanes)), (0, 0)


_register("tubelet_pool", ("trilinear",), _save_pooled, _pool_gradient, _pool_tangent, _pool_vmap)


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
        _lanes(tensor, dim, info.batch_size)
        for tensor, dim in zip((grad_means, labels, counts), in_dims[:3], strict=True)
    )
    grad = torch.ops.vtcd._tubelet_pool_backward(
        grads.flatten(0, 1), volumes.flatten(0, 1), voxels.flatten(0, 1), grid, interpolation
    )
    return grad.unflatten(0, grads.shape[:2]), 0


_register(
    "_tubelet_pool_backward", (), _save_pool_backward, _pool_second_gradient,
    _pool_backward_tangent, _pool_backward_vmap,
)  # fmt: skip


# --- cris_accumulate ------------------------------------------------------------------------------


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


_LIBRARY.impl("cris_accumulate", _accumulate_above_autograd, "Autograd")
_LIBRARY.impl("cris_accumulate", _accumulate_in_place, "ADInplaceOrView", with_keyset=True)
