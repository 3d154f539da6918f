"""What `capture` and `edit` are asked for: checked, and spelt out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from vtcd_ops.adapters.adapter import PARTS, Adapter
from vtcd_ops.common.errors import InputError

__all__ = ["check_indices", "check_request", "describe"]


def check_request(
    caller: str, adapter: Adapter, layers: Sequence[int] | None, parts: Sequence[str]
) -> tuple[list[int], list[str]]:
    """Check adapter, layers and parts, and fills in the defaults."""
    if not isinstance(adapter, Adapter):
        raise InputError(
            f"{caller}: adapter expected an Adapter (load_model gives one, ProjectionAdapter wraps "
            f"an own model), got {type(adapter).__name__}"
        )
    _refuse_compiled(caller, adapter)
    names = [parts] if isinstance(parts, str) else list(parts)
    for part in names:
        if part not in PARTS:
            raise InputError(f"{caller}: part expected one of {', '.join(PARTS)}, got {part!r}")
    if not names:
        raise InputError(f"{caller}: parts expected at least one of {', '.join(PARTS)}, got none")
    return check_indices(caller, "layer", layers, adapter.num_layers), names


def _refuse_compiled(caller: str, adapter: Adapter) -> None:
    """Refuse a model that torch.compile has compiled, in whole or in part.

    Its graph does not see hooks that come later, and one that does see them is compiled anew and
    rounds in another way: what is captured would be nothing, or not what the model computes.
    """
    for name, module in adapter.model.named_modules():
        if "_orig_mod" in module._modules:
            what = "torch.compile(module)"
        elif module._compiled_call_impl is not None:
            what = "module.compile()"
        elif hasattr(module.forward, "_torchdynamo_orig_callable"):
            what = "torch.compile(module.forward)"
        else:
            continue
        where = f"its {name}" if name else "it"
        raise InputError(
            f"{caller}: the model of {adapter.name} expected as it was before torch.compile, got "
            f"{where} compiled ({what}): a compiled module hides its features; give the adapter "
            "the model uncompiled, and rank(..., compiled=True) compiles it where that is of use"
        )


def check_indices(caller: str, what: str, indices: Sequence[int] | None, count: int) -> list[int]:
    """Check that indices lie in 0..count-1; None stands for all."""
    if indices is None:
        return list(range(count))
    for index in indices:
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)):
            raise InputError(f"{caller}: {what} expected an integer, got {index!r}")
        if not 0 <= index < count:
            raise InputError(f"{caller}: {what} expected 0 to {count - 1}, got {index}")
    if len(indices) == 0:
        raise InputError(f"{caller}: {what}s expected at least one, got none")
    return [int(index) for index in indices]


def describe(tensor: Tensor) -> str:
    """Return the type and shape of a tensor in words.

    >>> import torch
    >>> describe(torch.zeros(2, 3))
    'float32 [2, 3]'
    """
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
