"""What one clip costs: multiply-adds, and parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.base import AttentionAdapter
from vtcd_ops.adapters.lock import evaluating
from vtcd_ops.common.errors import InputError

__all__ = ["Cost", "UnitCosts", "count_cost", "count_unit_costs"]


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Attributes:
        macs: multiply-adds of one clip, in matrix products and convolutions.
        parameters: numbers that are trained or could be.
    """

    macs: int
    parameters: int

    def __str__(self) -> str:
        return f"{self.macs / 1e9:.4g} GMACs, {self.parameters / 1e6:.4g} M parameters"


def count_cost(adapter: Adapter, *, inputs: Mapping[str, Tensor] | None = None) -> Cost:
    """Count the multiply-adds of one clip, and the parameters.

    Counted as `torch.utils.flop_counter` does, halved, with attention as the plain products that
    its mathematics asks for; norms, softmax and sums are not counted. (The paper's "GFLOPs" are
    these multiply-adds.) Nothing is computed: the shapes alone pass through a copy of the model.

    >>> import vtcd_ops
    >>> adapter = vtcd_ops.load_model("hf_videomae:mini")
    >>> smaller = vtcd_ops.prune(adapter, heads=[(0, 0), (0, 1)])
    >>> vtcd_ops.count_cost(smaller).macs < vtcd_ops.count_cost(adapter).macs
    True

    Args:
        adapter: the model; all that its `forward` runs is counted.
        inputs: what its forward takes beside a clip, with a batch axis, where it is no mask.
    """
    parameters = sum(p.numel() for p in adapter.model.parameters())
    return Cost(_count(_skeleton(adapter), inputs), parameters)


@dataclass(frozen=True)
class UnitCosts:
    """What a model costs, and what of it one head or one neuron of each layer takes.

    Attributes:
        total: multiply-adds of a clip.
        head, neuron: multiply-adds that a layer costs less without one; 0 where it has none.
    """

    total: int
    head: list[int]
    neuron: list[int]


def count_unit_costs(adapter: AttentionAdapter) -> UnitCosts:
    """Count what a clip costs less without a head, and without a neuron, of each layer."""
    skeleton = _skeleton(adapter)
    total = _count(skeleton)

    def heads(layers: list[int]) -> int:
        gone = [(layer, adapter.kept_heads(layer)[0]) for layer in layers]
        return total - _count(skeleton.without(gone, {}, ""))

    def neurons(layers: list[int]) -> int:
        gone = {layer: adapter.kept_neurons(layer)[:1] for layer in layers}
        return total - _count(skeleton.without([], gone, ""))

    every = range(adapter.num_layers)
    has_heads = [layer for layer in every if adapter.kept_heads(layer)]
    has_neurons = [layer for layer in every if adapter.kept_neurons(layer)]
    return UnitCosts(
        total,
        _by_layer(adapter.num_layers, has_heads, heads),
        _by_layer(adapter.num_layers, has_neurons, neurons),
    )


def _by_layer(num_layers: int, layers: list[int], saved: Callable[[list[int]], int]) -> list[int]:
    """What one unit of each layer saves: that of the first where all save that much together."""
    costs = [0] * num_layers
    if not layers:
        return costs
    first = saved(layers[:1])
    alike = saved(layers) == first * len(layers)
    for layer in layers:
        costs[layer] = first if alike else saved([layer])
    return costs


def _skeleton(adapter: Any) -> Any:
    """The same adapter, around the shapes alone of its model."""
    skeleton: Any = copy.copy(adapter)
    skeleton.model = _shapes_alone(adapter.model)
    return skeleton


def _count(skeleton: Any, inputs: Mapping[str, Tensor] | None = None) -> int:
    """The multiply-adds of one clip."""
    frames: Any = getattr(skeleton, "frames", None)
    if frames is None:
        raise InputError(f"count_cost: {skeleton.name} expected to have frames, whose size it sees")
    clip = torch.empty(1, skeleton.num_frames, 3, *frames.size, device="meta")
    more = dict(inputs or {})
    if inputs is None and "query_mask" in skeleton.sample_fields:
        more["query"] = torch.empty(1, 1, skeleton.num_frames, *frames.size, device="meta")
    more = {name: x.to("meta") for name, x in more.items()}
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), evaluating(skeleton.model), sdpa_kernel(SDPBackend.MATH), counter:
        skeleton.forward(clip, **more)
    return counter.get_total_flops() // 2


def _shapes_alone(model: nn.Module) -> nn.Module:
    """A copy of a model without its numbers, which takes no memory."""
    known: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        plain = isinstance(tensor, nn.Parameter)
        known[id(tensor)] = nn.Parameter(empty, requires_grad=False) if plain else empty
    return copy.deepcopy(model, known)
