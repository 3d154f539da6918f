"""Changing features inside a model: `edit`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor

from vtcd_ops.adapters.adapter import Adapter, Visitor
from vtcd_ops.adapters.lock import alone_in
from vtcd_ops.adapters.prunable import NeuronVisitor, PrunableAdapter
from vtcd_ops.adapters.requests import check_request, describe
from vtcd_ops.common.errors import InputError

__all__ = ["edit", "edit_neurons"]


@contextlib.contextmanager
def edit(
    adapter: Adapter,
    fn: Visitor,
    layers: Sequence[int] | None = None,
    parts: Sequence[str] = ("keys",),
) -> Iterator[None]:
    """Change queries, keys, values or outputs inside the model for as long as it is open.

    Gradients flow through `fn`. Edits can be nested (the outer one comes first) and combined with
    `capture`, which then sees the edited features. When it closes, the model is as it was. Until
    then no other thread can use the adapter: it waits.

    >>> import torch, vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> adapter = example_adapter()
    >>> clips = torch.rand(1, 4, 3, 32, 32)
    >>> plain = adapter.forward(clips)
    >>> def silence_head_1(part, layer, features):  # features [B, A, P+N, C]
    ...     keep = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    ...     return features * keep
    >>> with vtcd_ops.edit(adapter, silence_head_1, layers=[0], parts=("outputs",)):
    ...     edited = adapter.forward(clips)
    >>> torch.equal(plain, edited), torch.equal(plain, adapter.forward(clips))
    (False, True)

    Args:
        adapter: the model.
        fn: `fn(part, layer, features [B, A, P+N, C])` returns what takes the place of the features,
            of the same shape and dtype. The `adapter.num_prefix_tokens` prefix tokens come first,
            the others follow in (t, h, w) order. Frames of an image model are its batch.
        layers: which layers, counted from 0; all by default.
        parts: any of "queries", "keys", "values", "outputs".

    Raises:
        InputError: an unknown part, a layer out of range, or `fn` returning another shape.
    """
    wanted_layers, wanted_parts = check_request("edit", adapter, layers, parts)

    def visit(part: str, layer: int, features: Tensor) -> Tensor:
        edited = fn(part, layer, features)
        if not isinstance(edited, Tensor):
            raise InputError(
                f"edit: the function expected to return a tensor for the {part} of layer {layer}, "
                f"got {type(edited).__name__}"
            )
        if edited.shape != features.shape or edited.dtype != features.dtype:
            raise InputError(
                f"edit: the function expected to return {describe(features)} for the {part} of "
                f"layer {layer}, got {describe(edited)}"
            )
        return edited

    sites = {(part, layer) for part in wanted_parts for layer in wanted_layers}
    with alone_in(adapter.model), adapter.tap(sites, visit):
        yield


@contextlib.contextmanager
def edit_neurons(
    adapter: PrunableAdapter, fn: NeuronVisitor, layers: Iterable[int]
) -> Iterator[None]:
    """Change the hidden neurons of perceptrons inside the model for as long as it is open.

    As :func:`edit`: gradients flow through `fn`, and other threads wait.

    Args:
        adapter: the model.
        fn: `fn(layer, neurons [B', N', H])` returns what takes their place. Frames that a model
            looks at one by one are its batch, clip by clip; a neuron that was pruned is not there.
        layers: which layers, counted from 0.
    """
    with alone_in(adapter.model), adapter.tap_neurons(layers, fn):
        yield
