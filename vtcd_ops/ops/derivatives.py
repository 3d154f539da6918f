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

LIBRARY = torch.library.Library("vtcd", "IMPL")  # registered as long as this exists


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


def register(
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

    LIBRARY.impl(name, kernel, "Autograd")
    torch.library.register_vmap(f"vtcd::{name}", vmap, lib=LIBRARY)


def lanes(tensor: Tensor, dim: int | None, count: int) -> Tensor:
    """Bring the mapped axis, of length ``count``, to the front; repeat what has none."""
    return tensor.expand(count, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
