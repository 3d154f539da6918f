"""One video of a run: its features, group by group of layers, and the tubelets they make."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.features import capture_video
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.memory import format_bytes
from vtcd_ops.common.token_grid import volume_size
from vtcd_ops.discovery.packed_tubelets import PackedTubelets
from vtcd_ops.discovery.records import VideoRecord
from vtcd_ops.discovery.run_files import clip_file, tubelet_file
from vtcd_ops.discovery.run_writer import RunWriter
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.discovery.tubelets import find_tubelets
from vtcd_ops.video.clips import VideoClip, Window

PREVIEW_EDGE = 224  # longest edge of stored preview frames, in pixels


@dataclass(frozen=True)
class Group:
    """Layers and heads whose features are in memory together."""

    layers: list[int]
    heads: list[int]


def plan_groups(
    layers: Sequence[int],
    heads: Sequence[int],
    head_bytes: int,
    max_memory: int,
) -> list[Group]:
    """Return groups of whole layers, or of a layer's heads, that fit into the memory.

    >>> [(g.layers, g.heads) for g in plan_groups([0, 1, 2], [0, 1], 10, max_memory=45)]
    [([0, 1], [0, 1]), ([2], [0, 1])]

    Args:
        layers: all layers.
        heads: all heads.
        head_bytes: what one head of one layer takes.
        max_memory: bytes that a group may take.

    Raises:
        InputError: a single head does not fit.
    """
    fitting = max_memory // head_bytes
    if fitting == 0:
        raise InputError(
            f"discover: max_memory expected at least {format_bytes(head_bytes)}, which one head of "
            f"this video takes, got {format_bytes(max_memory)}"
        )
    if fitting < len(heads):
        parts = [list(heads[i : i + fitting]) for i in range(0, len(heads), fitting)]
        return [Group([layer], part) for layer in layers for part in parts]
    step = fitting // len(heads)
    chunks = [list(layers[i : i + step]) for i in range(0, len(layers), step)]
    return [Group(chunk, list(heads)) for chunk in chunks]


@dataclass(frozen=True)
class VideoDivider:
    """Divides videos into tubelets, and stores them layer by layer.

    Args:
        adapter: the model.
        settings: of the run.
        layers: layers wanted, ascending.
        heads: heads wanted, ascending.
        compactness: of SLIC, for every part and layer.
        max_memory: bytes for features and label volumes at a time.
        writer: the run; what it has already is not done again.
    """

    adapter: Adapter
    settings: Settings
    layers: Sequence[int]
    heads: Sequence[int]
    compactness: Mapping[tuple[str, int], float]
    max_memory: int
    writer: RunWriter

    def divide(self, clip: VideoClip[Adapter], record: VideoRecord) -> None:
        """Store the record, the preview, and the tubelets of all layers of one video."""
        begun = self.writer.has(clip_file(record.index))
        layers = [n for n in self.layers if not (begun and self.writer.has_layer(record.index, n))]
        packed: dict[tuple[str, int], PackedTubelets] = {}
        for group in plan_groups(layers, self.heads, self._head_bytes(clip), self.max_memory):
            preview: list[np.ndarray] = []
            features = self._capture(clip, group, None if begun else preview)
            if not begun:
                self.writer.write_clip(record, np.concatenate(preview)[: record.num_frames])
                begun = True
            for part in self.settings.parts:
                joined = features.pop(part)
                for layers in self._missing(part, group, record.index):
                    first = group.layers.index(layers[0])
                    some = Group(layers, group.heads)
                    self._divide(part, some, joined[first : first + len(layers)], record, packed)

    def _missing(self, part: str, group: Group, video: int) -> Iterator[list[int]]:
        """Neighbouring layers of a group that are not stored and share their compactness."""

        def key(layer: int) -> tuple[bool, float]:
            done = self.writer.has(tubelet_file(video, part, layer))
            return done, self.compactness[part, layer]

        for (done, _), layers in itertools.groupby(group.layers, key):
            if not done:
                yield list(layers)

    def _capture(
        self, clip: VideoClip[Adapter], group: Group, preview: list[np.ndarray] | None
    ) -> dict[str, Tensor]:
        """Capture a group's features; on the way collect what the model saw, if wanted."""

        def show(window: Window, frames: Tensor) -> None:
            if preview is not None:
                new = frames[window.skip * self.adapter.tubelet_size :]
                preview.append(_shrink(self.adapter.display(new)))

        return capture_video(
            clip,
            group.layers,
            self.settings.parts,
            group.heads,
            batch_size=self.settings.batch_size,
            on_clip=show,
        )

    def _divide(
        self,
        part: str,
        group: Group,
        features: Tensor,  # [layers, heads, C, t, h, w]
        record: VideoRecord,
        packed: dict[tuple[str, int], PackedTubelets],
    ) -> None:
        """Find the tubelets of a group's layers and heads in one part; store complete layers."""
        t, h, w = features.shape[-3:]
        size = volume_size((t, h, w), self.adapter.tubelet_size, self.settings.voxels_per_token)
        seeds = [
            [self.settings.seed, record.index, self.settings.parts.index(part), layer, head]
            for layer in group.layers
            for head in group.heads
        ]
        tubelets = find_tubelets(
            features.flatten(0, 1),
            size,
            record.num_frames,
            self.settings,
            compactness=self.compactness[part, group.layers[0]],
            seeds=seeds,
        )
        labels, means, sizes = (
            tensor.numpy() for tensor in (tubelets.labels, tubelets.means, tubelets.sizes)
        )
        for layer in group.layers:
            packed.setdefault((part, layer), PackedTubelets((t, h, w), size))

        def store(number: int) -> None:
            layer = group.layers[number]
            layer_packed = packed[part, layer]
            for row in range(number * len(group.heads), (number + 1) * len(group.heads)):
                layer_packed.add(labels[row], means[row], sizes[row])
            if len(layer_packed) == len(self.heads):
                self.writer.write_tubelets(record, part, layer, packed.pop((part, layer)))

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # zlib lets others run meanwhile
            list(pool.map(store, range(len(group.layers))))

    def _head_bytes(self, clip: VideoClip[Adapter]) -> int:
        """Memory that the features and labels of one head of one video take."""
        _, h, w = self.adapter.token_grid
        tokens = clip.num_steps * h * w
        voxels = tokens * self.adapter.tubelet_size * self.settings.voxels_per_token**2
        # float32 features of every part, and int32 labels of one part
        return 4 * tokens * self.adapter.head_dim * len(self.settings.parts) + 4 * voxels


def _shrink(frames: np.ndarray) -> np.ndarray:
    """Frames [T, H, W, 3] whose longest edge is at most that of a preview."""
    height, width = frames.shape[1:3]
    scale = PREVIEW_EDGE / max(height, width)
    if scale >= 1:
        return frames
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = functional.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    return small.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
