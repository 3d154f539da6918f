"""The part of a model that sees pixels, and the arguments that it takes them by."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from vtcd_ops.adapters import InputError
from vtcd_ops.adapters.huggingface import image_sides

__all__ = ["Tower", "find_tower", "run"]

_SIDE = 224  # of frames, where neither the configuration nor the caller says
_FRAMES = 16  # of a clip, of a model that takes clips of any length

# Names of entries of configurations, the first that is there.
_SIDES = ("image_size", "crop_size", "input_resolution")
_LENGTHS = ("num_frames", "frames_per_clip")
_PATCHES = ("patch_size", "patch_stride")


@dataclass(frozen=True)
class Tower:
    """A model that sees pixels.

    Attributes:
        model: the model, or the part of it that sees pixels.
        form: how it takes clips, one of `_FORMS`.
        frames: of a clip; 1 of a model that sees them one by one.
        size: (height, width) of a frame.
    """

    model: PreTrainedModel
    form: str
    frames: int
    size: tuple[int, int]

    def run(self, clips: Tensor) -> Any:
        """Run the model on clips [B, T, 3, H', W']."""
        return run(self.model, self.form, clips)


def run(model: PreTrainedModel, form: str, clips: Tensor, **inputs: Tensor) -> Any:
    """Run a model that takes pixels in one of the forms on clips [B, T, 3, H', W']."""
    arguments = _FORMS[form](clips, model.config)
    if "skip_predictor" in inspect.signature(model.forward).parameters:
        arguments["skip_predictor"] = True
    return model(**arguments, **inputs)


def find_tower(
    model: PreTrainedModel, source: str, num_frames: int | None, image_size: Any
) -> Tower:
    """Return the first part of a model, itself to begin with, that runs on pixels alone.

    Raises:
        InputError: nothing does; the last error that it raised.
    """
    failures = []
    for part in _parts(model):
        for form in _forms(part):
            tower = Tower(part, form, *_sizes(part, form, source, num_frames, image_size))
            clips = torch.rand(1, tower.frames, 3, *tower.size).to(part.device, part.dtype)
            try:
                with torch.no_grad():
                    tower.run(clips)
            except Exception as error:  # whatever a forward raises that wants something else
                reason = str(error).strip().partition("\n")[0][:160]
                failures.append(f"{type(part).__name__} ({form}): {reason}")
                continue
            return tower
    reasons = "; ".join(failures[-3:]) or "no part of it takes pixels"
    raise InputError(
        f"{source} expected a model or a part of one that runs on frames alone, got "
        f"{type(model).__name__}: {reasons}"
    )


def _parts(model: PreTrainedModel) -> Iterator[PreTrainedModel]:
    """Yield a model and the models inside it, the outer ones first."""
    found = [(name.count("."), part) for name, part in model.named_modules()
             if isinstance(part, PreTrainedModel)]  # fmt: skip
    for _, part in sorted(found, key=lambda each: each[0]):
        yield part


def _forms(part: PreTrainedModel) -> list[str]:
    """Return the ways in which a model may take pixels, by the names of its arguments."""
    names = inspect.signature(part.forward).parameters
    if "grid_thw" in names and "hidden_states" in names:
        return ["merged patches"]
    if "spatial_shapes" in names and "pixel_values" in names:
        return ["patches"]
    if "pixel_values_videos" in names:
        return ["pixel_values_videos"]
    return ["clips", "frames"] if "pixel_values" in names else []


def _sizes(
    part: PreTrainedModel, form: str, source: str, num_frames: int | None, image_size: Any
) -> tuple[int, tuple[int, int]]:
    """Return the frames of a clip and their size: as asked for, as configured, or usual."""
    config = part.config
    length = num_frames or _first(config, _LENGTHS)
    if length is None:
        length = 1 if form in ("frames", "patches") else _FRAMES
    if not isinstance(length, int) or length < 1:
        raise InputError(f"{source}: num_frames expected a whole number, got {length!r}")
    size = image_size if image_size is not None else _first(config, _SIDES)
    try:
        height, width = _size(size, _step(config, form))
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise InputError(
            f"{source}: image_size expected a side or 'HEIGHTxWIDTH' in pixels, got {size!r}"
        )
    return length, (height, width)


def _size(size: Any, step: int) -> tuple[int, int]:
    if size is None:
        return (max(_SIDE // step, 1) * step,) * 2
    if isinstance(size, str):
        height, width = (int(side) for side in size.lower().split("x"))
        return height, width
    return image_sides(size)


def _step(config: Any, form: str) -> int:
    """Return what the sides of a frame must be multiples of."""
    patch = _first(config, _PATCHES)
    patch = patch if isinstance(patch, int) else 1
    return patch * (getattr(config, "spatial_merge_size", 1) if form == "merged patches" else 1)


def _first(config: Any, names: tuple[str, ...]) -> Any:
    for name in names:
        value = getattr(config, name, None)
        if value is not None:
            return value
    return None


def _merged_patches(clips: Tensor, config: Any) -> dict[str, Any]:
    """As Qwen-VL takes them: patches of all clips in one row, those that are merged together."""
    batch, frames, channels, height, width = clips.shape
    patch, merge, tubelet = config.patch_size, config.spatial_merge_size, config.temporal_patch_size
    t, h, w = frames // tubelet, height // patch, width // patch
    split = clips.reshape(
        batch, t, tubelet, channels, h // merge, merge, patch, w // merge, merge, patch
    )
    rows = split.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9).reshape(batch * t * h * w, -1)
    grid = torch.tensor([[t, h, w]] * batch, device=clips.device)
    return {"hidden_states": rows, "grid_thw": grid}


def _patches(clips: Tensor, config: Any) -> dict[str, Any]:
    """As SigLIP 2 takes them: the patches of a frame, each row by row, colours innermost."""
    frames = clips.flatten(0, 1)
    count, channels, height, width = frames.shape
    patch = config.patch_size
    h, w = height // patch, width // patch
    split = frames.reshape(count, channels, h, patch, w, patch).permute(0, 2, 4, 3, 5, 1)
    return {
        "pixel_values": split.reshape(count, h * w, -1),
        "pixel_attention_mask": torch.ones(count, h * w, dtype=torch.long, device=clips.device),
        "spatial_shapes": torch.tensor([[h, w]] * count, device=clips.device),
    }


_FORMS: dict[str, Callable[[Tensor, Any], dict[str, Any]]] = {
    "pixel_values_videos": lambda clips, config: {"pixel_values_videos": clips},
    "clips": lambda clips, config: {"pixel_values": clips},
    "frames": lambda clips, config: {"pixel_values": clips.flatten(0, 1)},
    "patches": _patches,
    "merged patches": _merged_patches,
}
