"""One video of a run: its features, group by group of layers, and the tubelets they make."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vtcd_ops.adapters.adapter import Adapter, heads_without_weights, model_device
from vtcd_ops.adapters.features import capture_video
from vtcd_ops.common.accelerator import (
    ComingBack,
    free_memory,
    is_out_of_memory,
    release_memory,
)
from vtcd_ops.common.errors import InputError, first_line, warn
from vtcd_ops.common.memory import format_bytes
from vtcd_ops.common.token_grid import volume_size
from vtcd_ops.discovery.keeping import EVERYTHING
from vtcd_ops.discovery.packed_tubelets import PackedTubelets
from vtcd_ops.discovery.records import VideoRecord
from vtcd_ops.discovery.run_files import clip_file, tubelet_file
from vtcd_ops.discovery.run_writer import RunWriter
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.discovery.storing import Storing
from vtcd_ops.discovery.tubelets import find_tubelets, tubelet_device
from vtcd_ops.video.clips import VideoClip, Window

PREVIEW_EDGE = 224  # longest edge of stored preview frames, in pixels


_WORKING_BYTES = 8  # of a voxel: what a thread of slic3d, or of the packing, takes beside
_KERNEL_BYTES = 24  # of a voxel: what the operators and the packing of labels take on a device


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
    thread_bytes: int = 0,
    num_threads: int = 1,
) -> list[Group]:
    """Return groups of whole layers, or of a layer's heads, that fit into the memory.

    >>> [(g.layers, g.heads) for g in plan_groups([0, 1, 2], [0, 1], 10, max_memory=45)]
    [([0, 1], [0, 1]), ([2], [0, 1])]

    Args:
        layers: all layers.
        heads: all heads.
        head_bytes: what one head of one layer takes.
        max_memory: bytes that a group may take.
        thread_bytes: what a thread takes while it works on a head.
        num_threads: that work on heads at a time.

    Raises:
        InputError: a single head does not fit.
    """
    fitting = (max_memory - num_threads * thread_bytes) // head_bytes
    if fitting < num_threads:  # no more threads than heads are at work
        fitting = min(num_threads, max_memory // (head_bytes + thread_bytes))
    if fitting == 0:
        raise InputError(
            f"discover: max_memory expected at least {format_bytes(head_bytes + thread_bytes)}, "
            f"which one head of this video takes, got {format_bytes(max_memory)}"
        )
    if fitting < len(heads):
        parts = [list(heads[i : i + fitting]) for i in range(0, len(heads), fitting)]
        return [Group([layer], part) for layer in layers for part in parts]
    step = fitting // len(heads)
    chunks = [list(layers[i : i + step]) for i in range(0, len(layers), step)]
    return [Group(chunk, list(heads)) for chunk in chunks]


class VideoDivider:
    """Divides videos into tubelets, and stores them layer by layer.

    Where features are on another device than the main memory, they stay there: label volumes alone
    come back, and are compressed and stored while the next video is worked on.

    Args:
        adapter: the model.
        settings: of the run.
        layers: layers wanted, ascending.
        heads: heads wanted, ascending.
        compactness: of SLIC, for every part and layer.
        max_memory: bytes of main memory for features and label volumes at a time.
        writer: the run; what it has already is not done again.
        pool: threads that compress and store.
    """

    def __init__(
        self,
        adapter: Adapter,
        settings: Settings,
        layers: Sequence[int],
        heads: Sequence[int],
        compactness: Mapping[tuple[str, int], float],
        max_memory: int,
        writer: RunWriter,
        pool: Executor,
    ) -> None:
        self.adapter = adapter
        self.settings = settings
        self.layers = layers
        self.heads = heads
        self.compactness = compactness
        self.device = tubelet_device(model_device(adapter.model), settings)
        self.writer = writer
        self._max_memory = max_memory
        self._pool = pool
        self._most_heads: int | None = None  # of all layers, after memory was too small for more
        self._tried = 0  # heads of the group that is worked on
        self._batch_size = settings.batch_size

    def divide(self, clip: VideoClip[Adapter], record: VideoRecord) -> Storing:
        """Find the tubelets of all layers of one video; what is returned has them stored in time.

        Where the device's memory is too small for as many heads as were planned, half as many are
        taken at a time from then on.
        """
        storing = Storing(self._pool)
        while layers := self._left(record.index):
            try:
                self._divide_layers(clip, record, layers, storing)
                break
            except (RuntimeError, ValueError) as error:
                storing.wait()
                if not is_out_of_memory(error):
                    raise
                reason = first_line(error)
                if not self._halve(reason):
                    raise InputError(
                        f"discover: one head of this video takes more memory than {self.device} "
                        f"has free: {reason}"
                    ) from error
            release_memory(self.device)  # after the error is gone, whose frames hold tensors
        if self.device.type == "cpu":
            storing.wait()
        return storing

    def _left(self, video: int) -> list[int]:
        """The layers that are not stored yet; of a video that was not begun all."""
        if not self.writer.has(clip_file(video)):
            return list(self.layers)
        return [layer for layer in self.layers if not self.writer.has_layer(video, layer)]

    def _divide_layers(
        self,
        clip: VideoClip[Adapter],
        record: VideoRecord,
        layers: list[int],
        storing: Storing,
    ) -> None:
        """Divide some layers of a video, as many heads at a time as fit into the memory."""
        begun = self.writer.has(clip_file(record.index))
        packed: dict[tuple[str, int], PackedTubelets] = {}
        head_bytes = self._head_bytes(clip)
        working = self._working_bytes(clip), torch.get_num_threads()
        budget = self._budget(head_bytes)
        if self.device.type == "cpu" and not begun and self.writer.keep == EVERYTHING:
            least = head_bytes + working[0]  # what is less than it is refused below
            budget = max(budget - _preview_bytes(record), min(budget, least))
        for group in plan_groups(layers, self.heads, head_bytes, budget, *working):
            self._tried = len(group.layers) * len(group.heads)
            shown: list[Future[np.ndarray]] = []
            show = not begun and self.writer.keep == EVERYTHING
            features = self._capture(clip, group, shown if show else None)
            if not begun:
                storing.begin(partial(self._store_clip, record, shown))
                begun = True
            for part in self.settings.parts:
                joined = features.pop(part)
                for some in self._missing(part, group, record.index):
                    first = group.layers.index(some[0])
                    its = Group(some, group.heads)
                    self._divide(
                        part, its, joined[first : first + len(some)], record, packed, storing
                    )
            if self.device.type == "cpu" or len(group.heads) < len(self.heads):
                storing.wait()  # main memory is for one group; heads are stored in their order

    def _store_clip(self, record: VideoRecord, shown: list[Future[np.ndarray]]) -> None:
        """Store the record of a video, and of what the model saw of it a preview."""
        frames = [frame for each in shown for frame in each.result()]
        self.writer.write_clip(record, frames[: record.num_frames] or None)

    def _show(self, frames: Tensor) -> np.ndarray:
        """What the model sees of some frames, small."""
        return _shrink(self.adapter.display(frames))

    def _missing(self, part: str, group: Group, video: int) -> Iterator[list[int]]:
        """Neighbouring layers of a group that are not stored and share their compactness."""

        def key(layer: int) -> tuple[bool, float]:
            done = self.writer.has(tubelet_file(video, part, layer))
            return done, self.compactness[part, layer]

        for (done, _), layers in itertools.groupby(group.layers, key):
            if not done:
                yield list(layers)

    def _capture(
        self, clip: VideoClip[Adapter], group: Group, shown: list[Future[np.ndarray]] | None
    ) -> dict[str, Tensor]:
        """Capture a group's features; on the way collect what the model saw, if wanted."""

        def show(window: Window, frames: Tensor) -> None:
            if shown is not None:
                new = frames[window.skip * self.adapter.tubelet_size :]
                shown.append(self._pool.submit(self._show, new))

        return capture_video(
            clip,
            group.layers,
            self.settings.parts,
            group.heads,
            batch_size=self._batch_size,
            on_clip=show,
            device=self.device,
        )

    def _divide(
        self,
        part: str,
        group: Group,
        features: Tensor,  # [layers, heads, C, t, h, w]
        record: VideoRecord,
        packed: dict[tuple[str, int], PackedTubelets],
        storing: Storing,
    ) -> None:
        """Find the tubelets of a group's layers and heads in one part; store complete layers."""
        t, h, w = features.shape[-3:]
        size = volume_size((t, h, w), self.adapter.tubelet_size, self.settings.voxels_per_token)
        sites = list(itertools.product(group.layers, group.heads))
        number = self.settings.parts.index(part)
        seeds = [[self.settings.seed, record.index, number, *site] for site in sites]
        gone = heads_without_weights(self.adapter)
        tubelets = find_tubelets(
            features.flatten(0, 1),
            size,
            record.num_frames,
            self.settings,
            compactness=self.compactness[part, group.layers[0]],
            seeds=seeds,
            present=[site not in gone for site in sites],
        )
        coming = [
            ComingBack(each) for each in (tubelets.packed_labels(), tubelets.means, tubelets.sizes)
        ]
        for layer in group.layers:
            packed.setdefault((part, layer), PackedTubelets((t, h, w), size, self.writer.keep))

        def store(number: int) -> None:
            layer = group.layers[number]
            labels, means, sizes = (each.numpy() for each in coming)
            layer_packed = packed[part, layer]
            for row in range(number * len(group.heads), (number + 1) * len(group.heads)):
                layer_packed.add(labels[row], means[row], sizes[row])
            if len(layer_packed) == len(self.heads):
                self.writer.write_tubelets(record, part, layer, packed.pop((part, layer)))

        for number in range(len(group.layers)):  # zlib lets others run meanwhile
            storing.add(partial(store, number))

    def _budget(self, head_bytes: int) -> int:
        """Bytes that the heads of a group may take together."""
        bytes_ = self._max_memory
        if (free := free_memory(self.device)) is not None:
            bytes_ = max(free // 2, head_bytes)  # the other half is for a forward of the model
        return bytes_ if self._most_heads is None else min(bytes_, self._most_heads * head_bytes)

    def _halve(self, reason: str) -> bool:
        """Take half as many heads at a time from now on; False where one was alone already."""
        if self._tried < 2 and self._batch_size == 1:
            return False
        if self._most_heads is None:
            self.writer.log("out of memory", device=str(self.device), reason=reason)
            warn(
                f"{self.device} has too little memory for what was planned ({reason}): half as "
                "many heads are taken at a time, and halved again where need be"
            )
        self._most_heads = max(1, self._tried // 2)
        self._batch_size = max(1, self._batch_size // 2)
        return True

    def _head_bytes(self, clip: VideoClip[Adapter]) -> int:
        """Memory that the features and labels of one head of one video take."""
        tokens, voxels = self._size(clip)
        # float32 features of every part, and int32 labels of one part
        channels = self.adapter.head_dim * len(self.settings.parts)
        plain = 4 * tokens * channels + 4 * voxels
        if self.device.type != "cpu":
            return 2 * plain + _KERNEL_BYTES * voxels
        seen = math.prod(self.adapter.token_grid) * self._batch_size  # tokens of a forward
        return plain + 4 * min(seen, tokens) * channels + voxels  # as captured; labels as bytes

    def _working_bytes(self, clip: VideoClip[Adapter]) -> int:
        """Main memory that a thread takes while it divides a volume or packs its labels."""
        if self.device.type != "cpu":
            return 0
        tokens, voxels = self._size(clip)
        return _WORKING_BYTES * voxels + 8 * tokens * self.adapter.head_dim

    def _size(self, clip: VideoClip[Adapter]) -> tuple[int, int]:
        """Tokens and voxels of a video."""
        _, h, w = self.adapter.token_grid
        tokens = clip.num_steps * h * w
        return tokens, tokens * self.adapter.tubelet_size * self.settings.voxels_per_token**2


def _preview_bytes(record: VideoRecord) -> int:
    """Main memory that what the model saw of a video takes, small, until it is stored."""
    height, width = record.crop[2:]
    scale = min(1.0, PREVIEW_EDGE / max(height, width))
    return int(3 * record.num_frames * height * width * scale**2)


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
