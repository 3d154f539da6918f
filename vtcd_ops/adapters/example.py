"""A tiny video transformer for examples and tests."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vtcd_ops.adapters.base import CLASSIFIER_METRICS
from vtcd_ops.adapters.projections import ProjectionAdapter, Projections
from vtcd_ops.video.frames import FrameTransform

__all__ = ["example_adapter"]


class _ExampleModel(nn.Module):
    """A three-layer video transformer, small enough for examples and tests."""

    def __init__(self, width: int = 16, num_layers: int = 3, num_heads: int = 2) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.patch = nn.Conv3d(3, width, kernel_size=(2, 8, 8), stride=(2, 8, 8))
        self.position = nn.Parameter(torch.randn(1, 32, width))
        self.qkv = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(num_layers))
        self.proj = nn.ModuleList(nn.Linear(width, width) for _ in range(num_layers))
        self.head = nn.Linear(width, 5)

    def forward(self, clips: Tensor) -> Tensor:  # [B, 4, 3, 32, 32] -> [B, 5]
        x = self.patch(clips.transpose(1, 2)).flatten(2).transpose(1, 2) + self.position
        for qkv, proj in zip(self.qkv, self.proj, strict=True):
            split = qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
            out = nn.functional.scaled_dot_product_attention(*split.unbind(0))
            x = x + proj(out.transpose(1, 2).flatten(2))
        scores: Tensor = self.head(x.mean(1))
        return scores


def example_adapter(seed: int = 0) -> ProjectionAdapter:
    """Return a tiny random video transformer, wrapped: 3 layers, 2 heads, 2x4x4 tokens.

    >>> example_adapter()
    ProjectionAdapter('example', 3 layers x 2 heads x 8 channels, 2x4x4 tokens)
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _ExampleModel().eval()
    layers = zip(model.qkv, model.proj, strict=True)
    return ProjectionAdapter(
        model,
        name="example",
        projections=[Projections(qkv=qkv, outputs=proj) for qkv, proj in layers],
        num_heads=2,
        num_frames=4,
        tubelet_size=2,
        token_grid=(2, 4, 4),
        frames=FrameTransform(size=(32, 32)),
        metrics=CLASSIFIER_METRICS,
    )
