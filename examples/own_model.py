"""A video transformer of one's own, wrapped, checked, looked into and changed.

    python examples/own_model.py

Only `wrap` has to be written for another model.
"""

import torch
from torch import Tensor, nn

import vtcd_ops
from vtcd_ops.adapters import (
    FrameTransform,
    ProjectionAdapter,
    Projections,
    TokenLayout,
    check_adapter,
)


class Block(nn.Module):
    """Attention with separate projections, then a perceptron."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.to_out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:  # [B, 1+N, A*C]
        y = self.norm_1(x)
        q, k, v = (
            project(y).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.to_out(out.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm_2(x))


class OwnModel(nn.Module):
    """Clips of 8 frames of 64x64 pixels to ten classes: 4x8x8 tokens and a class token."""

    def __init__(self, width: int = 48, num_layers: int = 4, num_heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv3d(3, width, kernel_size=(2, 8, 8), stride=(2, 8, 8))
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, 257, width))
        self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(num_layers))
        self.classifier = nn.Linear(width, 10)

    def forward(self, clips: Tensor) -> Tensor:  # [B, 8, 3, 64, 64] -> [B, 10]
        x = self.patches(clips.transpose(1, 2)).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.classifier(x[:, 0])


def wrap(model: OwnModel) -> ProjectionAdapter:
    """Say where the attention is, how the tokens stand, and how frames become the input."""
    return ProjectionAdapter(
        model,
        name="own_model",
        projections=[
            Projections(
                queries=block.to_q, keys=block.to_k, values=block.to_v, outputs=block.to_out
            )
            for block in model.blocks
        ],
        num_heads=4,
        num_frames=8,
        tubelet_size=2,
        token_grid=(4, 8, 8),
        layout=TokenLayout(num_prefix_tokens=1),
        frames=FrameTransform(size=(64, 64), shortest_edge=64),
    )


def main() -> None:
    torch.manual_seed(0)
    adapter = wrap(OwnModel().eval())
    print(adapter)
    print(*check_adapter(adapter), sep="\n")

    frames = torch.randint(0, 256, (8, 90, 120, 3), dtype=torch.uint8)  # a video
    clips = adapter.preprocess(frames)[None]  # [B, T, 3, H', W']
    features = vtcd_ops.capture(adapter, clips, layers=[1, 3], parts=("keys", "values"))
    print("keys of layer 3:", list(features["keys"][3].shape))  # [B, A, t*h*w, C]

    def silence_head_2(part: str, layer: int, features: Tensor) -> Tensor:  # [B, A, 1+N, C]
        return features * torch.tensor([1.0, 1.0, 0.0, 1.0]).view(1, 4, 1, 1)

    with torch.no_grad():
        plain = adapter.forward(clips)
        with vtcd_ops.edit(adapter, silence_head_2, layers=[3], parts=("outputs",)):
            edited = adapter.forward(clips)
    print(f"without head 2 of layer 3 the scores move by {float((edited - plain).abs().max()):.3f}")


if __name__ == "__main__":
    main()
