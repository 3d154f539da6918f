"""Units whose importance is measured: the concepts of all heads, or whole heads, and their tokens.

A unit is a row of a table (layer, head, concept); the concept of a whole head is -1. Where a unit
lies in a video is a map of unit numbers over the tokens of every head, -1 where none is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vtcd_ops.adapters.adapter import PARTS, Adapter
from vtcd_ops.common.equality import same_fields
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.settings import expect_one_of
from vtcd_ops.common.token_grid import token_voxels
from vtcd_ops.discovery.records import LayerTubelets
from vtcd_ops.discovery.run import Run

__all__ = ["UNIT_KINDS", "Units", "choose_units"]

UNIT_KINDS = ("concepts", "heads")

#: For each layer the unit of every token of every head of the model, int32 [A, t*h*w].
TokenUnits = dict[int, np.ndarray]


@dataclass(frozen=True, eq=False)
class Units:
    """The units of a run in one part of the model.

    Args:
        kind: "concepts" or "heads".
        part: of "queries", "keys", "values", "outputs": where they are removed.
        table: int64 [U, 3], layer, head, concept; ascending.
    """

    kind: str
    part: str
    table: np.ndarray

    def __eq__(self, other: object) -> bool:
        return same_fields(self, other)

    __hash__ = None  # type: ignore[assignment]  # equal by content

    def __len__(self) -> int:
        return len(self.table)

    @property
    def layers(self) -> list[int]:
        """The layers that hold units, ascending."""
        return sorted({int(layer) for layer in self.table[:, 0]})

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
        for layer in self.layers:
            units = np.full((adapter.num_heads, num_tokens), -1, dtype=np.int32)
            rows = np.flatnonzero(self.table[:, 0] == layer)
            of_head = concepts(layer) if self.kind == "concepts" else {}
            for head in sorted({int(head) for head in self.table[rows, 1]}):
                first = int(rows[self.table[rows, 1] == head][0])
                concept = of_head.get(head, np.zeros(num_tokens, dtype=np.int32))
                units[head] = np.where(concept >= 0, concept + first, -1)
            found[layer] = units
        return found

    def present(self, tokens: TokenUnits) -> np.ndarray:
        """Return which units lie somewhere in a video, bool [U]."""
        present = np.zeros(len(self), dtype=bool)
        for units in tokens.values():
            present[np.unique(units[units >= 0])] = True
        return present


def choose_units(run: Run, kind: str, part: str | None, adapter: Adapter) -> Units:
    """Return the concepts of a run, or its heads.

    Args:
        run: the run.
        kind: "concepts" or "heads".
        part: where they are removed; None: the run's first part. Heads can be removed in any part.
        adapter: the model.

    Raises:
        InputError: no such kind or part, or fewer than two units.
    """
    expect_one_of("rank", "units", kind, UNIT_KINDS)
    choices = run.parts if kind == "concepts" else PARTS
    part = run.parts[0] if part is None else part
    expect_one_of("rank", "part", part, choices)
    if max(run.layers) >= adapter.num_layers or max(run.heads) >= adapter.num_heads:
        raise InputError(f"rank: {run.path} has layers or heads that {adapter.name} has not")
    if kind == "heads":
        gone: frozenset[tuple[int, int]] = getattr(adapter, "removed_heads", frozenset())
        heads = [(layer, head) for layer in run.layers for head in run.heads]
        rows = [(*head, -1) for head in heads if head not in gone]
        table = np.array(rows, dtype=np.int64)
    else:
        table = run.units(part)
    if len(table) < 2:
        raise InputError(f"rank: at least two units expected to rank, {run.path} has {len(table)}")
    return Units(kind, part, table)


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
