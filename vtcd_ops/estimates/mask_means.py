"""Averages of metric drops over the masks that remove or keep a unit, and their standard errors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from vtcd_ops.estimates.mask_scores import MaskScores

_UNITS = 4096  # whose standard errors are worked on at once


def means(data: MaskScores, name: str, used: np.ndarray) -> np.ndarray:
    """Average drops over the masks that remove and keep each unit: float64 [V, U]."""
    result = np.empty((data.num_videos, data.num_units))
    at_once = max(1, 2**20 // data.num_units)  # videos whose sums are held
    for seed, sharing in data.sharing():
        for first in range(0, len(sharing), at_once):
            videos = sharing[first : first + at_once]
            result[videos] = _means_of(data, name, used, seed, videos)
    return result


def _means_of(
    data: MaskScores, name: str, used: np.ndarray, seed: int, videos: np.ndarray
) -> np.ndarray:
    """The means of some videos that share their masks: float64 [v, U]."""
    count = torch.zeros(len(videos), 2, data.num_units, dtype=torch.int64)
    total, total_sq = torch.zeros(2, len(videos), 2, data.num_units, dtype=torch.float64)
    for masks, keep in data.chunks(seed):
        some = torch.from_numpy(used[masks])
        for i, video in enumerate(videos):
            drops = torch.from_numpy(data.drops[video, masks])
            torch.ops.vtcd.cris_accumulate(count[i], total[i], total_sq[i], keep[some], drops[some])
    return np.stack(
        [
            combine(name, total[i].numpy(), count[i].numpy(), float(data.baseline[video]))
            for i, video in enumerate(videos)
        ]
    )


def combine(name: str, total: np.ndarray, count: np.ndarray, baseline: float) -> np.ndarray:
    """Turn sums of drops [2, U] over count [2, U] masks, removed and kept, into an estimate [U]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        removed, kept = total / count
    if name == "removed":
        return removed
    if name == "kept":
        return -kept
    if name == "difference":
        return removed - kept
    sum_of_scores: np.ndarray = count[1] * baseline - total[1]
    return sum_of_scores


def block_errors(data: MaskScores, name: str) -> np.ndarray:
    """Standard errors [U] of means from the spread of the independent blocks of masks.

    A mean of n drops moves by (drop - mean) / n with each of them; what the masks of a block add up
    to is independent of the other blocks, and of the masks of other seeds.
    """
    weights = data.present / np.maximum(data.present.sum(0), 1)  # [V, U]
    if data.num_blocks < 2:
        return np.full(data.num_units, np.nan)
    variance = np.zeros(data.num_units)
    for seed, videos in data.sharing():
        variance += _block_variance(data, name, seed, videos, weights[videos])
    return np.where(data.present.any(0), np.sqrt(variance), np.nan)


def _block_variance(
    data: MaskScores, name: str, seed: int, videos: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """The variance [U] that the masks of a seed give the mean over videos, by weights [v, U]."""
    everywhere = bool(data.present.all())
    blocks = data.num_blocks

    def drops_of(masks: slice, units: slice) -> np.ndarray:  # [m, u] or [m, 1]: over its videos
        drops = data.drops[videos, masks]
        if everywhere:
            return drops.sum(0)[:, None] / data.num_videos
        shares = torch.from_numpy(weights[:, units])
        return (torch.from_numpy(drops.T.copy()) @ shares).numpy()

    count, total = np.zeros((2, data.num_units)), np.zeros((2, data.num_units))
    for masks, units, keep in _pieces(data, seed):
        for row, chosen in enumerate((~keep, keep)):
            count[row, units] += chosen.sum(0)
            total[row, units] += np.where(chosen, drops_of(masks, units), 0.0).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / count
    level = data.baseline[videos] @ weights  # [U]
    squares, sums = np.zeros(data.num_units), np.zeros(data.num_units)
    for masks, units, keep in _pieces(data, seed):
        moves = _moves(
            name, drops_of(masks, units), keep, mean[:, units], count[:, units], level[units]
        )
        starts = np.flatnonzero(np.diff(data.blocks[masks], prepend=-1))
        by_block = np.add.reduceat(moves, starts, axis=0)
        squares[units] += (by_block**2).sum(0)
        sums[units] += by_block.sum(0)
    spread = squares - sums**2 / blocks
    variance: np.ndarray = np.maximum(spread, 0) * blocks / (blocks - 1)
    return variance


def _pieces(data: MaskScores, seed: int) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Go over masks and units in pieces: slices of both, and whether each is kept, bool [m, u]."""
    for masks, keep in data.chunks(seed):
        for start in range(0, data.num_units, _UNITS):
            units = slice(start, start + _UNITS)
            yield masks, units, keep[:, units].numpy()


def _moves(
    name: str,
    drops: np.ndarray,  # [m, U] or [m, 1]
    keep: np.ndarray,  # [m, U]
    mean: np.ndarray,  # [2, U]
    count: np.ndarray,  # [2, U]
    level: np.ndarray,  # [U]
) -> np.ndarray:
    """By how much each mask moves an estimate: float64 [m, U]."""
    if name == "kept_sum":
        return np.where(keep, level - drops, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        of_removed = np.where(keep, 0.0, (drops - mean[0]) / count[0])
        of_kept = np.where(keep, (drops - mean[1]) / count[1], 0.0)
    if name == "removed":
        return of_removed
    return -of_kept if name == "kept" else of_removed - of_kept
