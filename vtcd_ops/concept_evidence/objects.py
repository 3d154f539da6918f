"""How well concepts fit the true masks of an object, chosen on other videos than judged on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vtcd_ops.concept_evidence.per_video import PerVideo
from vtcd_ops.discovery.records import LayerTubelets, VideoRecord
from vtcd_ops.discovery.run import Run
from vtcd_ops.estimates.chance_overlap import expected_overlap
from vtcd_ops.video.masks import read_masks


@dataclass(frozen=True, eq=False)
class ObjectOverlap:
    """The overlap of every concept with the object of each video.

    Args:
        per_video: intersection over union of the voxels, [U, V]; videos without masks, or in whose
            masks there is no object, do not count.
        expected: what supports of these sizes at random places would overlap, float64 [U].
    """

    per_video: PerVideo
    expected: np.ndarray


def object_overlap(run: Run, part: str, masks: Mapping[int, Any]) -> ObjectOverlap | None:
    """Return how well every concept fits the object; None where no video has masks.

    Args:
        run: the run.
        part: of its parts.
        masks: true masks by the number of the video, as `Sample.target_masks` takes them.
    """
    if not masks:
        return None
    num_units = len(run.units(part))
    ratios = np.full((num_units, len(run.videos)), np.nan)
    expected = np.full((num_units, len(run.videos)), np.nan)
    for video, source in masks.items():
        truth: np.ndarray | None = None
        first = 0
        for layer in run.layers:
            tubelets = run.tubelets(video, layer, part)
            if truth is None or truth.shape != tubelets.shape:
                truth = true_voxels(run.videos[video], tubelets, source)
                if not truth.any():
                    break
            for head in run.heads:
                k = run.concepts(layer, head, part).k
                support = run.support(video, layer, head, part)
                ratio, chance = _overlaps(support, truth, k)
                ratios[first : first + k, video], expected[first : first + k, video] = ratio, chance
                first += k
    return ObjectOverlap(PerVideo.mean_of(ratios), PerVideo.mean_of(expected).values())


def stored_masks(run: Run) -> dict[int, Any]:
    """Return the true masks that a run names, where they are still there, by number of video."""
    return {
        record.index: record.target_masks
        for record in run.videos
        if record.target_masks is not None and Path(record.target_masks).exists()
    }


def true_voxels(record: VideoRecord, tubelets: LayerTubelets, masks: Any) -> np.ndarray:
    """Return whether the object is at every voxel of a label volume, bool [T, H, W].

    A voxel stands where the features were interpolated to, between the middles of the first and
    the last token; the mask is read at the pixel there, by share of the frame's height and width.
    A volume of fewer steps than frames (a token grid) is judged in the middle frame of each step.
    """
    steps, num_frames = tubelets.shape[0], record.num_frames
    middles = (2 * np.arange(steps) + 1) * num_frames // (2 * steps)
    truth = read_masks(masks, [record.frame_indices[frame] for frame in middles]).numpy()
    rows = _pixels(tubelets, 1, record.crop[0], record.crop[2], record.frame_size[0])
    columns = _pixels(tubelets, 2, record.crop[1], record.crop[3], record.frame_size[1])
    row, row_seen = _indices(rows, truth.shape[1])
    column, column_seen = _indices(columns, truth.shape[2])
    found: np.ndarray = truth[:, row[:, None], column] & (row_seen[:, None] & column_seen)
    return found


def _pixels(
    tubelets: LayerTubelets, axis: int, start: float, length: float, frame: int
) -> np.ndarray:
    """Where the voxels are along an axis, as shares of the frame."""
    voxels, tokens = tubelets.padded_size[axis], tubelets.grid[axis]
    step = np.arange(tubelets.shape[axis]) * ((tokens - 1) / max(voxels - 1, 1))
    if tokens == voxels:  # not interpolated
        step = np.arange(tubelets.shape[axis], dtype=np.float64)
    return (start + (step + 0.5) / tokens * length) / frame


def _indices(shares: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixels at some shares of an axis, and which of these are within the frame."""
    pixels = np.floor(shares * count).astype(np.int64)
    return pixels.clip(0, count - 1), (pixels >= 0) & (pixels < count)


def _overlaps(support: np.ndarray, truth: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Intersection over union [K] with the object, and what is expected of such sizes [K]."""
    inside = np.bincount(support[truth & (support >= 0)], minlength=k)
    sizes = np.bincount(support[support >= 0], minlength=k)
    num_true = int(truth.sum())
    both = np.stack([sizes, np.full(k, num_true)], axis=1)
    chance: np.ndarray = expected_overlap(both, truth.size)
    return inside / (sizes + num_true - inside), chance


def held_out(per_video: PerVideo, among: np.ndarray) -> tuple[PerVideo, np.ndarray]:
    """Return the overlap in each video of the concept that is best in all other videos.

    Args:
        per_video: overlaps [U, V].
        among: which concepts are chosen from, bool [U].

    Returns:
        The overlaps, [1, V], and the concept chosen for each video, int64 [V]; -1 where the video
        does not count, or no other does.
    """
    counts: np.ndarray = per_video.denominator.sum(axis=0) > 0
    overlaps = np.full((1, len(counts)), np.nan)
    chosen = np.full(len(counts), -1)
    rows = np.flatnonzero(among)
    for video in np.flatnonzero(counts):
        others = counts.copy()
        others[video] = False
        if others.any() and len(rows):
            best = rows[per_video.numerator[np.ix_(rows, np.flatnonzero(others))].sum(1).argmax()]
            chosen[video] = best
            overlaps[0, video] = per_video.numerator[best, video]
    return PerVideo.mean_of(overlaps), chosen
