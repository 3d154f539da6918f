"""A model whose features are the colours of patches, and a square that moves by whole tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vtcd_ops.adapters import FrameTransform, ProjectionAdapter, Projections

PATCH, EDGE, STEPS = 8, 64, 2  # pixels of a token and of what the model sees; frames of a token
SIDE = 24  # of the square
BACKGROUND, RED, GREEN = (20, 40, 200), (220, 30, 20), (30, 210, 60)


class Colours(nn.Module):
    """Two heads of two layers: layer 1, head 0 has the mean colours, the others a fixed noise."""

    noise: Tensor
    parts: Any  # nn.ModuleList of nn.ModuleDict

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        noise = np.random.default_rng(5).normal(size=(2 * 8 * 8, 3))
        self.register_buffer("noise", torch.from_numpy(noise.astype(np.float32)))
        self.parts = nn.ModuleList(
            nn.ModuleDict({part: nn.Identity() for part in ("q", "k", "v", "out")})
            for _ in range(2)
        )

    def forward(self, clips: Tensor) -> Tensor:  # [B, 4, 3, 64, 64] -> [B, 6]
        patches = functional.avg_pool3d(clips.transpose(1, 2), (STEPS, PATCH, PATCH))
        colours = patches.flatten(2).transpose(1, 2)  # [B, N, 3]
        noise = self.noise.expand_as(colours)
        for layer, part in enumerate(self.parts):
            tokens = torch.cat([colours if layer == 1 else noise, noise], dim=-1)
            for name in ("q", "k", "v", "out"):
                tokens = part[name](tokens)
        return tokens.mean(dim=1) * self.scale


def colour_adapter(frames: FrameTransform | None = None) -> ProjectionAdapter:
    model = Colours().eval()
    return ProjectionAdapter(
        model,
        name="colours",
        projections=[
            Projections(queries=part["q"], keys=part["k"], values=part["v"], outputs=part["out"])
            for part in model.parts
        ],
        num_heads=2,
        head_dim=3,
        num_frames=4,
        tubelet_size=STEPS,
        token_grid=(2, 8, 8),
        frames=frames or FrameTransform(size=(EDGE, EDGE), mean=(0.0,) * 3, std=(1.0,) * 3),
    )


def moving_square(num_frames: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """A red square that moves right by a token every two frames: video, masks bool [T, H, W]."""
    rng = np.random.default_rng(0)
    masks = np.zeros((num_frames, EDGE, EDGE), dtype=bool)
    for frame in range(num_frames):
        left = PATCH * (frame // STEPS % 5)
        masks[frame, 16 : 16 + SIDE, left : left + SIDE] = True
    video = np.where(masks[..., None], np.array(RED), np.array(BACKGROUND))
    noisy = video + rng.integers(-8, 9, video.shape)
    return noisy.clip(0, 255).astype(np.uint8), masks


def two_squares(num_frames: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Beside it a green one, 16 pixels high, that stays: video, labels int32 [T, H, W]."""
    video, masks = moving_square(num_frames)
    labels = masks.astype(np.int32)
    labels[:, 48:64, 40:64] = 7
    video[labels == 7] = GREEN
    return video, labels
