"""A model whose features are a table, the same bits on every device, and its videos."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from vtcd_ops.adapters import FrameTransform, ProjectionAdapter, Projections

NUM_VIDEOS, NUM_LAYERS, NUM_HEADS, HEAD_DIM = 8, 2, 3, 16
GRID = (4, 7, 7)


class FeatureTable(nn.Module):
    """Looks the features of a clip up by the brightness of its first pixel; nothing is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", _features())  # [V, L, N, A*C]
        self.scale = nn.Parameter(torch.ones(1))
        self.parts = nn.ModuleList(
            nn.ModuleDict({part: nn.Identity() for part in ("q", "k", "v", "out")})
            for _ in range(NUM_LAYERS)
        )

    def forward(self, clips: Tensor) -> Tensor:  # [B, T, 3, H, W] -> logits [B, A*C]
        video = (clips[:, 0, 0, 0, 0] * 255).round().long()
        answer = 0.0
        for layer, part in enumerate(self.parts):
            tokens = self.table[video, layer]
            for name in ("q", "k", "v"):
                tokens = part[name](tokens)
            answer = answer + part["out"](tokens).mean(dim=1)
        return answer * self.scale


def _features() -> Tensor:
    """Blocks that move, each in a colour of its own in every head, over noise."""
    rng = np.random.default_rng(0)
    t, h, w = GRID
    table = rng.normal(0, 0.1, (NUM_VIDEOS, NUM_LAYERS, NUM_HEADS, *GRID, HEAD_DIM))
    table += rng.normal(0, 1, (NUM_LAYERS, NUM_HEADS, 1, 1, 1, HEAD_DIM))  # what is behind
    things = rng.normal(0, 2, (NUM_LAYERS, NUM_HEADS, 4, HEAD_DIM))
    for video in range(NUM_VIDEOS):
        for thing in range(4):
            row, column = rng.integers(0, h - 2), rng.integers(0, w - 3)
            for step in range(t):
                left = min(column + step // 2, w - 3)
                region = (slice(row, row + 3), slice(left, left + 3))
                table[video, :, :, step, region[0], region[1]] += things[:, :, None, None, thing]
    flat = np.moveaxis(table, 2, 5).reshape(NUM_VIDEOS, NUM_LAYERS, t * h * w, -1)
    return torch.from_numpy(flat.astype(np.float32))


def table_adapter() -> ProjectionAdapter:
    model = FeatureTable().eval()
    return ProjectionAdapter(
        model,
        name="table",
        projections=[
            Projections(queries=part["q"], keys=part["k"], values=part["v"], outputs=part["out"])
            for part in model.parts
        ],
        num_heads=NUM_HEADS,
        head_dim=HEAD_DIM,
        num_frames=8,
        tubelet_size=2,
        token_grid=GRID,
        frames=FrameTransform(size=(56, 56), mean=(0.0,) * 3, std=(1.0,) * 3),
        metrics=("logit",),
    )


def table_videos() -> list[np.ndarray]:
    return [np.full((8, 56, 56, 3), video, dtype=np.uint8) for video in range(NUM_VIDEOS)]
