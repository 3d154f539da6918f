"""The concept of every token of a run, all heads of all layers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vtcd_ops.discovery.run import Run

Head = tuple[int, int]  # (layer, head)


@dataclass(frozen=True, eq=False)
class TokenConcepts:
    """Where the concepts of a run are, on the token grids of its videos.

    Args:
        units: (layer, head, concept) of every concept, int64 [U, 3], as of `Run.units`.
        heads: (layer, head) of every head, in the order of the units.
        maps: for each video the unit of every token of every head, int32 [H, t, h, w]; -1: none.
    """

    units: np.ndarray
    heads: list[Head]
    maps: list[np.ndarray]

    @classmethod
    def of(cls, run: Run, part: str, videos: Sequence[int] | None = None) -> TokenConcepts:
        """Read the concepts of a run's part.

        Args:
            run: the run.
            part: of its parts.
            videos: their numbers, in the order wanted; all by default.
        """
        units = run.units(part)
        heads = [(layer, head) for layer in run.layers for head in run.heads]
        counts = [run.concepts(layer, head, part).k for layer, head in heads]
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        maps = []
        for video in range(len(run.videos)) if videos is None else videos:
            grid = run.tubelets(video, run.layers[0], part).grid
            rows = np.concatenate([run.tokens(video, layer, part) for layer in run.layers])
            rows = np.where(rows >= 0, rows + first[:, None], -1).astype(np.int32)
            maps.append(rows.reshape(len(heads), *grid))
        return cls(units, heads, maps)

    def __len__(self) -> int:
        return len(self.units)

    def counts(self) -> np.ndarray:
        """Return the tokens of every concept in every video, int64 [U, V]."""
        return np.stack([_count(units, len(self)) for units in self.maps], axis=1)

    def num_tokens(self) -> np.ndarray:
        """Return the tokens of every video, int64 [V]."""
        return np.array([units[0].size for units in self.maps])

    def moved(self, random: np.random.Generator) -> TokenConcepts:
        """Return the same supports at other places: each video's moved around the torus.

        All concepts of a video are moved by one offset, drawn from all with equal probability, so
        sizes and shapes stay, and so does how the concepts of a head exclude each other.
        """
        maps = []
        for units in self.maps:
            shift = tuple(int(random.integers(length)) for length in units.shape[1:])
            maps.append(np.roll(units, shift, axis=(1, 2, 3)))
        return replace(self, maps=maps)


def _count(units: np.ndarray, num_units: int) -> np.ndarray:
    return np.bincount(units[units >= 0], minlength=num_units)
