"""Supports of concepts as COCO-style video annotations, which annotation tools read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.run import Run
from vtcd_ops.storage.files import write_atomic

__all__ = ["export_coco"]


def export_coco(
    run: Run,
    path: str | Path,
    *,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    part: str | None = None,
    videos: Sequence[int] | None = None,
    names: Callable[[int, int, int], str] | None = None,
) -> dict[str, Any]:
    """Write the supports of concepts as a JSON file of COCO's form for videos (YouTube-VIS).

    A concept is a category, its support in a video an annotation with one mask a frame, run-length
    encoded, of the size at which the run divided the video. Frames without it have null.
    FiftyOne, Label Studio and pycocotools read such files.

    Args:
        run: the run.
        path: the file to write.
        layers, heads, part, videos: which; all, and the run's first part, by default.
        names: the name of the concept (layer, head, concept), "layer 3 head 1 concept 0" by
            default.

    Returns:
        What was written.

    Raises:
        InputError: a layer, head or video that the run has not, or a file that cannot be written.
    """
    run.expect_kept("export_coco")
    layers = list(run.layers) if layers is None else list(layers)
    heads = list(run.heads) if heads is None else list(heads)
    chosen = list(range(len(run.videos))) if videos is None else list(videos)
    if not layers or not heads or not chosen:
        raise InputError("export_coco: layers, heads and videos expected at least one of each")
    name = names or (lambda layer, head, concept: f"layer {layer} head {head} concept {concept}")
    categories: list[dict[str, Any]] = []
    numbers: dict[tuple[int, int, int], int] = {}
    for layer in layers:
        for head in heads:
            for concept in range(run.concepts(layer, head, part).k):
                numbers[layer, head, concept] = len(numbers) + 1
                categories.append({"id": len(numbers), "name": name(layer, head, concept),
                                   "supercategory": f"layer {layer}"})  # fmt: skip
    documents: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for video in chosen:
        size = run.support(video, layers[0], heads[0], part).shape
        documents.append(_video(run, video, size))
        for layer in layers:
            for head in heads:
                support = run.support(video, layer, head, part)
                for concept in np.unique(support[support >= 0]).tolist():
                    found = _annotation(support == concept)
                    annotations.append({"id": len(annotations) + 1, "video_id": video + 1,
                        "category_id": numbers[layer, head, concept], **found})  # fmt: skip
    info = {"description": f"concepts of {run.model['name']}", "part": part or run.parts[0]}
    document = {"info": info, "videos": documents, "categories": categories,
                "annotations": annotations}  # fmt: skip
    write_atomic(Path(path), json.dumps(document).encode())
    return document


def _video(run: Run, video: int, size: tuple[int, ...]) -> dict[str, Any]:
    """One video: the size of its masks, and the frames and the part of them that they are of."""
    record = run.videos[video]
    return {
        "id": video + 1,
        "name": record.name,
        "source": record.source,
        "length": size[0],
        "height": size[1],
        "width": size[2],
        "frame_indices": list(record.frame_indices),
        "frame_size": list(record.frame_size),
        "crop": list(record.crop),
        "file_names": [f"{record.name}/{index:05d}.jpg" for index in record.frame_indices],
    }


def _annotation(mask: np.ndarray) -> dict[str, Any]:
    """Masks [T, H, W] of one concept in one video."""
    segmentations: list[dict[str, Any] | None] = []
    boxes: list[list[int] | None] = []
    areas: list[int | None] = []
    for frame in mask:
        if not frame.any():
            segmentations.append(None)
            boxes.append(None)
            areas.append(None)
            continue
        rows, columns = np.flatnonzero(frame.any(axis=1)), np.flatnonzero(frame.any(axis=0))
        segmentations.append({"size": list(frame.shape), "counts": _run_lengths(frame)})
        boxes.append([int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1,
                      int(np.ptp(rows)) + 1])  # fmt: skip
        areas.append(int(frame.sum()))
    return {"height": mask.shape[1], "width": mask.shape[2], "length": len(mask), "iscrowd": 0,
            "segmentations": segmentations, "bboxes": boxes, "areas": areas}  # fmt: skip


def _run_lengths(frame: np.ndarray) -> list[int]:
    """Lengths of runs down the columns, first of zeros: COCO's uncompressed encoding."""
    flat = np.concatenate([[False], frame.flatten(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    lengths: list[int] = np.diff([0, *changes, frame.size]).tolist()
    return lengths
