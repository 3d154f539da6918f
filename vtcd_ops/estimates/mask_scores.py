"""The scores of videos under masks, with the masks drawn again instead of stored."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy
import torch

from vtcd_ops.common.equality import same_fields
from vtcd_ops.common.errors import InputError
from vtcd_ops.ops.cris_sample import check_cris_sample

#: Masks of one independent block of each sampling design.
BLOCK_LENGTH = {"simple": 1, "antithetic": 2, "balanced": 20}

# Numbers of a chunk of masks that are held at once. It must not depend on the caller: it settles
# the order of some sums.
_CHUNK = 2**21


@dataclass(frozen=True, eq=False)
class MaskScores:
    """What a ranking is computed from, all of it.

    Args:
        drops: float64 [V, M], by how much the metric of a video drops under a mask.
        baseline: float64 [V], the metric without a mask.
        present: bool [V, U], which units occur in which video.
        ratio: share of the units that a mask removes.
        seeds: int64 [V], of the masks of each video; videos of one seed share their masks. One
            number: all of them do.
        design: of the masks.
    """

    drops: np.ndarray
    baseline: np.ndarray
    present: np.ndarray
    ratio: float
    seeds: np.ndarray | int
    design: str

    def __post_init__(self) -> None:
        every = np.broadcast_to(np.asarray(self.seeds), (self.num_videos,))
        object.__setattr__(self, "seeds", every)
        for seed in np.unique(every):
            check_cris_sample(self.num_units, self.num_masks, self.ratio, int(seed), 0, self.design)

    def __eq__(self, other: object) -> bool:
        return same_fields(self, other)

    __hash__ = None  # type: ignore[assignment]  # equal by content

    @property
    def num_videos(self) -> int:
        """V."""
        return self.drops.shape[0]

    @property
    def num_masks(self) -> int:
        """M."""
        return self.drops.shape[1]

    @property
    def num_units(self) -> int:
        """U."""
        return self.present.shape[1]

    @property
    def blocks(self) -> np.ndarray:
        """Index of the independent block of each mask, int64 [M]."""
        return np.arange(self.num_masks) // BLOCK_LENGTH[self.design]

    @property
    def num_blocks(self) -> int:
        """Independent blocks of masks; the last may be cut short."""
        return -(-self.num_masks // BLOCK_LENGTH[self.design])

    @property
    def num_removed(self) -> int:
        """Units that a mask removes, as `cris_sample` rounds it."""
        nearest = math.floor(self.ratio * self.num_units + 0.5)
        return min(max(nearest, 1), self.num_units - 1)

    def groups(self, count: int) -> np.ndarray:
        """Divide the masks, block by block in turn, into ``count`` independent groups: [M]."""
        return self.blocks % count

    def sharing(self) -> Iterator[tuple[int, np.ndarray]]:
        """Go over the sequences of masks: a seed, and the videos scored under its masks [v]."""
        found, which = np.unique(self.seeds, return_inverse=True)
        for index in np.argsort([np.flatnonzero(which == i)[0] for i in range(len(found))]):
            yield int(found[index]), np.flatnonzero(which == index)

    def chunks(self, seed: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """Draw the masks of a seed, whole blocks at a time: a slice of M, bool [m, U]."""
        length = max(20, _CHUNK // self.num_units // 20 * 20)
        for start in range(0, self.num_masks, length):
            count = min(length, self.num_masks - start)
            keep = torch.ops.vtcd.cris_sample(
                self.num_units, count, self.ratio, seed, start, self.design
            )
            yield slice(start, start + count), keep


def to_unit_scale(*arrays: np.ndarray) -> tuple[int, list[np.ndarray]]:
    """Divide finite arrays by one power of two, which leaves their bits: the largest is about 1.

    So that squares neither overflow nor vanish. Returns the exponent, and the arrays.

    >>> to_unit_scale(np.array([2.0**600]), np.array([-3 * 2.0**599]))
    (601, [array([0.5]), array([-0.75])])
    """
    largest = max(float(np.abs(array).max(initial=0.0)) for array in arrays)
    exponent = int(np.frexp(largest)[1])
    return exponent, [np.ldexp(array, -exponent) for array in arrays]


def from_unit_scale(values: np.ndarray, exponent: int, what: str) -> np.ndarray:
    """Undo `to_unit_scale`, or raise where a result is too large for a float64."""
    with np.errstate(over="ignore"):
        found: np.ndarray = np.ldexp(values, exponent)
    if (np.isinf(found) & np.isfinite(values)).any():
        raise InputError(f"estimate: {what} expected to fit into float64, got scores too large")
    return found


def average_over_videos(values: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average over the videos in which a unit occurs, with equal weight.

    >>> value, stderr = average_over_videos(
    ...     np.array([[1.0, 1.0], [3.0, 5.0]]), np.array([[True, True], [True, False]])
    ... )
    >>> value.tolist(), stderr.tolist()
    ([2.0, 1.0], [1.0, nan])

    Args:
        values: float64 [V, U].
        present: bool [V, U].

    Returns:
        The mean [U], NaN where a unit occurs in no video, and its standard error from the spread
        over videos [U], NaN where it occurs in fewer than two. A video whose value is NaN (few
        masks of its own may never have removed a unit) does not count.
    """
    present = present & ~np.isnan(values)
    count = present.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(present, values, 0.0).sum(0) / count
        squares = np.where(present, values - mean, 0.0) ** 2
        stderr = np.sqrt(squares.sum(0) / (count - 1) / count)
    return np.where(count > 0, mean, np.nan), np.where(count > 1, stderr, np.nan)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Correlate the ranks of two lists, ties sharing their mean rank; NaN if one is constant.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.4, 0.9]))
    1.0
    """
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.clip(scipy.stats.spearmanr(a, b).statistic, -1, 1))
