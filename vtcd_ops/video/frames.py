"""From video frames to a model's input and back: resize, crop, normalise, in torch alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vtcd_ops.common.errors import InputError

__all__ = ["FrameTransform"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# PIL's numbers for its resampling filters, as preprocessor configurations store them.
_FILTERS = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}

RGB = tuple[float, float, float]

#: (top, left, height, width) of a part of a frame, in its pixels.
Crop = tuple[float, float, float, float]


@dataclass(frozen=True)
class FrameTransform:
    """Resizes, crops and normalises frames, and undoes the normalisation for display.

    The resizing is torch's antialiased uint8 one, which follows Pillow's to one grey level.

    >>> import numpy as np
    >>> transform = FrameTransform(size=(32, 32), shortest_edge=32)
    >>> frames = np.full((4, 48, 64, 3), 128, dtype=np.uint8)
    >>> clip = transform(frames)
    >>> clip.shape, clip.dtype
    (torch.Size([4, 3, 32, 32]), torch.float32)
    >>> transform.display(clip).shape, int(transform.display(clip).max())
    ((4, 32, 32, 3), 128)

    Attributes:
        size: (H', W') the model sees.
        shortest_edge: the shorter side is brought to this length with the aspect ratio kept, and
            (H', W') cut from the centre; None leaves it to ``fit``.
        fit: without ``shortest_edge``, ``"stretch"`` the frame to (H', W'), or ``"cover"`` (H', W')
            with the aspect ratio kept, and cut it from the centre.
        mean, std: of the three colours, after scaling.
        scale, offset: a byte v becomes v * scale + offset before the normalisation.
        resample: "bilinear", "bicubic" or "nearest-exact".
    """

    size: tuple[int, int]
    shortest_edge: int | None = None
    fit: str = "stretch"
    mean: RGB = IMAGENET_MEAN
    std: RGB = IMAGENET_STD
    scale: float = 1 / 255
    offset: float = 0.0
    resample: str = "bilinear"

    @classmethod
    def from_config(cls, config: Mapping[str, Any], **defaults: Any) -> FrameTransform:
        """Read a Hugging Face `preprocessor_config.json`.

        >>> FrameTransform.from_config({"size": {"shortest_edge": 256}, "crop_size": 224}).size
        (224, 224)

        Args:
            config: the parsed file; what it leaves out comes from `defaults`.
            **defaults: attributes of `FrameTransform`.

        Raises:
            InputError: a resampling filter that torch does not have.
        """
        values = dict(defaults)
        resized = _edges(config.get("size"))
        if config.get("do_resize", True) and resized is not None:
            values["shortest_edge"] = resized if isinstance(resized, int) else None
            if isinstance(resized, tuple):
                values["size"] = resized
        cropped = _edges(config.get("crop_size"))
        if config.get("do_center_crop", False) or (cropped and "do_center_crop" not in config):
            values["size"] = (cropped, cropped) if isinstance(cropped, int) else cropped
        if "size" not in values and isinstance(resized, int):
            values["size"] = (resized, resized)
        if config.get("do_normalize", True):
            values.update(
                {k[6:]: tuple(config[k]) for k in ("image_mean", "image_std") if k in config}
            )
        else:
            values.update(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        if config.get("do_rescale", True):
            values["scale"] = config.get("rescale_factor", values.get("scale", 1 / 255))
            shifted = config.get("offset", values.get("offset", 0.0) < 0)
            values["offset"] = -1.0 if shifted else 0.0
        else:  # bytes as they are; the offset belongs to the scaling
            values.update(scale=1.0, offset=0.0)
        if config.get("resample") is not None:
            values["resample"] = _filter(config["resample"])
        return cls(**values)

    def __call__(self, frames: np.ndarray | Tensor) -> Tensor:
        """Turn frames, uint8 [T, H, W, 3], into float32 [T, 3, H', W']."""
        pixels = torch.as_tensor(
            np.ascontiguousarray(frames) if isinstance(frames, np.ndarray) else frames
        )
        if pixels.dim() != 4 or pixels.shape[-1] != 3 or pixels.dtype != torch.uint8:
            raise InputError(
                "preprocess: frames expected uint8 [T, H, W, 3], got "
                f"{str(pixels.dtype).removeprefix('torch.')} {list(pixels.shape)}"
            )
        if 0 in pixels.shape:
            raise InputError(f"preprocess: frames expected none empty, got {list(pixels.shape)}")
        pixels = self._fit(pixels.permute(0, 3, 1, 2))
        mean, std = self._statistics(pixels.device)
        return (pixels.to(torch.float32) * self.scale + self.offset - mean) / std

    def display(self, clip: Tensor) -> np.ndarray:
        """Turn a clip, float [T, 3, H', W'], back into frames, uint8 [T, H', W', 3]."""
        mean, std = self._statistics(clip.device)
        pixels = (clip.detach().to(torch.float32) * std + mean - self.offset) / self.scale
        pixels = pixels.round().clamp(0, 255).to(torch.uint8)
        return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).cpu().numpy())

    def crop_of(self, height: int, width: int) -> Crop:
        """Return the part of a frame of that size that the model sees.

        >>> FrameTransform(size=(24, 24), shortest_edge=24).crop_of(48, 64)
        (0.0, 8.0, 48.0, 48.0)

        Returns:
            (top, left, height, width) in pixels of the frame; beyond its edges where the model
            sees black around it.
        """
        edges = []
        for length, resized, seen in zip(
            (height, width), self._resized(height, width), self.size, strict=True
        ):
            pixel = length / resized  # one of the resized frame, in pixels of the frame
            edges.append(((resized - seen) // 2 * pixel, seen * pixel))
        (top, tall), (left, wide) = edges
        return top, left, tall, wide

    def mask_to_model(self, mask: Tensor) -> Tensor:
        """Bring masks of frames, bool [..., H, W], to what the model sees of them [..., H', W'].

        They go where the frames go: the same resizing, to the nearest pixel, and the same cut.

        >>> mask = torch.zeros(2, 48, 64, dtype=torch.bool)
        >>> mask[:, :, 32:] = True  # the right half
        >>> FrameTransform(size=(24, 24), shortest_edge=24).mask_to_model(mask)[0, 0].sum()
        tensor(12)
        """
        if mask.dim() < 2 or mask.dtype != torch.bool or 0 in mask.shape:
            raise InputError(
                "mask_to_model: mask expected bool [..., H, W], none empty, got "
                f"{str(mask.dtype).removeprefix('torch.')} {list(mask.shape)}"
            )
        planes = mask.reshape(-1, 1, *mask.shape[-2:]).to(torch.uint8)
        nearest = replace(self, resample="nearest-exact")
        return nearest._fit(planes).to(torch.bool).reshape(*mask.shape[:-2], *self.size)

    def _fit(self, pixels: Tensor) -> Tensor:  # [T, C, H, W] -> [T, C, H', W']
        height, width = pixels.shape[-2:]
        target = self._resized(height, width)
        if target != (height, width):
            exact = self.resample == "nearest-exact"
            pixels = functional.interpolate(
                pixels, size=target, mode=self.resample, antialias=not exact
            )
        return _center_crop(pixels, self.size)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Return the size of the frame before it is cut."""
        if self.shortest_edge is not None:
            # Truncation, not rounding, as in the image processors of Hugging Face.
            long_edge = int(self.shortest_edge * max(height, width) / min(height, width))
            edges = (self.shortest_edge, long_edge)
            return edges if height <= width else edges[::-1]
        if self.fit == "cover":
            scale = max(self.size[0] / height, self.size[1] / width)
            return (
                max(self.size[0], round(height * scale)),
                max(self.size[1], round(width * scale)),
            )
        return self.size

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        mean = torch.tensor(self.mean, device=device).view(3, 1, 1)
        std = torch.tensor(self.std, device=device).view(3, 1, 1)
        return mean, std


def _center_crop(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut (H', W') from the centre; where the frame is smaller, black surrounds it."""
    height, width = pixels.shape[-2:]
    if height < size[0] or width < size[1]:
        missing_h, missing_w = max(size[0] - height, 0), max(size[1] - width, 0)
        top, left = (missing_h + 1) // 2, (missing_w + 1) // 2
        pixels = functional.pad(pixels, (left, missing_w - left, top, missing_h - top))
        height, width = pixels.shape[-2:]
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return pixels[..., top : top + size[0], left : left + size[1]]


def _filter(number: Any) -> str:
    """Return torch's name of a resampling filter of Pillow."""
    if number not in _FILTERS:
        known = ", ".join(f"{key} ({name})" for key, name in _FILTERS.items())
        raise InputError(f"preprocessor_config: resample expected {known}, got {number!r}")
    return _FILTERS[number]


def _edges(entry: Any) -> int | tuple[int, int] | None:
    """A size in a preprocessor configuration: one edge, or (height, width)."""
    if isinstance(entry, Mapping):
        if "shortest_edge" in entry:
            return int(entry["shortest_edge"])
        return (int(entry["height"]), int(entry["width"])) if "height" in entry else None
    if isinstance(entry, (list, tuple)) and len(entry) == 2:
        return (int(entry[0]), int(entry[1]))
    return int(entry) if isinstance(entry, int) else None
