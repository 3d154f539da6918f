"""Whether frames get the colours that a model was trained on, as far as the model says."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from vtcd_ops.adapters.configs import read_config
from vtcd_ops.common.errors import InputWarning
from vtcd_ops.video.frames import RGB, FrameTransform

__all__ = ["CLIP_MEAN", "CLIP_STD", "warn_of_colours"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

#: Mean and deviation are written with three digits and more.
_TOLERANCE = 5e-3


def warn_of_colours(model: nn.Module, frames: FrameTransform, name: str) -> None:
    """Warn where frames are normalised otherwise than the model was trained on.

    Looked at are the preprocessor configuration in the folder that a model of transformers was
    loaded from, and whether a model is named CLIP, whose colours are not ImageNet's.
    """
    known = _of_checkpoint(model) or _of_name(model)
    if known is None:
        return
    said, mean, std = known
    if _close(mean, frames.mean) and _close(std, frames.std):
        return
    warnings.warn(
        f"{name}: frames get the colours mean {_words(frames.mean)}, deviation "
        f"{_words(frames.std)}; {said} mean {_words(mean)}, deviation {_words(std)}: "
        f"FrameTransform(mean=..., std=...) takes them",
        InputWarning,
        stacklevel=4,
    )


def _of_checkpoint(model: nn.Module) -> tuple[str, RGB, RGB] | None:
    """Return what stands in the folder that a model was loaded from."""
    folder = Path(str(getattr(getattr(model, "config", None), "_name_or_path", "") or ""))
    for file in ("video_preprocessor_config.json", "preprocessor_config.json"):
        if folder.name and (folder / file).is_file():
            config = read_config(folder / file)
            if config.get("do_normalize", True) and {"image_mean", "image_std"} <= config.keys():
                read = FrameTransform.from_config(config, size=(1, 1))
                return f"{folder / file} says", read.mean, read.std
    return None


def _of_name(model: nn.Module) -> tuple[str, RGB, RGB] | None:
    """Return CLIP's colours for a model of that name."""
    config: Any = getattr(model, "config", None)
    kind = config.get("model_type") if isinstance(config, Mapping) else None
    names = (type(model).__name__, str(kind or getattr(config, "model_type", "")))
    if any("clip" in name.lower() and "siglip" not in name.lower() for name in names):
        return f"a {type(model).__name__} as published was trained with", CLIP_MEAN, CLIP_STD
    return None


def _close(one: RGB, other: RGB) -> bool:
    return all(abs(a - b) < _TOLERANCE for a, b in zip(one, other, strict=True))


def _words(colour: RGB) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in colour) + ")"
