"""Clips to features to tubelets to concepts: what is left to do of a run, and doing it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from vtcd_ops.adapters import weights_sha256
from vtcd_ops.adapters.adapter import Adapter, heads_without_weights, model_device
from vtcd_ops.common.accelerator import current, name_of
from vtcd_ops.common.errors import InputError, warn
from vtcd_ops.common.ticking import ticking
from vtcd_ops.discovery.concepts import (
    Factorisation,
    expect_several,
    find_concepts,
    no_concepts,
)
from vtcd_ops.discovery.identity import describe_model, library_versions, operator_library
from vtcd_ops.discovery.keeping import EVERYTHING
from vtcd_ops.discovery.layer_compactness import NUM_VIDEOS, layer_compactness
from vtcd_ops.discovery.layer_members import gather
from vtcd_ops.discovery.records import VideoRecord
from vtcd_ops.discovery.run_files import clip_file, concept_file
from vtcd_ops.discovery.run_writer import RunWriter
from vtcd_ops.discovery.sample_checks import ClipChoice, naming
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.discovery.storing import BehindOne, num_threads
from vtcd_ops.discovery.video_divider import VideoDivider
from vtcd_ops.discovery.video_queue import VideoQueue
from vtcd_ops.video.clips import VideoClip
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import Sample, as_samples


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
        *,
        overwrite: bool = False,
        reuse: Path | None = None,
        control_of: Adapter | None = None,
        keep: str = EVERYTHING,
    ) -> None:
        self.adapter = adapter
        self.layers = _chosen("layers", settings.layers, adapter.num_layers)
        self.heads = _chosen("heads", settings.heads, adapter.num_heads)
        self.settings = replace(
            settings,
            layers=None if settings.layers is None else self.layers,
            heads=None if settings.heads is None else self.heads,
        )
        self.device = model_device(adapter.model)
        self.max_memory = max_memory
        self.progress = progress
        self._clip = ClipChoice(adapter, self.settings, max_memory)
        self.title = "" if control_of is None else "control: "
        document = self._document()
        if control_of is not None:
            document["model"]["control_of"] = weights_sha256(control_of.model)
        if keep != EVERYTHING:  # runs that were made before there was a choice do not say it
            document["keep"] = keep
        within = out if control_of is None else out.parent
        self.writer = RunWriter(out, document, resume=resume, overwrite=overwrite, within=within)
        if reuse is not None:
            self.writer.reuse(reuse)

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
        self.writer.log("started", device=name_of(self.device))
        try:
            with current(self.device):
                num_videos = self._do_videos(samples)
                self.writer.write_manifest(num_videos)
                self._do_concepts(num_videos)
            self.writer.finish(num_videos, self.heads)
            if num_videos == 1:
                warn(
                    f"{self.writer.path}: the concepts are those of a single video; what recurs "
                    "shows in several"
                )
        finally:
            self.writer.close()

    def _check_finished(self, samples: Any) -> None:
        """A finished run must be of the videos that are asked for."""
        num_videos = 0
        for index, sample in enumerate(as_samples(samples)):
            if not self.writer.has(clip_file(index)):
                raise InputError(
                    f"{self.writer.path} holds a finished run without the video {sample.name}: "
                    f"choose another directory, and give reuse={str(self.writer.path)!r} (--reuse "
                    f"{self.writer.path}) to keep the tubelets of the others, or begin anew with "
                    "overwrite"
                )
            with naming(sample):
                clip = self._clip(sample, open_video(sample.video))
                inputs_sha256 = clip.inputs_sha256()
            sha256 = clip.source.sha256()
            self.writer.check_video(index, sha256, inputs_sha256, str(sample.name))
            num_videos = index + 1
        self.writer.write_manifest(num_videos)
        self.writer.remove_unkept(num_videos)

    def _do_videos(self, samples: Any) -> int:
        """Find the tubelets of all videos; return how many videos there are."""
        only_once = isinstance(samples, Iterator)
        stream = as_samples(samples)
        first = list(itertools.islice(stream, NUM_VIDEOS))
        stream = itertools.chain(first, stream)
        claim = partial(self.writer.claims.claim, wait=only_once)
        with (
            self._bar("videos", "video", _length(samples)) as bar,
            ThreadPoolExecutor(1, "vtcd-reader") as reader,
            ThreadPoolExecutor(num_threads(self.device), "vtcd-store") as pool,
        ):
            divider = VideoDivider(
                self.adapter, self.settings, self.layers, self.heads, self._compactness(first),
                self.max_memory, self.writer, pool,
            )  # fmt: skip
            queue = VideoQueue(claim, self._read, reader)
            while True:
                with BehindOne() as stored:
                    for turn in queue.turns(stream):
                        if (video := turn.reading.result()) is not None:
                            with naming(turn.sample):
                                stored.after(turn, divider.divide(*video))
                        bar.update()
                if len(queue.done) == queue.num_videos:
                    return queue.num_videos
                # another process works on the rest, or is dying
                self.writer.claims.wait(min(set(range(queue.num_videos)) - queue.done))
                stream = as_samples(samples)

    def _bar(self, what: str, unit: str, total: int | None) -> AbstractContextManager[tqdm]:
        desc = f"{self.title}{what}"
        return ticking(tqdm(desc=desc, unit=unit, total=total, disable=not self.progress))

    def _read(self, index: int, sample: Sample) -> tuple[VideoClip[Adapter], VideoRecord] | None:
        """Open a video and decode the beginning of what the model sees of it; None: it is done."""
        with naming(sample):
            clip = self._clip(sample, open_video(sample.video))
            sha256 = clip.source.sha256()
            inputs_sha256 = clip.inputs_sha256()
            self.writer.check_video(index, sha256, inputs_sha256, str(sample.name))
            record = _record(index, sample, sha256, inputs_sha256, clip)
            self.writer.take_over(index, record.content)
            if self.writer.has_video(index):
                return None
            return clip.read_ahead(pinned=self.device.type == "cuda"), record

    def _compactness(self, first: list[Sample]) -> dict[tuple[str, int], float]:
        """The compactness of every part and layer: the fixed one, or chosen from some videos."""
        fixed = self.settings.compactness
        sites = [(part, layer) for part in self.settings.parts for layer in self.layers]
        if not isinstance(fixed, str):
            return dict.fromkeys(sites, fixed)

        def choose() -> dict[tuple[str, int], float]:
            clips = []
            for sample in first:
                with naming(sample):
                    clips.append(self._clip(sample, open_video(sample.video)))
            return layer_compactness(clips, self.layers, self.heads, self.settings, self.max_memory)

        return self.writer.compactness(choose)

    def _do_concepts(self, num_videos: int) -> None:
        """Find the concepts of all layers."""
        tasks = [(part, layer) for part in self.settings.parts for layer in self.layers]
        records = [self.writer.record(video) for video in range(num_videos)]
        with self._bar("concepts", "layer", len(tasks)) as bar:
            self.writer.claims.work_through(
                tasks,
                lambda task: self.writer.concept_task(tasks.index(task)),
                lambda task: self.writer.has(concept_file(*task)),
                lambda task: self._do_layer_concepts(*task, records),
                lambda task: bar.update(),
            )

    def _do_layer_concepts(self, part: str, layer: int, records: list[VideoRecord]) -> None:
        """Find the concepts of one layer."""
        members: list[dict[str, np.ndarray]] = []
        found: list[Factorisation] = []
        sources: list[str] = []
        while len(found) < len(self.heads):  # files are read again where not all heads fit
            rows = range(len(found), len(self.heads))
            videos = ((r.index, *self.writer.tubelets(r, part, layer)) for r in records)
            some, sources = gather(videos, rows, self.max_memory)
            means = [head.pop("means") for head in some]
            try:
                found += self._concepts(layer, rows[: len(some)], means)
            except ValueError as error:
                raise InputError(f"{part} of layer {layer}: {error}") from error
            members += some
        self.writer.write_concepts(part, layer, members, found, sources)

    def _concepts(self, layer: int, rows: range, tubelets: list[np.ndarray]) -> list[Factorisation]:
        """Find the concepts of some heads of a layer, by the tubelets of each in all videos."""
        gone = heads_without_weights(self.adapter)
        there = [n for n, row in enumerate(rows) if (layer, self.heads[row]) not in gone]
        for number in there:
            expect_several(self.heads[rows[number]], len(tubelets[number]))
        some = find_concepts([tubelets[n] for n in there], self.settings, self.device)
        of_number = dict(zip(there, some, strict=True))
        none = no_concepts(self.adapter.head_dim)
        return [of_number.get(number, none) for number in range(len(rows))]


def _chosen(name: str, chosen: Iterable[int] | None, count: int) -> list[int]:
    """The layers or heads asked for, ascending."""
    if chosen is None:
        return list(range(count))
    asked = list(chosen)
    numbers = sorted({number + count if number < 0 else number for number in asked})
    if not numbers or numbers[0] < 0 or numbers[-1] >= count:
        raise InputError(
            f"discover: {name} expected from 0 to {count - 1}, or from -1 (the last) to -{count}, "
            f"got {asked}"
        )
    return numbers


def _length(samples: Any) -> int | None:
    """How many videos there are, where that is known without reading them."""
    if isinstance(samples, str | Path | Sample | np.ndarray | Tensor | list):
        return sum(1 for _ in as_samples(samples))
    return None


def _record(
    index: int, sample: Sample, sha256: str, inputs_sha256: str | None, clip: VideoClip[Adapter]
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
        frame_times=tuple(clip.source.times(clip.indices)),
        tubelet_size=clip.adapter.tubelet_size,
        label=sample.label,
        text=sample.text,
        query_mask=_path(sample.query_mask),
        target_masks=_path(sample.target_masks),
        inputs_sha256=inputs_sha256,
    )


def _path(value: Any) -> str | None:
    return str(Path(value).resolve()) if isinstance(value, str | Path) else None
