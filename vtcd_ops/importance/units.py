"""Units whose importance is measured: concepts of heads, whole heads, or groups of neurons.

A unit is a row of a table (layer, head, concept); the concept of a whole head is -1. A group of
hidden neurons of a layer's perceptron is (layer, -1, group): so many neurons with numbers that
follow each other. Where a unit of heads lies in a video is a map of unit numbers over the tokens of
every head, -1 where none is; neurons lie at every token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vtcd_ops.adapters.adapter import PARTS, Adapter, heads_without_weights
from vtcd_ops.adapters.prunable import PrunableAdapter
from vtcd_ops.common.equality import same_fields
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.settings import expect_one_of, expect_whole
from vtcd_ops.common.token_grid import token_voxels
from vtcd_ops.discovery.records import LayerTubelets
from vtcd_ops.discovery.run import Run

__all__ = ["UNIT_KINDS", "Units", "choose_units", "describe_unit"]

UNIT_KINDS = ("concepts", "heads", "neurons", "heads+neurons")

#: For each layer the unit of every token of every head of the model, int32 [A, t*h*w].
TokenUnits = dict[int, np.ndarray]


@dataclass(frozen=True, eq=False)
class Units:
    """The units of a run in one part of the model.

    Args:
        kind: of `UNIT_KINDS`.
        part: of "queries", "keys", "values", "outputs": where heads and concepts are removed.
        table: int64 [U, 3], layer, head, concept; layer, -1, group; ascending.
        neurons_per_group: neurons of a group; 0 where there are none.
    """

    kind: str
    part: str
    table: np.ndarray
    neurons_per_group: int = 0

    def __eq__(self, other: object) -> bool:
        return same_fields(self, other)

    __hash__ = None  # type: ignore[assignment]  # equal by content

    def __len__(self) -> int:
        return len(self.table)

    @property
    def layers(self) -> list[int]:
        """The layers that hold units, ascending."""
        return sorted({int(layer) for layer in self.table[:, 0]})

    @property
    def token_layers(self) -> list[int]:
        """The layers that hold units of heads, ascending."""
        return sorted({int(layer) for layer, head, _ in self.table if head >= 0})

    def of_neurons(self, adapter: Adapter) -> dict[int, np.ndarray]:
        """Return for each layer the unit of every neuron that it has, int64 [H]."""
        found = {}
        for layer in sorted({int(layer) for layer, head, _ in self.table if head < 0}):
            rows = np.flatnonzero((self.table[:, 0] == layer) & (self.table[:, 1] < 0))
            of_group = dict(zip(self.table[rows, 2].tolist(), rows.tolist(), strict=True))
            kept = prunable(adapter).kept_neurons(layer)
            found[layer] = np.array([of_group[n // self.neurons_per_group] for n in kept])
        return found

    def settings(self) -> dict[str, int]:
        """Return how neurons are grouped, as it is stored; nothing where there are none."""
        return {"neurons_per_group": self.neurons_per_group} if self.neurons_per_group else {}

    def of_tokens(
        self,
        adapter: Adapter,
        grid: tuple[int, int, int],
        concepts: Callable[[int], Mapping[int, np.ndarray]],
    ) -> TokenUnits:
        """Return the unit of every token of a video.

        Args:
            adapter: the model.
            grid: token grid (t, h, w) of the whole video.
            concepts: gives, for a layer, the concept [t*h*w] of every token of each head, -1: none.
                Not asked where the units are heads, which lie everywhere.
        """
        num_tokens = grid[0] * grid[1] * grid[2]
        found = {}
        for layer in self.token_layers:
            units = np.full((adapter.num_heads, num_tokens), -1, dtype=np.int32)
            rows = np.flatnonzero((self.table[:, 0] == layer) & (self.table[:, 1] >= 0))
            of_head = concepts(layer) if self.kind == "concepts" else {}
            for head in sorted({int(head) for head in self.table[rows, 1]}):
                first = int(rows[self.table[rows, 1] == head][0])
                concept = of_head.get(head, np.zeros(num_tokens, dtype=np.int32))
                units[head] = np.where(concept >= 0, concept + first, -1)
            found[layer] = units
        return found

    def present(self, tokens: TokenUnits) -> np.ndarray:
        """Return which units lie somewhere in a video, bool [U]; neurons lie in all of them."""
        present: np.ndarray = self.table[:, 1] < 0
        for units in tokens.values():
            present[np.unique(units[units >= 0])] = True
        return present


def choose_units(
    run: Run, kind: str, part: str | None, adapter: Adapter, neurons_per_group: int | None = None
) -> Units:
    """Return the concepts of a run, or the heads or neurons of its layers.

    Args:
        run: the run.
        kind: of `UNIT_KINDS`.
        part: where they are removed; None: the run's first part. Heads can be removed in any part.
        adapter: the model.
        neurons_per_group: of units of neurons; None: so many that a layer has as many groups as
            the model has heads, which cost about as much.

    Raises:
        InputError: no such kind or part, or fewer than two units.
    """
    expect_one_of("rank", "units", kind, UNIT_KINDS)
    choices = run.parts if kind == "concepts" else PARTS
    part = run.parts[0] if part is None else part
    expect_one_of("rank", "part", part, choices)
    if max(run.layers) >= adapter.num_layers or max(run.heads) >= adapter.num_heads:
        raise InputError(f"rank: {run.path} has layers or heads that {adapter.name} has not")
    size = 0
    if kind == "concepts":
        table = run.units(part)
    else:
        rows = []
        if "heads" in kind:
            gone = heads_without_weights(adapter)
            heads = [(layer, head) for layer in run.layers for head in run.heads]
            rows = [(*head, -1) for head in heads if head not in gone]
        if "neurons" in kind:
            size = _group_size(adapter, run.layers, neurons_per_group)
            rows += _groups(adapter, run.layers, size)
        table = np.array(sorted(rows), dtype=np.int64).reshape(-1, 3)
    if len(table) < 2:
        raise InputError(f"rank: at least two units expected to rank, {run.path} has {len(table)}")
    return Units(kind, part, table, size)


def prunable(adapter: Adapter) -> PrunableAdapter:
    """Return a model that knows its neurons.

    Raises:
        InputError: its adapter is not derived from `AttentionAdapter`.
    """
    if not isinstance(adapter, PrunableAdapter):
        raise InputError(
            "rank: units of neurons expected an adapter derived from "
            f"vtcd_ops.adapters.AttentionAdapter, got {type(adapter).__name__}"
        )
    return adapter


def _group_size(adapter: Adapter, layers: Sequence[int], asked: int | None) -> int:
    """The neurons of a group."""
    if asked is not None:
        expect_whole("rank", "neurons_per_group", asked, 1)
        return asked
    most = max(prunable(adapter).num_neurons(layer) for layer in layers)
    return max(1, most // adapter.num_heads)


def _groups(adapter: Adapter, layers: Sequence[int], size: int) -> list[tuple[int, int, int]]:
    """The groups of neurons that the model has, some of whose neurons may be gone."""
    rows = []
    for layer in layers:
        if prunable(adapter).neuron_modules(layer) is None:
            raise InputError(
                f"rank: nothing says where the neurons of layer {layer} of {adapter.name} are: let "
                f"neuron_modules(layer) of {type(adapter).__name__} return its "
                "vtcd_ops.adapters.NeuronModules (docs/pruning.md)"
            )
        groups = sorted({number // size for number in prunable(adapter).kept_neurons(layer)})
        rows += [(layer, -1, group) for group in groups]
    return rows


def describe_unit(unit: Sequence[int], neurons_per_group: int = 0) -> str:
    """Return what a unit is called.

    >>> describe_unit((2, 1, 0)), describe_unit((2, 1, -1)), describe_unit((2, -1, 3), 128)
    ('layer 2 head 1 concept 0', 'layer 2 head 1', 'layer 2 neurons 384-511')
    """
    layer, head, concept = (int(number) for number in unit)
    if head < 0:
        first = concept * neurons_per_group
        return f"layer {layer} neurons {first}-{first + neurons_per_group - 1}"
    return f"layer {layer} head {head}" + (f" concept {concept}" if concept >= 0 else "")


def run_tokens(run: Run, video: int, part: str, grid: tuple[int, int, int]) -> Callable[..., dict]:
    """Return what gives, for a layer, the concept of every token of each head in a run's video.

    Supports that were stored on another grid than the tokens' are read at the voxel nearest to each
    token, under the aligned-corner map.
    """

    def concepts(layer: int) -> dict[int, np.ndarray]:
        tubelets = run.tubelets(video, layer, part)
        if tubelets.grid == grid:
            return dict(zip(run.heads, run.tokens(video, layer, part), strict=True))
        return {
            head: _nearest(run.support(video, layer, head, part), tubelets, grid)
            for head in run.heads
        }

    return concepts


def _nearest(volume: np.ndarray, tubelets: LayerTubelets, grid: tuple[int, int, int]) -> np.ndarray:
    """The values [t*h*w] of a volume [T, H, W] at the tokens of a grid."""
    axes = token_voxels(grid, tubelets.padded_size, tubelets.shape[0])
    return volume[np.ix_(*axes)].reshape(-1)
