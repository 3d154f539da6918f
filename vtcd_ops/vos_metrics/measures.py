"""Region similarity and contour accuracy of masks, and what is said of a sequence's scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.ops import contour_match

__all__ = ["Statistics", "contour_accuracy", "region_similarity", "statistics"]

Masks = TypeVar("Masks", Tensor, np.ndarray)

#: How far contours may lie apart and still match, as a share of the frame's diagonal (DAVIS).
TOLERANCE = 0.008


def region_similarity(prediction: Masks, truth: Masks, void: Masks | None = None) -> Masks:
    """Return J, the intersection over the union of two masks, of every frame.

    Args:
        prediction: bool [T, H, W], tensors or NumPy arrays.
        truth: bool [T, H, W].
        void: bool [T, H, W], pixels that count on neither side.

    Returns:
        float64 [T], of the kind of ``truth``; 1 where both masks are empty.

    Raises:
        ValueError: shapes that do not fit.
        TypeError: another dtype.
    """
    ours, theirs = _checked("region_similarity", prediction, truth, void)
    both, either = _num_pixels(ours & theirs), _num_pixels(ours | theirs)
    ratio = torch.where(either > 0, both.double() / either.clamp(min=1), 1.0)
    return _like(truth, ratio)


def _num_pixels(masks: Tensor) -> Tensor:
    # frame by frame: NumPy counts the true bytes of a whole array many times sooner than along axes
    return torch.tensor([np.count_nonzero(mask) for mask in masks.numpy()], dtype=torch.int64)


def contour_accuracy(
    prediction: Masks, truth: Masks, void: Masks | None = None, *, tolerance: float = TOLERANCE
) -> Masks:
    """Return F, the harmonic mean of precision and recall of two masks' contours, of every frame.

    A contour pixel of one mask is right where the other contour passes at most a radius from it:
    ``tolerance`` times the diagonal, rounded upwards, 8 pixels for 854 x 480.

    Args:
        prediction: bool [T, H, W], tensors or NumPy arrays.
        truth: bool [T, H, W].
        void: bool [T, H, W], pixels that count on neither side.
        tolerance: a share of the diagonal below 1; from 1 on, pixels.

    Returns:
        float64 [T], of the kind of ``truth``; 1 where both contours are empty, 0 where one is.

    Raises:
        ValueError: shapes that do not fit, a negative tolerance.
        TypeError: another dtype.
    """
    ours, theirs = _checked("contour_accuracy", prediction, truth, void)
    if not 0 <= tolerance < math.inf:
        raise ValueError(
            f"contour_accuracy: tolerance expected finite and at least 0, got {tolerance:g}"
        )
    scale = math.hypot(*ours.shape[1:]) if tolerance < 1 else 1.0
    counts = contour_match(ours, theirs, math.ceil(tolerance * scale)).double()
    right_ours, all_ours, right_theirs, all_theirs = counts.unbind(1)
    # an empty contour is precise, or recalled, at no cost
    precision = torch.where(all_ours > 0, right_ours / all_ours.clamp(min=1), 1.0)
    recall = torch.where(all_theirs > 0, right_theirs / all_theirs.clamp(min=1), 1.0)
    total = precision + recall
    return _like(
        truth, torch.where(total > 0, 2 * precision * recall / total.clamp(min=1e-300), 0.0)
    )


def _checked(op: str, prediction: Any, truth: Any, void: Any) -> tuple[Tensor, Tensor]:
    """Return both masks as tensors without the void pixels."""
    masks = {"prediction": prediction, "truth": truth} | ({} if void is None else {"void": void})
    tensors = {}
    for name, mask in masks.items():
        if not isinstance(mask, Tensor | np.ndarray):
            raise TypeError(f"{op}: {name} expected masks [T, H, W], got {type(mask).__name__}")
        dtype = str(mask.dtype).removeprefix("torch.")
        if dtype != "bool":
            raise TypeError(f"{op}: {name} expected bool, got {dtype}")
        shape = list(mask.shape)
        if len(shape) != 3 or 0 in shape[1:]:
            raise ValueError(f"{op}: {name} expected [T, H, W] with pixels, got {shape}")
        if shape != list(prediction.shape):
            raise ValueError(
                f"{op}: {name} expected {list(prediction.shape)}, as prediction, got {shape}"
            )
        if isinstance(mask, np.ndarray):  # torch wants to be able to write
            mask = torch.from_numpy(np.require(mask, requirements=["C", "W"]))
        tensors[name] = mask.cpu()
    if "void" in tensors:
        counted = ~tensors["void"]
        return tensors["prediction"] & counted, tensors["truth"] & counted
    return tensors["prediction"], tensors["truth"]


def _like(masks: Masks, values: Tensor) -> Masks:
    return values.numpy() if isinstance(masks, np.ndarray) else values.to(masks.device)


@dataclass(frozen=True)
class Statistics:
    """What DAVIS says of the scores of a sequence.

    Args:
        mean: over the frames.
        recall: the share of frames above .5.
        decay: the mean of the first quarter of the frames less that of the last.
    """

    mean: float
    recall: float
    decay: float


def statistics(scores: Any) -> Statistics:
    """Return mean, recall and decay of the scores of any number of frames.

    >>> statistics([1.0, 0.9, 0.6, 0.3])
    Statistics(mean=0.7, recall=0.75, decay=0.5)

    Args:
        scores: [T], at least one.

    Raises:
        ValueError: there is no score.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"statistics: scores expected [T], at least 1, got {list(values.shape)}")
    # DAVIS's bins, which share their borders
    edges = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(np.int64) - 1
    first, last = values[: edges[1] + 1], values[edges[3] :]
    return Statistics(
        float(values.mean()), float((values > 0.5).mean()), float(first.mean() - last.mean())
    )
