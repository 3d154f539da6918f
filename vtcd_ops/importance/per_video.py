"""What the answer to one video loses without a unit: the stored scores, video by video."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vtcd_ops.importance.importance import Importance, draw_masks

__all__ = ["costs_per_video"]


def costs_per_video(importance: Importance) -> npt.NDArray[np.float64] | None:
    """Return what the score of each video loses without each unit, float64 [V, U].

    Of a ranking with masks: the mean score with the unit less the mean score without it, over the
    masks; NaN where the unit does not lie in the video, or was never removed or never kept. Of
    occlusion: the score of the whole less that without the unit. None for gradients, which remove
    nothing.

    >>> scores = np.array([[1.0, 0.5]])
    >>> settings = {"method": "occlusion", "units": "concepts", "metric": "logit", "videos": [{}]}
    >>> tensors = {
    ...     "units": np.zeros((2, 3), int),
    ...     "present": np.array([[True, False]]),
    ...     "baseline": np.array([1.5]),
    ...     "scores": scores,
    ... }
    >>> nothing = np.zeros(2)
    >>> one = Importance("x", settings, tensors, "mean", *[nothing] * 3, 1.0, 1.0)
    >>> costs_per_video(one)
    array([[0.5, nan]])
    """
    settings, tensors = importance.settings, importance.tensors
    if settings["method"] == "occlusion":
        costs = tensors["baseline"][:, None] - tensors["scores"]
    elif settings["method"] == "cris":
        rows = tensors["scores"]
        costs = np.stack([_of_masks(importance, video, row) for video, row in enumerate(rows)])
    else:
        return None
    found: npt.NDArray[np.float64] = np.where(tensors["present"], costs, np.nan)
    return found


def _of_masks(
    importance: Importance, video: int, scores: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The mean score [M] of a video with each unit less that without it, under its masks: [U]."""
    keep = draw_masks(importance.settings, video, 0, len(scores)).numpy()
    kept, removed = keep.astype(np.float64), (~keep).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        costs: npt.NDArray[np.float64] = scores @ kept / kept.sum(axis=0)
        costs -= scores @ removed / removed.sum(axis=0)
    return costs
