"""One video and what is known about it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vtcd_ops.common.equality import same_fields
from vtcd_ops.common.errors import InputError

Video = str | Path | np.ndarray


@dataclass(frozen=True, eq=False)
class Sample:
    """One video and what is known about it.

    >>> import numpy as np
    >>> Sample(np.zeros((16, 32, 32, 3), dtype=np.uint8), label=np.int64(3)).label
    3

    Args:
        video: a video file, a folder of frames, or a uint8 array or tensor [T, H, W, 3]. None: it
            was an array, of which a run's manifest knows the name alone; it cannot be opened.
        label: class of the video, a name or a whole number.
        text: sentence that belongs to the video (video-text models).
        query_mask: mask of the object to follow in the first frame (trackers).
        target_masks: true masks of an object (segmentation).
        name: how reports call the video; the file's name by default.

    Raises:
        InputError: a field is of another type, or the label is no name and no whole number.
    """

    video: Video | None
    label: str | int | None = None
    text: str | None = None
    query_mask: Video | None = None
    target_masks: Video | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        for field in ("video", "query_mask", "target_masks"):
            object.__setattr__(self, field, _as_video(field, getattr(self, field)))
        object.__setattr__(self, "label", plain_label(self.label))
        for field in ("text", "name"):
            value = getattr(self, field)
            if value is not None and not isinstance(value, str):
                raise InputError(f"sample: {field} expected text, got {value!r}")
            object.__setattr__(self, field, None if value is None else str(value))

    def __eq__(self, other: object) -> bool:
        return same_fields(self, other)

    def __hash__(self) -> int:
        values = (getattr(self, field.name) for field in fields(self))
        return hash(tuple(v.shape if isinstance(v, np.ndarray) else v for v in values))


FIELDS = tuple(field.name for field in fields(Sample))


def _as_video(field: str, value: Any) -> Video | None:
    """A path, or an array that numpy holds."""
    if isinstance(value, torch.Tensor):
        return np.asarray(value.detach().cpu())
    if value is None or isinstance(value, str | Path | np.ndarray):
        return value
    raise InputError(f"sample: {field} expected a path or an array, got {type(value).__name__}")


def plain_label(label: Any) -> str | int | None:
    """Return a label as JSON can hold it.

    >>> plain_label(np.float64(2.0)), plain_label(np.str_("roll")), plain_label(torch.tensor(1))
    (2, 'roll', 1)

    Raises:
        InputError: it is no name and no whole number.
    """
    if label is None:
        return None
    if isinstance(label, str):
        return str(label)
    try:
        number = float(label)
        if not math.isfinite(number) or number != int(label):
            raise ValueError
        return int(label)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InputError(
            f"samples expected labels that are names or whole numbers, got {label!r}"
        ) from None
