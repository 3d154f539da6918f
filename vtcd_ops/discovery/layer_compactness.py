"""The compactness of SLIC for every layer, chosen from the features of a few videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from vtcd_ops.adapters.adapter import Adapter, heads_without_weights
from vtcd_ops.adapters.features import capture_video
from vtcd_ops.common.token_grid import volume_size
from vtcd_ops.discovery.compactness import choose_compactness
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.discovery.video_divider import plan_groups
from vtcd_ops.video.clips import VideoClip

NUM_VIDEOS = 3  # videos it is chosen from: the first ones
_UNUSED = 0.1  # of a layer without heads, where nothing is divided
_MAX_FRAMES = 256  # of each; more would not change it, and memory stays bounded


def layer_compactness(
    clips: Sequence[VideoClip[Adapter]],
    layers: Sequence[int],
    heads: Sequence[int],
    settings: Settings,
    max_memory: int,
) -> dict[tuple[str, int], float]:
    """Choose the compactness of every part and layer, see :func:`vtcd_ops.choose_compactness`.

    Args:
        clips: some videos; all of them are looked at.
        layers: layers wanted.
        heads: heads wanted; those of a layer share the value.
        settings: parts, n_segments, voxels_per_token, batch_size.
        max_memory: bytes for features at a time; one layer of all clips is taken in any case.
    """
    clips = [replace(clip, indices=clip.indices[:_MAX_FRAMES]) for clip in clips]
    adapter = clips[0].adapter
    _, h, w = adapter.token_grid
    tokens = sum(clip.num_steps for clip in clips) * h * w
    gone = heads_without_weights(adapter)
    layer_bytes = 4 * tokens * adapter.head_dim * len(heads) * len(settings.parts)
    chosen = {}
    for group in plan_groups(layers, [0], layer_bytes, max(max_memory, layer_bytes)):
        features = [
            capture_video(clip, group.layers, settings.parts, heads, batch_size=settings.batch_size)
            for clip in clips
        ]
        for part in settings.parts:
            for row, layer in enumerate(group.layers):
                there = [place for place, head in enumerate(heads) if (layer, head) not in gone]
                if not there:
                    chosen[part, layer] = _UNUSED
                    continue
                videos = [video[part][row][there] for video in features]  # [A, C, t, h, w] each
                chosen[part, layer] = _choose(videos, adapter.tubelet_size, settings)
    return chosen


def _choose(videos: list[Tensor], tubelet_size: int, settings: Settings) -> float:
    sizes = []
    for video in videos:  # their lengths may differ
        t, h, w = video.shape[-3:]
        sizes.append(volume_size((t, h, w), tubelet_size, settings.voxels_per_token))
    return choose_compactness(videos, sizes, settings.n_segments)
