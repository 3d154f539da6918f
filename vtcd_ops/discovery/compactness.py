# SPDX-License-Identifier: MIT
"""Compactness of SLIC chosen from the features of a layer, without labels.

The best division of a video for its compactness is one that is about the video and not about the
accidents of the features it was made from. So it is cross-validated: SLIC divides a video by half
of the channels of a head, and its tubelets are scored by how much of the variance of the *other*
half they explain::

    R^2 = 1 - sum_i |g_i - mean of g in the tubelet of i|^2 / sum_i |g_i - mean of g|^2

with g the other half at token i. Where place counts too little, tubelets follow what is particular
to their own half; where it counts too much, they are boxes that cut through things. In between is a
maximum. The half is scaled to the variance of the whole, so that its distances are on average those
that SLIC finds between all channels, and the value is good for those.

About the maximum R^2 is nearly flat, and where exactly it lies is chance. So the paper's value is
left only as far as that explains something: the value is the one nearest to 0.1 that leaves hardly
more unexplained than the best.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.common.token_grid import token_voxels
from vtcd_ops.ops import slic3d

__all__ = ["choose_compactness"]

_DEFAULT = 0.1  # of slic3d and of the paper's VideoMAE; left only for a reason

#: The values to choose from, in steps of 1.3 to 2.
_VALUES = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.6, 2.4)

#: A twentieth of the variance that the best value leaves unexplained is no reason to leave 0.1.
_IMMATERIAL = 0.05

_COARSER = 2  # edges of the label grid are divided by this: an eighth of the time, the same seeds

Size = tuple[int, int, int]


def choose_compactness(
    features: Sequence[Tensor],  # of each video [A, C, t, h, w]
    size: Size | Sequence[Size],
    n_segments: int = 12,
) -> float:
    """Choose the compactness of :func:`vtcd_ops.slic3d` for a layer from a few videos.

    >>> import torch, vtcd_ops
    >>> generator = torch.Generator().manual_seed(0)
    >>> blocks = torch.rand(2, 8, 2, 3, 3, generator=generator)
    >>> video = torch.nn.functional.interpolate(blocks, size=(4, 12, 12))  # two heads
    >>> compactness = vtcd_ops.choose_compactness([video], size=(8, 48, 48))
    >>> compactness
    0.3
    >>> labels = vtcd_ops.slic3d(video, (8, 48, 48), compactness=compactness)

    Args:
        features: features of all heads of one layer, for each video floating point
            [A, C, t, h, w]. Three or four videos are enough: heads of one layer differ more than
            videos do.
        size: the label grid (T, H, W) that ``slic3d`` will be asked for; a list with one for each
            video where their lengths differ.
        n_segments: the number of tubelets that ``slic3d`` will be asked for.

    Returns:
        A value from .01 to 2.4: of those between 0.1 and the one whose tubelets explain most of the
        channels that they were not made from, in the mean over halves, heads and videos, the
        nearest to 0.1 that leaves at most a twentieth more unexplained. 0.1 where no feature
        varies.

    Raises:
        ValueError: no video, a tensor of another shape, NaN or infinite features, a size below 1.

    Note:
        Not in the paper, which tunes the value for each model by hand (.01, .1, .15) and names that
        as its first limitation. docs/compactness.md compares this rule with others.
    """
    sizes = _sizes(size, len(features))
    _check(features, sizes, n_segments)
    trials = [
        trial
        for video, video_size in zip(features, sizes, strict=True)
        for trial in _trials(video.detach().cpu().float(), video_size)
    ]
    if not trials:
        return _DEFAULT
    explained: dict[int, float] = {}

    def score(index: int) -> float:
        if index not in explained:
            shares = [trial.explained(_VALUES[index], n_segments) for trial in trials]
            explained[index] = float(np.mean(shares))
        return explained[index]

    best = max(range(0, len(_VALUES), 2), key=score)
    best = max(range(max(best - 1, 0), min(best + 2, len(_VALUES))), key=score)
    least = score(best) - _IMMATERIAL * (1 - score(best))
    default = _VALUES.index(_DEFAULT)
    way = range(default, best + 1) if best >= default else range(default, best - 1, -1)
    return _VALUES[next(index for index in way if score(index) >= least)]


@dataclass(frozen=True)
class _Trial:
    """One head of one video, divided by half of its channels and scored by the other half."""

    shown: Tensor  # [1, C', t, h, w]
    hidden: Tensor  # [C - C', t, h, w]
    size: Size  # label grid
    scale: float  # of the compactness, so that the half's distances count as those of the whole

    def explained(self, compactness: float, n_segments: int) -> float:
        """Return the share of the hidden channels' variance that the tubelets explain."""
        labels = slic3d(self.shown, self.size, n_segments, compactness * self.scale)[0].numpy()
        t, h, w = self.shown.shape[2:]
        tubelet = labels[np.ix_(*token_voxels((t, h, w), self.size, self.size[0]))].reshape(-1)
        tokens = self.hidden.flatten(1).T.double().numpy()  # [N, C - C']
        tokens = tokens - tokens.mean(axis=0)
        order = np.argsort(tubelet, kind="stable")
        begins = np.flatnonzero(np.diff(tubelet[order], prepend=-1))
        counts = np.diff(begins, append=len(order))
        # the variance between tubelets, of tokens whose mean is zero
        sums = np.add.reduceat(tokens[order], begins, axis=0)  # [S, C - C']
        return float((sums**2 / counts[:, None]).sum() / (tokens**2).sum())


def _trials(video: Tensor, size: Size) -> Iterator[_Trial]:
    """Yield both trials of every head [C, t, h, w] of a video whose halves vary."""
    coarse = cast(Size, tuple(-(-edge // _COARSER) for edge in size))
    for head in video:
        for half in (0, 1) if len(head) > 1 else ():
            shown, hidden = head[half::2], head[1 - half :: 2]
            if _total_variance(shown) > 0 and _total_variance(hidden) > 0:
                # slic3d divides squared distances by those of the extent and the compactness
                scale = float(_extent(head) / _extent(shown))
                scale *= (_total_variance(shown) / _total_variance(head)) ** 0.5
                yield _Trial(shown[None].contiguous(), hidden, coarse, scale)


def _extent(channels: Tensor) -> Tensor:
    return channels.max() - channels.min()


def _total_variance(channels: Tensor) -> float:
    """Return the sum of the variances of channels [C, t, h, w]."""
    return float(torch.var(channels.flatten(1).double(), dim=1, correction=0).sum())


def _sizes(size: Size | Sequence[Size], num_videos: int) -> list[Size]:
    """Return one size for each video."""
    if all(isinstance(edge, int) for edge in size):
        return [cast(Size, tuple(size))] * num_videos
    return list(cast(Sequence[Size], size))


def _check(features: Sequence[Tensor], sizes: Sequence[Size], n_segments: int) -> None:
    name = "choose_compactness"
    if len(features) == 0:
        raise ValueError(f"{name}: features expected at least one video, got none")
    if len(sizes) != len(features):
        raise ValueError(f"{name}: size expected one or {len(features)}, got {len(sizes)}")
    for video in features:
        if video.ndim != 5 or 0 in video.shape or not video.is_floating_point():
            raise ValueError(
                f"{name}: features expected floating point [A, C, t, h, w], "
                f"got {video.dtype} {list(video.shape)}"
            )
        if not bool(video.isfinite().all()):
            raise ValueError(f"{name}: features expected finite values, got NaN or infinite ones")
    for size in sizes:
        if len(size) != 3 or min(size) < 1:
            raise ValueError(f"{name}: size expected (T, H, W) of at least 1, got {size}")
    if n_segments < 1:
        raise ValueError(f"{name}: n_segments expected at least 1, got {n_segments}")
