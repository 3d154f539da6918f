"""A model as benchmarks of discovery take it: the shape of a video transformer, hardly its cost."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vtcd_ops.adapters import FrameTransform, ProjectionAdapter, Projections

TUBELET_SIZE = 2


class StandIn(nn.Module):
    """Patches, positions and the projections of every layer, without attention.

    Args:
        layers: how many.
        width: channels of all heads.
        patch: edge of a patch, in pixels.
        tokens: that have positions; 0: without.
    """

    def __init__(self, layers: int, width: int, patch: int, tokens: int) -> None:
        super().__init__()
        size = (TUBELET_SIZE, patch, patch)
        self.patch = nn.Conv3d(3, width, kernel_size=size, stride=size)
        self.position = nn.Parameter(0.5 * torch.randn(1, tokens, width)) if tokens else None
        self.queries = nn.ModuleList(nn.Identity() for _ in range(layers))
        self.keys = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.values = nn.ModuleList(nn.Identity() for _ in range(layers))
        self.outputs = nn.ModuleList(nn.Identity() for _ in range(layers))

    def forward(self, clips: Tensor) -> Tensor:
        """Run the projections of every layer on clips [B, T, 3, H, W]."""
        x = self.patch(clips.transpose(1, 2)).flatten(2).transpose(1, 2)
        x = x if self.position is None else x + self.position
        for layer, keys in enumerate(self.keys):
            self.queries[layer](x)
            x = self.outputs[layer](x.add(self.values[layer](keys(x)), alpha=0.3))
        return x


def stand_in(
    name: str = "stand-in",
    *,
    layers: int = 12,
    heads: int = 12,
    channels: int = 64,
    frames: int = 16,
    edge: int = 224,
    patch: int = 16,
    positions: bool = True,
) -> ProjectionAdapter:
    """The model with its adapter, by default of VideoMAE-B's size."""
    torch.manual_seed(0)
    grid = (frames // TUBELET_SIZE, edge // patch, edge // patch)
    tokens = grid[0] * grid[1] * grid[2] if positions else 0
    model = StandIn(layers, heads * channels, patch, tokens).eval()
    each = zip(model.queries, model.keys, model.values, model.outputs, strict=True)
    return ProjectionAdapter(
        model,
        name=name,
        projections=[Projections(queries=q, keys=k, values=v, outputs=o) for q, k, v, o in each],
        num_heads=heads,
        head_dim=channels,
        num_frames=frames,
        tubelet_size=TUBELET_SIZE,
        token_grid=grid,
        frames=FrameTransform(size=(edge, edge)),
    )
