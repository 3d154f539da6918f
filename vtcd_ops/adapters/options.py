"""Options of adapters that several families have: a preprocessor configuration, the attention."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vtcd_ops.common.errors import InputError
from vtcd_ops.video.frames import FrameTransform

__all__ = ["check_attention", "frame_transform"]


def frame_transform(
    name: str, preprocessor_config: Mapping[str, Any] | None, size: tuple[int, int], **defaults: Any
) -> FrameTransform:
    """Return what a preprocessor configuration says is done to frames, for a model of one size.

    >>> frame_transform("mine", {"image_mean": [0.5, 0.5, 0.5]}, (32, 40), std=(1, 1, 1)).size
    (32, 40)
    >>> frame_transform("mine", {"crop_size": 16}, (32, 40))
    Traceback (most recent call last):
    vtcd_ops.common.errors.InputError: mine: the preprocessor configuration gives frames of 16x16,
        expected the model's 32x40

    Args:
        name: of the model, for the error.
        preprocessor_config: None where there is none.
        size: (height, width) of the frames that the model takes.
        **defaults: of `FrameTransform`, where the configuration says nothing.
    """
    frames = FrameTransform.from_config(preprocessor_config or {}, size=size, **defaults)
    if frames.size != size:
        raise InputError(
            f"{name}: the preprocessor configuration gives frames of {frames.size[0]}x"
            f"{frames.size[1]}, expected the model's {size[0]}x{size[1]}"
        )
    return frames


def check_attention(name: str, attention: str, *, divided: bool) -> None:
    """Refuse an attention that a model does not have; one that is not divided has no temporal one.

    >>> check_attention("mine", "temporal", divided=False)
    Traceback (most recent call last):
    vtcd_ops.common.errors.InputError: mine: a model whose attention is not divided has no temporal
        attention of its own
    """
    if attention not in ("spatial", "temporal"):
        raise InputError(f"{name}: attention expected 'spatial' or 'temporal', got {attention!r}")
    if attention == "temporal" and not divided:
        raise InputError(
            f"{name}: a model whose attention is not divided has no temporal attention of its own"
        )
