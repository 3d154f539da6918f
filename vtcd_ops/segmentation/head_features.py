"""The heads that a segmentation looks at, and their features of a whole video."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from vtcd_ops.adapters.adapter import PARTS, Adapter, model_device
from vtcd_ops.adapters.features import capture_video
from vtcd_ops.adapters.requests import check_indices, check_request
from vtcd_ops.common.errors import InputError
from vtcd_ops.ops.library import device_with_kernels
from vtcd_ops.video.clips import VideoClip, choose_clip
from vtcd_ops.video.readers import VideoSource
from vtcd_ops.video.samples import Sample

#: (part, layer, head)
Head = tuple[str, int, int]


def check_heads(caller: str, adapter: Adapter, heads: Iterable[Any]) -> list[Head]:
    """Return heads given as (part, layer, head), each once, in the order given.

    Raises:
        InputError: there is none, or one that the model has not.
    """
    check_request(caller, adapter, None, PARTS)
    found: dict[Head, None] = {}
    for given in heads:
        if not isinstance(given, tuple | list) or len(given) != 3:
            raise InputError(f"{caller}: heads expected (part, layer, head) each, got {given!r}")
        part, layer, head = given
        check_request(caller, adapter, [layer], [part])
        check_indices(caller, "head", [head], adapter.num_heads)
        found[str(part), int(layer), int(head)] = None
    if not found:
        raise InputError(f"{caller}: heads expected at least one, got none")
    return list(found)


def last_keys(adapter: Adapter, num_layers: int) -> list[Head]:
    """Return the keys of all heads of the last layers."""
    first = max(adapter.num_layers - num_layers, 0)
    return [
        ("keys", layer, head)
        for layer in range(first, adapter.num_layers)
        for head in range(adapter.num_heads)
    ]


def whole_video(
    caller: str, adapter: Adapter, source: VideoSource, sample: Sample
) -> VideoClip[Adapter]:
    """Return all frames of a video, in windows of the model's clip length."""
    if source.num_frames == 0:
        raise InputError(f"{caller}: video expected at least 1 frame, got none")
    return choose_clip(adapter, source, "all", 1, sample)


def head_features(
    clip: VideoClip[Adapter], heads: list[Head], batch_size: int = 1
) -> dict[Head, Tensor]:
    """Return the features of some heads, float32 [C, t, h, w] each, joined over all windows.

    They are on the model's device where the operators have kernels for it, else in main memory.
    """
    parts = list(dict.fromkeys(part for part, _, _ in heads))
    layers = sorted({layer for _, layer, _ in heads})
    numbers = sorted({head for _, _, head in heads})
    device = device_with_kernels(
        model_device(clip.adapter.model), "slic3d", "tubelet_pool", "kmeans", "cnmf"
    )
    joined = capture_video(clip, layers, parts, numbers, batch_size=batch_size, device=device)
    return {
        (part, layer, head): joined[part][layers.index(layer), numbers.index(head)]
        for part, layer, head in heads
    }
