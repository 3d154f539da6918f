"""Supports for the tests of the Rosetta operators: random ones, and models that share objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

import vtcd_ops

Masks = list[np.ndarray]  # for each video bool [C, voxels]


def random_supports(
    models: Sequence[int],
    voxels: Sequence[int],
    seed: int,
    *,
    num_objects: int = 3,
    noise: float = 0.1,
    empty: float = 0.2,
) -> Masks:
    """Every concept is a noisy copy of one of a few objects; some are empty in some videos.

    Args:
        models: offsets of the models' concepts.
        voxels: of each video.
        seed: of everything drawn.
        num_objects: how many objects there are; noise of 0.5 leaves nothing of them.
        noise: share of flipped voxels.
        empty: share of empty supports.
    """
    random = np.random.default_rng(seed)
    which = random.integers(0, num_objects, models[-1])
    masks = []
    for count in voxels:
        objects = random.random((num_objects, count)) < 0.3
        supports = objects[which] ^ (random.random((models[-1], count)) < noise)
        supports[random.random(models[-1]) < empty] = False
        masks.append(supports)
    return masks


def pack(masks: Masks, models: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The arguments supports, videos, models of the operators."""
    supports, videos = vtcd_ops.pack_supports([torch.from_numpy(video) for video in masks])
    return supports, videos, torch.tensor(list(models), dtype=torch.int64)


def as_concepts(tuples: torch.Tensor, models: Sequence[int]) -> list[tuple[int, ...]]:
    """Rows of an operator's tuples as concepts of the whole set, as the reference counts them."""
    return [
        tuple(models[model] + concept for model, concept in enumerate(row) if concept >= 0)
        for row in tuples.tolist()
    ]
