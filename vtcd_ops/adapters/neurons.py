"""Taking hidden neurons out of the perceptrons of a model: which weights are theirs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from vtcd_ops.adapters.heads import cut_weights, linear_heads

__all__ = ["NeuronModules", "cut_neurons", "find_neurons", "from_intervals", "to_intervals"]


@dataclass(frozen=True)
class NeuronModules:
    """Where the hidden neurons of one layer's perceptron are; everything is named from the top.

    Args:
        rows: parameters whose rows belong to neurons, and how often the neurons are repeated in
            them: 1, or 2 of a gate and what it lets through, fused. Those that are None are left
            out.
        columns: the linear layer that takes the neurons, [..., H], to the width of a token.
    """

    rows: tuple[tuple[str, int], ...]
    columns: str


#: Linear layers into the neurons and out of them, by their names in a block; how often the neurons
#: are repeated in each of the first.
_PERCEPTRONS = (
    (("intermediate.dense",), "output.dense", 1),  # VideoMAE, TimeSformer
    (("mlp.fc1",), "mlp.fc2", 1),  # ViViT, DINOv2, V-JEPA 2, TCOW, timm
    (("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj", 1),  # gated, as the giant DINOv2
    (("mlp.weights_in",), "mlp.weights_out", 2),  # the same in one layer, in older releases
    (("mlp.c_fc",), "mlp.c_proj", 1),  # CLIP, InternVideo
    (("linear1",), "linear2", 1),  # nn.TransformerEncoderLayer
)


def find_neurons(model: nn.Module, inside: str) -> NeuronModules | None:
    """Return the neurons of the block around a module, by the names that perceptrons have.

    Args:
        model: the model.
        inside: name of a module of the block, of its attention, say.

    Returns:
        None where the module lies in no block with names that are known.
    """
    names = {name for name, _ in model.named_modules()}
    block = inside
    while block:
        block = block.rpartition(".")[0]
        start = f"{block}." if block else ""
        for firsts, last, repeated in _PERCEPTRONS:
            into, out = [start + name for name in firsts], start + last
            if {*into, out} <= names and _fit(model, into, out, repeated):
                rows = tuple((name, repeated) for name, _ in linear_heads(*into))
                return NeuronModules(rows, out)
    return None


def _fit(model: nn.Module, into: Sequence[str], out: str, repeated: int) -> bool:
    last: Any = model.get_submodule(out)
    firsts: list[Any] = [model.get_submodule(name) for name in into]
    linear = all(isinstance(module, nn.Linear) for module in (last, *firsts))
    return linear and all(one.out_features == repeated * last.in_features for one in firsts)


def cut_neurons(model: nn.Module, modules: NeuronModules, kept: Sequence[int]) -> None:
    """Keep some of the neurons that a layer has, in place; none leave the bias of `columns`.

    Args:
        model: the model.
        modules: where the layer's neurons are.
        kept: places of those to keep among those that the layer has now, ascending.
    """
    cut_weights(model, modules.rows, modules.columns, kept, 1)


def to_intervals(numbers: Iterable[int]) -> list[list[int]]:
    """Return numbers as [first, last + 1] of runs without a gap.

    >>> to_intervals([3, 0, 1, 2, 7])
    [[0, 4], [7, 8]]
    """
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number:
            found[-1][1] = number + 1
        else:
            found.append([number, number + 1])
    return found


def from_intervals(intervals: Iterable[Sequence[int]]) -> list[int]:
    """Undo `to_intervals`.

    >>> from_intervals([[0, 4], [7, 8]])
    [0, 1, 2, 3, 7]
    """
    return [number for first, stop in intervals for number in range(first, stop)]
