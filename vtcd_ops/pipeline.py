"""Clips to features to tubelets to concepts: what is left to do of a run, and doing it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from vtcd_ops._files import read_tensors
from vtcd_ops.adapter import Adapter
from vtcd_ops.adapters import weights_sha256
from vtcd_ops.concepts import find_concepts
from vtcd_ops.errors import InputError
from vtcd_ops.features import VideoClip, Window, capture_video, choose_clip
from vtcd_ops.run_writer import PackedTubelets, RunWriter
from vtcd_ops.samples import Sample, as_samples
from vtcd_ops.settings import Settings
from vtcd_ops.store import LayerTubelets, VideoRecord, clip_file, concept_file, tubelet_file
from vtcd_ops.tubelets import find_tubelets, volume_size
from vtcd_ops.video_reader import open_video

PREVIEW_EDGE = 224  # longest edge of stored preview frames, in pixels
_POLL_SECONDS = 0.2


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
            f"discover: max_memory expected at least {head_bytes / 1e6:.0f} MB, which one head of "
            f"this video takes, got {max_memory / 1e6:.0f} MB"
        )
    if fitting < len(heads):
        parts = [list(heads[i : i + fitting]) for i in range(0, len(heads), fitting)]
        return [Group([layer], part) for layer in layers for part in parts]
    step = fitting // len(heads)
    chunks = [list(layers[i : i + step]) for i in range(0, len(layers), step)]
    return [Group(chunk, list(heads)) for chunk in chunks]


class Pipeline:
    """One model and one run directory; any number of processes may do this at once."""

    def __init__(
        self,
        adapter: Adapter,
        settings: Settings,
        out: Path,
        max_memory: int,
        resume: bool,
        progress: bool,
    ) -> None:
        self.adapter = adapter
        self.settings = settings
        self.layers = _chosen("layers", settings.layers, adapter.num_layers)
        self.heads = _chosen("heads", settings.heads, adapter.num_heads)
        self.max_memory = max_memory
        self.progress = progress
        self.writer = RunWriter(out, self._document(), resume=resume)

    def _document(self) -> dict[str, Any]:
        """What identifies the run."""
        adapter = self.adapter
        return {
            "kind": "discovery",
            "settings": self.settings.as_json(),
            "model": describe_model(adapter),
            "versions": library_versions(),
            "parts": list(self.settings.parts),
            "layers": self.layers,
        }

    def run(self, samples: Any) -> None:
        """Do what is left to do, together with whatever other process does the same."""
        if self.writer.finished:
            self._check_finished(samples)
            return
        self.writer.log("started")
        try:
            num_videos = self._do_videos(samples)
            self._do_concepts(num_videos)
            self.writer.finish(num_videos, self.heads)
        finally:
            self.writer.close()

    def _check_finished(self, samples: Any) -> None:
        """A finished run must be of the videos that are asked for."""
        if isinstance(samples, Iterator):
            return
        num_videos = 0
        for index, sample in enumerate(as_samples(samples)):
            self.writer.check_video(index, open_video(sample.video).sha256(), str(sample.name))
            num_videos = index + 1
        if self.writer.has(clip_file(num_videos)):
            raise InputError(
                f"{self.writer.path} holds a run of more videos: choose another directory"
            )

    def _do_videos(self, samples: Any) -> int:
        """Find the tubelets of all videos; return how many videos there are."""
        bar = tqdm(desc="videos", unit="video", total=_length(samples), disable=not self.progress)
        checked: set[int] = set()
        while True:
            index, waiting = -1, False
            for index, sample in enumerate(as_samples(samples)):
                if index not in checked:
                    waiting |= not self._do_video(index, sample, checked)
                    bar.update(len(checked) - bar.n)
            if not waiting:
                bar.close()
                return index + 1
            time.sleep(_POLL_SECONDS)  # another process works on the rest, or is dying

    def _do_video(self, index: int, sample: Sample, checked: set[int]) -> bool:
        """Do one video unless another process is at it; return whether it is done."""
        with self.writer.claims.claim(index) as mine:
            if not mine:
                return False
            try:
                source = open_video(sample.video)
                sha256 = source.sha256()
                self.writer.check_video(index, sha256, str(sample.name))
                if not self.writer.has_video(index):
                    clip = choose_clip(
                        self.adapter, source, self.settings.num_frames, self.settings.sampling_rate
                    )
                    self._do_layers(clip, _record(index, sample, sha256, clip))
            except ValueError as error:
                raise InputError(f"video {sample.name}: {error}") from error
        checked.add(index)
        return True

    def _do_layers(self, clip: VideoClip, record: VideoRecord) -> None:
        """Find the tubelets of the layers of one video that are not done."""
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
                self._do_group(part, group, features.pop(part), record, packed)

    def _capture(
        self, clip: VideoClip, group: Group, preview: list[np.ndarray] | None
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

    def _do_group(
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
        sites = [(layer, head) for layer in group.layers for head in group.heads]
        seeds = [
            [self.settings.seed, record.index, self.settings.parts.index(part), layer, head]
            for layer, head in sites
        ]
        tubelets = find_tubelets(
            features.flatten(0, 1), size, record.num_frames, self.settings, seeds
        )
        for layer in group.layers:
            packed.setdefault((part, layer), PackedTubelets((t, h, w), size))
        labels, means, sizes = (
            tensor.numpy() for tensor in (tubelets.labels, tubelets.means, tubelets.sizes)
        )

        def store(number: int) -> None:
            layer = group.layers[number]
            layer_packed = packed[part, layer]
            for row in range(number * len(group.heads), (number + 1) * len(group.heads)):
                layer_packed.add(labels[row], means[row], sizes[row])
            if len(layer_packed) == len(self.heads):
                self.writer.write_tubelets(record.index, part, layer, packed.pop((part, layer)))

        with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # zlib lets others run meanwhile
            list(pool.map(store, range(len(group.layers))))

    def _head_bytes(self, clip: VideoClip) -> int:
        """Memory that the features and labels of one head of one video take."""
        _, h, w = self.adapter.token_grid
        tokens = clip.num_steps * h * w
        voxels = tokens * self.adapter.tubelet_size * self.settings.voxels_per_token**2
        # features in float32 for every part; labels in int32 of one part, and a copy of one head
        return 4 * tokens * self.adapter.head_dim * len(self.settings.parts) + 4 * voxels

    def _do_concepts(self, num_videos: int) -> None:
        """Find the concepts of all layers."""
        tasks = [(part, layer) for part in self.settings.parts for layer in self.layers]
        bar = tqdm(desc="concepts", unit="layer", total=len(tasks), disable=not self.progress)
        while missing := [task for task in tasks if not self.writer.has(concept_file(*task))]:
            bar.update(len(tasks) - len(missing) - bar.n)
            done = [self._do_layer_concepts(tasks.index(task), num_videos) for task in missing]
            if not all(done):
                time.sleep(_POLL_SECONDS)
        bar.update(len(tasks) - bar.n)
        bar.close()

    def _do_layer_concepts(self, number: int, num_videos: int) -> bool:
        """Find the concepts of one layer unless another process is at it."""
        part = self.settings.parts[number // len(self.layers)]
        layer = self.layers[number % len(self.layers)]
        with self.writer.claims.claim(self.writer.concept_task(number)) as mine:
            if not mine:
                return False
            if not self.writer.has(concept_file(part, layer)):
                members = self._members(part, layer, num_videos)
                try:
                    found = find_concepts([head.pop("means") for head in members], self.settings)
                except ValueError as error:
                    raise InputError(f"{part} of layer {layer}: {error}") from error
                self.writer.write_concepts(part, layer, members, found)
        return True

    def _members(self, part: str, layer: int, num_videos: int) -> list[dict[str, np.ndarray]]:
        """For each head of a layer video, label, size [N] and mean [N, C] of all its tubelets."""
        rows: list[list[dict[str, np.ndarray]]] = [[] for _ in self.heads]
        for video in range(num_videos):
            path = self.writer.path / tubelet_file(video, part, layer)
            tubelets = LayerTubelets(*read_tensors(path))
            for row in range(len(self.heads)):
                label = np.flatnonzero(tubelets.sizes[row]).astype(np.int32)
                rows[row].append(
                    {
                        "video": np.full(len(label), video, dtype=np.int32),
                        "label": label,
                        "size": tubelets.sizes[row, label],
                        "means": tubelets.means[row, label],
                    }
                )
        return [
            {name: np.concatenate([video[name] for video in head]) for name in head[0]}
            for head in rows
        ]


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that a result depends on."""
    return {name: version(name) for name in ("vtcd-ops", "torch", "numpy")}


def describe_model(adapter: Adapter) -> dict[str, Any]:
    """Return what identifies a model: its name, the hash of its weights, its shape."""
    return {
        "name": adapter.name,
        "sha256": weights_sha256(adapter.model),
        "num_layers": adapter.num_layers,
        "num_heads": adapter.num_heads,
        "head_dim": adapter.head_dim,
        "num_frames": adapter.num_frames,
        "tubelet_size": adapter.tubelet_size,
        "token_grid": list(adapter.token_grid),
        "num_prefix_tokens": adapter.num_prefix_tokens,
    }


def _chosen(name: str, chosen: Iterable[int] | None, count: int) -> list[int]:
    """The layers or heads asked for, ascending."""
    if chosen is None:
        return list(range(count))
    numbers = sorted(set(chosen))
    if not numbers or numbers[0] < 0 or numbers[-1] >= count:
        raise InputError(f"discover: {name} expected from 0 to {count - 1}, got {list(chosen)}")
    return numbers


def _length(samples: Any) -> int | None:
    """How many videos there are, where that is known without reading them."""
    if isinstance(samples, np.ndarray | Tensor):
        return len(samples) if samples.ndim == 5 else 1
    if isinstance(samples, list | tuple) and all(isinstance(s, Sample) for s in samples):
        return len(samples)
    return None


def _record(index: int, sample: Sample, sha256: str, clip: VideoClip) -> VideoRecord:
    return VideoRecord(
        index=index,
        name=str(sample.name),
        source=_path(sample.video),
        sha256=sha256,
        num_video_frames=clip.source.num_frames,
        fps=clip.source.fps,
        frame_indices=tuple(clip.indices),
        label=sample.label,
        text=sample.text,
        query_mask=_path(sample.query_mask),
        target_masks=_path(sample.target_masks),
    )


def _path(value: Any) -> str | None:
    return str(Path(value).resolve()) if isinstance(value, str | Path) else None


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
