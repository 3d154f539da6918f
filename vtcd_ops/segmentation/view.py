"""From a video's pixels to the tokens that see them, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vtcd_ops.adapters.adapter import Adapter

#: Score of a pixel that the model does not see.
UNSEEN = float("-inf")


@dataclass(frozen=True)
class View:
    """The part of a video's frames that a model sees, in whole pixels.

    Args:
        frame_size: (H, W) of the video.
        top, left, height, width: what the model sees; it may lie beyond the frame's edges.
    """

    frame_size: tuple[int, int]
    top: int
    left: int
    height: int
    width: int

    @classmethod
    def of(cls, adapter: Adapter, frame_size: tuple[int, int]) -> View:
        """Return what a model sees of frames of a size."""
        top, left, height, width = adapter.crop_of(*frame_size)
        rows = round(top), max(round(top + height), round(top) + 1)
        columns = round(left), max(round(left + width), round(left) + 1)
        return cls(frame_size, rows[0], columns[0], rows[1] - rows[0], columns[1] - columns[0])

    def _inside(self) -> tuple[slice, slice]:
        """Rows and columns of the frame that are seen."""
        rows = slice(max(self.top, 0), min(self.top + self.height, self.frame_size[0]))
        columns = slice(max(self.left, 0), min(self.left + self.width, self.frame_size[1]))
        return rows, columns

    def scores_of_pixels(self, scores: Tensor) -> Tensor:
        """Return scores of tokens [N, h, w] at every pixel [N, H, W], between tokens bicubically.

        >>> View((2, 4), top=0, left=1, height=2, width=2).scores_of_pixels(torch.ones(1, 1, 1))
        tensor([[[-inf, 1., 1., -inf],
                 [-inf, 1., 1., -inf]]])
        """
        rows, columns = self._inside()
        size = (self.height, self.width)
        seen = functional.interpolate(
            scores.unsqueeze(0), size, mode="bicubic", align_corners=False
        ).squeeze(0)
        pixels = scores.new_full((len(scores), *self.frame_size), UNSEEN)
        pixels[:, rows, columns] = seen[
            :,
            rows.start - self.top : rows.stop - self.top,
            columns.start - self.left : columns.stop - self.left,
        ]
        return pixels

    def labels_of_pixels(self, labels: np.ndarray) -> np.ndarray:
        """Return labels of voxels [Y, X] at every pixel [H, W], -1 where the model sees nothing.

        >>> View((1, 6), top=0, left=1, height=1, width=4).labels_of_pixels(np.array([[7, 8]]))
        array([[-1,  7,  7,  8,  8, -1]])
        """
        rows, columns = self._inside()
        pixels = np.full(self.frame_size, -1, dtype=labels.dtype)
        row = _voxel_of(rows, self.top, self.height, labels.shape[0])
        column = _voxel_of(columns, self.left, self.width, labels.shape[1])
        pixels[rows, columns] = labels[row[:, None], column[None, :]]
        return pixels

    def masks_of_voxels(self, masks: np.ndarray, plane: tuple[int, int]) -> np.ndarray:
        """Return masks of pixels [T, H, W] at the middles of voxels [T, Y, X].

        >>> half = np.array([[[False, False, True, True]]])
        >>> View((1, 4), top=0, left=0, height=1, width=4).masks_of_voxels(half, (1, 2)).tolist()
        [[[False, True]]]
        """
        row = self.top + (2 * np.arange(plane[0]) + 1) * self.height // (2 * plane[0])
        column = self.left + (2 * np.arange(plane[1]) + 1) * self.width // (2 * plane[1])
        row_seen = (row >= 0) & (row < self.frame_size[0])
        column_seen = (column >= 0) & (column < self.frame_size[1])
        row, column = row.clip(0, self.frame_size[0] - 1), column.clip(0, self.frame_size[1] - 1)
        found: np.ndarray = masks[:, row[:, None], column[None, :]]
        return found & (row_seen[:, None] & column_seen[None, :])


def _voxel_of(pixels: slice, start: int, length: int, num_voxels: int) -> np.ndarray:
    """The voxel that holds the middle of each pixel along an axis."""
    middles = 2 * (np.arange(pixels.start, pixels.stop) - start) + 1
    voxels: np.ndarray = middles * num_voxels // (2 * length)
    return voxels


def coverage(adapter: Adapter, mask: np.ndarray, plane: tuple[int, int]) -> np.ndarray:
    """Return which share of each token of a frame a mask [H, W] covers, float64 [h, w]."""
    seen = adapter.mask_to_model(torch.from_numpy(mask)).to(torch.float64)
    return functional.adaptive_avg_pool2d(seen[None, None], plane)[0, 0].numpy()


def scores_at_frame(scores: Tensor, frame: int, tubelet_size: int) -> Tensor:
    """Return scores of tokens [N, t, h, w] at a frame [N, h, w], between tokens linearly.

    A token stands at the middle of its frames.

    >>> steps = torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1)
    >>> [scores_at_frame(steps, frame, tubelet_size=2).item() for frame in range(4)]
    [0.0, 0.25, 0.75, 1.0]
    """
    last = scores.shape[1] - 1
    position = min(max((frame + 0.5) / tubelet_size - 0.5, 0.0), float(last))
    before = int(position)
    share = position - before
    if share == 0:
        return scores[:, before]
    return scores[:, before] * (1 - share) + scores[:, before + 1] * share
