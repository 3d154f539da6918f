"""What goes into the page: everything the report takes from a run, as plain data.

A page holds one or more *shown runs* over the same videos: the run itself and, where there is
one, its weight-randomised control. A clip is named by (shown run, part, layer, head, concept,
video); whatever else shows clips adds a shown run and names clips the same way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vtcd_ops.discovery.records import HeadConcepts
from vtcd_ops.discovery.run import Run
from vtcd_ops.reporting.choices import choose_clips
from vtcd_ops.reporting.clips import choose_videos, rank_videos
from vtcd_ops.reporting.comparison import add_margins
from vtcd_ops.reporting.details import add_details
from vtcd_ops.reporting.importance import add_importance
from vtcd_ops.reporting.previews import contact_sheet
from vtcd_ops.reporting.quantities import concept_values, head_values, head_warning
from vtcd_ops.reporting.shown import Head, ShownRun
from vtcd_ops.reporting.supports import (
    pack_supports,
    sample_frames,
    sample_support,
    sampling_stride,
)

_LEAST_EDGE = 16  # of a support, in voxels
FRAMES_PER_SECOND = 8  # of the page's clips; slow enough to follow an outline


@dataclass(frozen=True)
class Limits:
    """What bounds the size of the page."""

    clips: int = 3  #: clips a concept
    videos: int = 40  #: videos in the page
    frames: int = 24  #: preview frames a video
    frame_edge: int = 320  #: longest edge of a preview frame, in pixels
    support_edge: int = 64  #: longest edge of a support, in voxels
    support_voxels: int = 200_000_000  #: of all supports; where there are more, edges are shorter


def gather(
    run: Run, limits: Limits, progress: bool
) -> tuple[list[ShownRun], list[dict[str, Any]], list[str]]:
    """Read a run and its control: numbers, clips and supports.

    Args:
        run: The run; its `sanity` run, where it has one, is shown beside it.
        limits: What bounds the page.
        progress: Show progress bars.

    Returns:
        The shown runs; the videos as the page's scripts read them; their contact sheets (base64
        WebP), in the same order.
    """
    shown = [_shown_run("model", "Model", run)]
    add_importance(shown[0])
    control = run.sanity
    if control is not None:
        shown.append(_shown_run("control", "Randomised copy", control))
        add_margins(*shown)
    rankings = [ranking for view in shown for head in view.heads for ranking in head.rankings]
    chosen = sorted(choose_videos(rankings, limits.videos, limits.clips))
    position = {video: index for index, video in enumerate(chosen)}
    add_details(shown, position, progress)
    choose_clips(shown, position, limits.clips)
    limits = replace(limits, support_edge=_support_edge(shown, chosen, limits))
    videos, sheets = _videos(shown, chosen, limits, progress)
    heads = [(view, head) for view in shown for head in view.heads]
    for view, head in tqdm(heads, desc="supports", unit="head", disable=not progress):
        head.supports = pack_supports(_supports(view, head, chosen, videos))
    return shown, videos, sheets


def _shown_run(identifier: str, title: str, run: Run) -> ShownRun:
    volumes = _volumes(run)
    heads = [
        _head(part, layer, head, concepts, volumes)
        for part in run.parts
        for layer in run.layers
        for head in run.heads
        if (concepts := run.concepts(layer, head, part=part)).k  # a pruned head has none
    ]
    return ShownRun(identifier, title, run, heads)


def _head(
    part: str, layer: int, head: int, concepts: HeadConcepts, volumes: dict[int, int]
) -> Head:
    of_concepts = concept_values(concepts, volumes)
    of_head = head_values(concepts, volumes, of_concepts)
    rankings = [rank_videos(concepts, index) for index in range(concepts.k)]
    warning = head_warning(concepts, len(volumes))
    return Head(part, layer, head, of_concepts, of_head, rankings, warning)


def _volumes(run: Run) -> dict[int, int]:
    """Voxels of every video's label volume; all heads of a run share the label grid."""
    known: dict[tuple[Any, ...], int] = {}
    volumes = {}
    for record in run.videos:
        # a model divides frames of one size alike; what was made elsewhere may be of any shape
        alike = (record.num_frames, record.frame_size, record.tubelet_size)
        key = alike if run.kind == "discovery" else (record.index,)
        if key not in known:
            known[key] = math.prod(_label_shape(run, record.index))
        volumes[record.index] = known[key]
    return volumes


def _label_shape(run: Run, video: int) -> tuple[int, int, int]:
    return run.tubelets(video, run.layers[0], run.parts[0]).shape


def _videos(
    shown: list[ShownRun], chosen: list[int], limits: Limits, progress: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    videos, sheets = [], []
    run = shown[0].run
    for index in tqdm(chosen, desc="previews", unit="video", disable=not progress):
        record = run.videos[index]
        preview = run.preview(index)
        frames = sample_frames(len(preview), limits.frames)
        _, _, height, width = record.crop
        sheet = contact_sheet(preview[frames], limits.frame_edge, aspect=width / height)
        sheets.append(sheet.webp)
        videos.append(
            {
                "index": index,
                "name": record.name,
                "label": record.label,
                "text": record.text,
                "frames": frames,
                "total": len(preview),
                "columns": sheet.columns,
                "width": sheet.width,
                "height": sheet.height,
                "support": {view.id: _support_shape(view.run, index, limits) for view in shown},
            }
        )
    return videos, sheets


def _support_edge(shown: list[ShownRun], chosen: list[int], limits: Limits) -> int:
    """The longest edge of supports with which all of them stay within the limit."""
    frames = [min(len(shown[0].run.videos[index].frame_indices), limits.frames) for index in chosen]
    edge = limits.support_edge
    while edge > _LEAST_EDGE:
        voxels = 0
        for view in shown:
            shapes = [
                _support_shape(view.run, index, replace(limits, support_edge=edge))
                for index in chosen
            ]
            of_video = [s["height"] * s["width"] * n for s, n in zip(shapes, frames, strict=True)]
            voxels += sum(of_video[position] for head in view.heads for position in head.packed)
        if voxels <= limits.support_voxels:
            break
        edge = edge * 3 // 4
    return edge


def _support_shape(run: Run, video: int, limits: Limits) -> dict[str, int]:
    """Size of a video's supports in the page, and the step between the voxels taken."""
    _, height, width = _label_shape(run, video)
    stride = sampling_stride(height, width, limits.support_edge)
    offset = stride // 2
    return {
        "stride": stride,
        "height": len(range(offset, height, stride)),
        "width": len(range(offset, width, stride)),
    }


def _supports(
    view: ShownRun, head: Head, chosen: list[int], videos: list[dict[str, Any]]
) -> Iterator[npt.NDArray[np.uint8]]:
    for index in head.packed:
        video = videos[index]
        volume = view.run.support(chosen[index], head.layer, head.head, part=head.part)
        stride = video["support"][view.id]["stride"]
        yield sample_support(volume, video["frames"], video["total"], stride)
