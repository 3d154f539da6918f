# SPDX-License-Identifier: MIT
"""The true masks of a video: the object asked for, what hides it, what it is in."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

import vtcd_ops
from vtcd_ops.video.clips import VideoClip
from vtcd_ops.video.masks import read_masks
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import Sample

#: Arrays of the `.npz` file that a sample's target_masks name; the target as if nothing hid it.
KEYS = {"target": "amodal_target", "occluder": "occluder_masks", "container": "container_masks"}
SMALLEST_OBJECT = 0.002  # of the volume; of smaller ones IoU at the grid of labels says little


def with_amodal_target(sample: Sample) -> Sample:
    """Let a sample's target be the whole object, as TCOW is trained and measured."""
    masks = _file(sample, "target", None)
    return sample if masks is None else replace(sample, target_masks=masks)


def object_masks(
    adapter: vtcd_ops.Adapter, run: vtcd_ops.Run, video: int, sample: Sample, kind: str
) -> np.ndarray | None:
    """Return an object's mask on the label grid of a run, bool [T, H, W]; None where there is none.

    Args:
        adapter: the model, through whose crop the mask is seen.
        run: the run.
        video: of the run.
        sample: the video as listed, with its `.npz` file of masks.
        kind: of `KEYS`.
    """
    masks = _file(sample, kind, run.videos[video].frame_indices)
    if masks is None:
        return None
    seen = adapter.mask_to_model(torch.from_numpy(masks))
    mask = on_grid(seen.numpy(), run.tubelets(video, run.layers[0], run.parts[0]).shape)
    return mask if mask.mean() >= SMALLEST_OBJECT else None


def on_grid(mask: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Bring a mask [T, H', W'] to a grid (T, H, W) by the voxel nearest to each voxel's centre.

    >>> on_grid(np.eye(4, dtype=bool)[None], (1, 2, 2)).tolist()
    [[[True, False], [False, True]]]
    """
    places = [
        ((np.arange(wanted) + 0.5) * given / wanted).astype(int)
        for wanted, given in zip(shape, mask.shape, strict=True)
    ]
    return mask[np.ix_(*places)]


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Return the intersection over union of two masks; 1 where both are empty."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0


def _file(sample: Sample, kind: str, indices: Sequence[int] | None) -> np.ndarray | None:
    """Masks of some frames, or of all, from a sample's `.npz` file; None where it has none."""
    source = sample.target_masks
    if not isinstance(source, str | Path) or Path(source).suffix != ".npz":
        return None
    with zipfile.ZipFile(source) as archive:
        if f"{KEYS[kind]}.npy" not in archive.namelist():
            return None
    return read_masks(source, indices, KEYS[kind]).numpy()


def tracker_masks(
    adapter: vtcd_ops.Adapter, sample: Sample, indices: tuple[int, ...]
) -> np.ndarray:
    """Return what a tracker answers, bool [3, T, H', W']: target, occluder, container."""
    clip = VideoClip(adapter, open_video(sample.video), list(indices), sample)
    [window] = clip.windows
    inputs = {name: value[None] for name, value in clip.inputs(window).items()}
    with torch.inference_mode():
        answer = adapter.predict(next(clip.clips())[None], **inputs)
    return (answer["masks"][0] > 0).numpy()
