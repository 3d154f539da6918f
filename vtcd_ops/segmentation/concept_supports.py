"""The paper's concepts of one video: which voxels each covers, and how well they fit a mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.common.settings import expect, expect_count, expect_whole, is_real
from vtcd_ops.common.token_grid import volume_size
from vtcd_ops.discovery.concepts import find_concepts, paint
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.discovery.tubelets import find_tubelets


@dataclass(frozen=True)
class Supports:
    """The concepts of one head in one video.

    Args:
        concept: of every voxel, int16 [T, Y, X], -1 where there is none.
        num_concepts: how many the head has.
    """

    concept: np.ndarray
    num_concepts: int


def expect_settings(
    caller: str, *, n_segments: int, compactness: float, batch_size: int, seed: int
) -> Settings:
    """Return settings of concepts; raise an error of the caller at the first out of range."""
    expect_count(caller, "n_segments", n_segments)
    expect(is_real(compactness, 0), caller, "compactness", "a positive number", compactness)
    expect_count(caller, "batch_size", batch_size)
    expect_whole(caller, "seed", seed, 0, most=2**63 - 1)
    return Settings(n_segments=n_segments, compactness=compactness, seed=seed)


def concept_supports(
    features: Tensor, tubelet_size: int, num_frames: int, settings: Settings
) -> Supports:
    """Divide a video into tubelets and group them into concepts, by the features of one head.

    Args:
        features: [C, t, h, w], of all windows joined in time.
        tubelet_size: frames that a token spans.
        num_frames: of the video.
        settings: n_segments, compactness, voxels_per_token, min_tubelet, criterion, threshold,
            assign, seed.
    """
    t, h, w = features.shape[1:]
    size = volume_size((t, h, w), tubelet_size, settings.voxels_per_token)
    compactness = float(settings.compactness)
    tubelets = find_tubelets(
        features[None], size, num_frames, settings, compactness=compactness, seeds=[[0]]
    )
    there = tubelets.sizes[0] > 0
    rows = tubelets.means[0][there].cpu().numpy()
    concept = np.zeros(len(rows), dtype=np.int32)  # a single tubelet is a concept
    if len(rows) > 1:
        (found,) = find_concepts([rows], settings, features.device)
        concept = found.concept
    table = np.full(len(there), -1, dtype=np.int32)
    table[there.cpu().numpy()] = concept
    labels = tubelets.labels[0].to(torch.int64).cpu().numpy()
    return Supports(paint(labels, table), int(concept.max(initial=-1)) + 1)


def overlaps(concept: np.ndarray, masks: np.ndarray, num_concepts: int) -> np.ndarray:
    """Return the IoU of each concept's support and a mask in every frame, float64 [T, K].

    >>> overlaps(np.array([[[0, 0, 1, -1]]]), np.array([[[True, False, True, True]]]), 2)
    array([[0.25      , 0.33333333]])

    Args:
        concept: of every voxel, int [T, Y, X], -1 where there is none.
        masks: bool [T, Y, X].
        num_concepts: K.

    Returns:
        1 where both are empty.
    """
    num_frames = len(concept)
    frame = np.arange(num_frames).reshape(-1, 1, 1) * num_concepts
    place = frame + concept
    size = num_frames * num_concepts
    area, both = (
        np.bincount(place[where], minlength=size).reshape(num_frames, num_concepts)
        for where in (concept >= 0, (concept >= 0) & masks)
    )
    either = area + masks.sum(axis=(1, 2))[:, None] - both
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)
