"""Clips to features to tubelets to concepts: what is left to do of a run, and doing it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

import vtcd_ops
from vtcd_ops._files import read_tensors
from vtcd_ops.adapter import Adapter
from vtcd_ops.adapters import weights_sha256
from vtcd_ops.concepts import find_concepts
from vtcd_ops.errors import InputError
from vtcd_ops.features import VideoClip, choose_clip
from vtcd_ops.layer_compactness import NUM_VIDEOS, layer_compactness
from vtcd_ops.records import LayerTubelets, VideoRecord
from vtcd_ops.run_writer import RunWriter
from vtcd_ops.samples import Sample, as_samples
from vtcd_ops.settings import Settings
from vtcd_ops.store import clip_file, concept_file, tubelet_file
from vtcd_ops.video_divider import VideoDivider
from vtcd_ops.video_queue import VideoQueue
from vtcd_ops.video_reader import VideoSource, open_video

_POLL_SECONDS = 0.2


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
        title: str = "",
    ) -> None:
        self.adapter = adapter
        self.settings = settings
        self.layers = _chosen("layers", settings.layers, adapter.num_layers)
        self.heads = _chosen("heads", settings.heads, adapter.num_heads)
        self.max_memory = max_memory
        self.progress = progress
        self.title = title
        self.writer = RunWriter(out, self._document(), resume=resume)

    def _document(self) -> dict[str, Any]:
        """What identifies the run."""
        adapter = self.adapter
        return {
            "kind": "discovery",
            "settings": self.settings.as_json(),
            "model": describe_model(adapter),
            "versions": library_versions(),
            "operators": operator_library(),
            "parts": list(self.settings.parts),
            "layers": self.layers,
        }

    def run(self, samples: Any) -> None:
        """Do what is left to do, together with whatever other process does the same."""
        if self.writer.finished:
            self._check_finished(samples)
            self.writer.close()  # where a process was killed between its last file and this
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
            with _naming(sample):
                clip = self._clip(sample, open_video(sample.video))
                inputs_sha256 = clip.inputs_sha256()
            sha256 = clip.source.sha256()
            self.writer.check_video(index, sha256, inputs_sha256, str(sample.name))
            num_videos = index + 1
        if self.writer.has(clip_file(num_videos)):
            raise InputError(
                f"{self.writer.path} holds a run of more videos: choose another directory"
            )

    def _do_videos(self, samples: Any) -> int:
        """Find the tubelets of all videos; return how many videos there are."""
        only_once = isinstance(samples, Iterator)
        stream = as_samples(samples)
        first = list(itertools.islice(stream, NUM_VIDEOS))
        divider = VideoDivider(
            self.adapter,
            self.settings,
            self.layers,
            self.heads,
            self._compactness(first),
            self.max_memory,
            self.writer,
        )
        stream = itertools.chain(first, stream)
        bar = self._bar("videos", "video", _length(samples))
        claim = partial(self.writer.claims.claim, wait=only_once)
        with ThreadPoolExecutor(1, "vtcd-reader") as reader:
            queue = VideoQueue(claim, self._read, reader)
            while True:
                for turn in queue.turns(stream):
                    if (video := turn.reading.result()) is not None:
                        with _naming(turn.sample):
                            divider.divide(*video)
                    bar.update()
                if len(queue.done) == queue.num_videos:
                    bar.close()
                    return queue.num_videos
                time.sleep(_POLL_SECONDS)  # another process works on the rest, or is dying
                stream = as_samples(samples)

    def _bar(self, what: str, unit: str, total: int | None) -> tqdm:
        return tqdm(desc=f"{self.title}{what}", unit=unit, total=total, disable=not self.progress)

    def _read(self, index: int, sample: Sample) -> tuple[VideoClip, VideoRecord] | None:
        """Open a video and decode the beginning of what the model sees of it; None: it is done."""
        with _naming(sample):
            clip = self._clip(sample, open_video(sample.video))
            sha256 = clip.source.sha256()
            inputs_sha256 = clip.inputs_sha256()
            self.writer.check_video(index, sha256, inputs_sha256, str(sample.name))
            if self.writer.has_video(index):
                return None
            return clip.read_ahead(), _record(index, sample, sha256, inputs_sha256, clip)

    def _clip(self, sample: Sample, source: VideoSource) -> VideoClip:
        num_frames, sampling_rate = self.settings.num_frames, self.settings.sampling_rate
        return choose_clip(self.adapter, source, num_frames, sampling_rate, sample)

    def _compactness(self, first: list[Sample]) -> dict[tuple[str, int], float]:
        """The compactness of every part and layer: the fixed one, or chosen from some videos."""
        fixed = self.settings.compactness
        sites = [(part, layer) for part in self.settings.parts for layer in self.layers]
        if not isinstance(fixed, str):
            return dict.fromkeys(sites, fixed)

        def choose() -> dict[tuple[str, int], float]:
            clips = []
            for sample in first:
                with _naming(sample):
                    clips.append(self._clip(sample, open_video(sample.video)))
            return layer_compactness(clips, self.layers, self.heads, self.settings, self.max_memory)

        return self.writer.compactness(choose)

    def _do_concepts(self, num_videos: int) -> None:
        """Find the concepts of all layers."""
        tasks = [(part, layer) for part in self.settings.parts for layer in self.layers]
        bar = self._bar("concepts", "layer", len(tasks))
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


@contextmanager
def _naming(sample: Sample) -> Iterator[None]:
    """Name the video in what is said about it."""
    try:
        yield
    except ValueError as error:
        raise InputError(f"video {sample.name}: {error}") from error


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that a result depends on."""
    return {name: version(name) for name in ("vtcd-ops", "torch", "numpy")}


def operator_library() -> dict[str, str]:
    """Return which build of the operators this process runs.

    Labels and means of tubelets have the same bits on every instruction set, concepts have not:
    their matrix products add in another order. So a run keeps to one build, and to one of its
    instruction sets.
    """
    return asdict(vtcd_ops.LIBRARY)


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
    if isinstance(samples, str | Path | Sample | np.ndarray | Tensor | list):
        return sum(1 for _ in as_samples(samples))
    return None


def _record(
    index: int, sample: Sample, sha256: str, inputs_sha256: str | None, clip: VideoClip
) -> VideoRecord:
    return VideoRecord(
        index=index,
        name=str(sample.name),
        source=_path(sample.video),
        sha256=sha256,
        num_video_frames=clip.source.num_frames,
        fps=clip.source.fps,
        frame_size=clip.source.frame_size,
        crop=clip.adapter.crop_of(*clip.source.frame_size),
        frame_indices=tuple(clip.indices),
        tubelet_size=clip.adapter.tubelet_size,
        label=sample.label,
        text=sample.text,
        query_mask=_path(sample.query_mask),
        target_masks=_path(sample.target_masks),
        inputs_sha256=inputs_sha256,
    )


def _path(value: Any) -> str | None:
    return str(Path(value).resolve()) if isinstance(value, str | Path) else None
