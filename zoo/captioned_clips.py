# SPDX-License-Identifier: MIT
"""Rendered clips with their captions, and batches of them, for the video-text miniature."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.dataset import load
from zoo.frame_targets import NUM_FRAMES, instance_centres
from zoo.mini_internvideo import FRAME_STEP, mirror


@dataclass
class Scenes:
    """Clips, and what the renderer knows of them."""

    frames: Tensor  # uint8 [clips, 16, H, W, 3]
    instances: Tensor  # uint8 [clips, 16, H, W]
    amodal: Tensor  # uint8 [clips, 16, H, W / 8], packed
    centres: Tensor  # [clips, 16, 1 + instances, 2]
    captions: list[str]

    @classmethod
    def of(cls, folder: Path, split: str, limit: int | None = None) -> Scenes:
        """Read a split of a folder rendered by zoo.dataset."""
        data = load(folder, split, ("frames", "instances", "amodal_target", "caption"))
        data = {name: values[:limit] for name, values in data.items()}
        return cls(
            torch.from_numpy(data["frames"]),
            torch.from_numpy(data["instances"]),
            torch.from_numpy(data["amodal_target"]),
            torch.from_numpy(instance_centres(data["instances"])),
            data["caption"].tolist(),
        )


@dataclass
class Batch:
    """Clips of T frames with what is known of them."""

    frames: Tensor  # uint8 [B, T, H, W, 3]
    instances: Tensor  # uint8 [B, T, H, W]
    amodal: Tensor  # bool [B, T, H, W]
    centres: Tensor  # [B, T, 1 + instances, 2]
    captions: list[str]


def take(
    scenes: Scenes, clips: Tensor, first: Tensor, mirrored: Tensor, num_frames: int = NUM_FRAMES
) -> Batch:
    """Every other frame of some clips, from a first one, mirrored or not, each [B]."""
    times = first[:, None] + FRAME_STEP * torch.arange(num_frames)  # [B, T]
    rows = clips[:, None]
    frames, instances = scenes.frames[rows, times], scenes.instances[rows, times]
    packed = scenes.amodal[rows, times].numpy()
    amodal = torch.from_numpy(np.unpackbits(packed, axis=-1)).bool()
    centres = scenes.centres[rows, times].clone()
    captions = [scenes.captions[clip] for clip in clips.tolist()]
    for row in mirrored.nonzero()[:, 0].tolist():
        frames[row] = frames[row].flip(2)
        instances[row], amodal[row] = instances[row].flip(2), amodal[row].flip(2)
        centres[row, ..., 0] = frames.shape[3] - 1 - centres[row, ..., 0]
        captions[row] = mirror(captions[row])
    return Batch(frames, instances, amodal, centres, captions)


def draw_batch(scenes: Scenes, size: int, generator: torch.Generator) -> Batch:
    """Random clips, odd or even frames, half of them mirrored."""
    clips = torch.randint(len(scenes.frames), (size,), generator=generator)
    first = torch.randint(FRAME_STEP, (size,), generator=generator)
    mirrored = torch.rand(size, generator=generator) < 0.5
    return take(scenes, clips, first, mirrored)


def draw_stills(scenes: Scenes, size: int, generator: torch.Generator) -> Batch:
    """One random frame each of random clips, half of them mirrored."""
    clips = torch.randint(len(scenes.frames), (size,), generator=generator)
    frame = torch.randint(scenes.frames.shape[1], (size,), generator=generator)
    mirrored = torch.rand(size, generator=generator) < 0.5
    return take(scenes, clips, frame, mirrored, num_frames=1)


def recolour(video: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Stretch and shift each colour of each clip a little, normalised [B, 3, T, H, W]."""
    stretch, shift = (torch.rand(2, len(video), 3, 1, 1, 1, generator=generator) - 0.5) * 2
    return video * (1 + strength * stretch) + strength * shift
