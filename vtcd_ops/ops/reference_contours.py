"""The operator on contours in plain NumPy: part of `vtcd_ops.ops.reference`."""

from __future__ import annotations

import numpy as np


def contour_of(mask: np.ndarray) -> np.ndarray:
    """Return the pixels that differ from their right, lower or lower right neighbour.

    >>> contour_of(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]])).astype(int).tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 0]]

    Args:
        mask: [H, W].

    Returns:
        bool [H, W]; in the last row only the right neighbour counts, in the last column only the
        lower one.
    """
    mask = mask.astype(bool)
    contour = np.zeros_like(mask)
    contour[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    contour[:-1] |= mask[:-1] != mask[1:]
    contour[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return contour


def contour_match(prediction: np.ndarray, truth: np.ndarray, radius: int) -> np.ndarray:
    """Count matched and all pixels of the contours by comparing every pixel with every other one.

    >>> square = np.eye(4, dtype=bool)[None]
    >>> contour_match(square, square, 0).tolist()
    [[9, 9, 9, 9]]

    Args:
        prediction: [T, H, W].
        truth: [T, H, W].
        radius: in pixels.

    Returns:
        int64 [T, 4].
    """
    counts = np.zeros((len(truth), 4), dtype=np.int64)
    for t, masks in enumerate(zip(prediction, truth)):
        ours, theirs = (np.argwhere(contour_of(mask)) for mask in masks)
        squares = ((ours[:, None] - theirs[None]) ** 2).sum(-1)
        near = squares <= radius**2
        counts[t] = near.any(1).sum(), len(ours), near.any(0).sum(), len(theirs)
    return counts
