"""Another model's masks in place of the concepts': prompts from each mask, and the choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from vtcd_ops.common.errors import InputError

_NUM_DRAWN = 2  # points beside the centroid
_VARIANCE = 0.1  # of the drawn points, as a share of the mask's height and width

Box = tuple[int, int, int, int]

#: Called with a frame, uint8 [H, W, 3], a box (x0, y0, x1, y1) of pixels, both ends included, and
#: points float64 [P, 2], (x, y) each; returns masks, bool [M, H, W].
Refine = Callable[[np.ndarray, Box, np.ndarray], Any]


class Prompts(NamedTuple):
    """What tells another model which object is meant.

    Args:
        box: the smallest that holds the mask, (x0, y0, x1, y1) of pixels, both ends included.
        points: float64 [3, 2], (x, y): the centroid, and two drawn around it.
    """

    box: Box
    points: np.ndarray


def prompts(mask: np.ndarray, frame: int, seed: int = 0) -> Prompts | None:
    """Return the prompts for a mask [H, W]; None of an empty one.

    The two points are drawn from a Gaussian at the centroid whose variances are a tenth of the
    mask's height and width; they depend on the mask, the seed and the frame's number alone, and one
    that falls off the frame is moved to its edge.

    >>> mask = np.zeros((6, 8), dtype=bool)
    >>> mask[2:5, 3:5] = True
    >>> found = prompts(mask, frame=0)
    >>> found.box, found.points[0].tolist()
    ((3, 2, 4, 4), [3.5, 3.0])
    """
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return None
    box = (int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max()))
    extent = np.array([box[2] - box[0] + 1, box[3] - box[1] + 1], dtype=np.float64)
    centroid = np.array([columns.mean(), rows.mean()])
    drawn = np.random.default_rng([seed, frame]).standard_normal((_NUM_DRAWN, 2))
    points = np.vstack([centroid, centroid + drawn * np.sqrt(extent * _VARIANCE)])
    return Prompts(box, points.clip(0, [mask.shape[1] - 1, mask.shape[0] - 1]))


def refine_mask(
    frame: np.ndarray, mask: np.ndarray, refine: Refine, number: int, seed: int = 0
) -> np.ndarray:
    """Return the mask, of those that `refine` gives, that overlaps a mask [H, W] most (IoU).

    An empty mask stays empty, and one that no other overlaps stays as it is.
    """
    asked = prompts(mask, number, seed)
    if asked is None:
        return mask
    found = refine(frame, *asked)
    masks = found.detach().cpu().numpy() if isinstance(found, Tensor) else np.asarray(found)
    if masks.dtype != bool or masks.ndim != 3 or masks.shape[1:] != mask.shape or not len(masks):
        raise InputError(
            f"segment: refine expected to return masks bool [M, {mask.shape[0]}, {mask.shape[1]}], "
            f"at least one, got {masks.dtype} {list(masks.shape)}"
        )
    both = (masks & mask).sum(axis=(1, 2))
    agreement = both / (masks | mask).sum(axis=(1, 2))
    best = int(agreement.argmax())
    chosen: np.ndarray = masks[best] if both[best] else mask
    return chosen


def refine_labels(
    frame: np.ndarray, labels: np.ndarray, refine: Refine, number: int, seed: int = 0
) -> np.ndarray:
    """Refine every object of a frame's labels [H, W].

    Where refined masks overlap, the object that had the pixel keeps it, else the lowest number.
    """
    found = np.zeros_like(labels)
    for label in np.unique(labels[labels > 0]):
        old = labels == label
        mask = refine_mask(frame, old, refine, number, seed)
        found[mask & ((found == 0) | old)] = label
    return found
