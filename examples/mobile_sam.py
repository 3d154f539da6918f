"""Refine masks by MobileSAM: a small image encoder in front of SAM's own decoder.

    python examples/mobile_sam.py mobile_sam.pt MODEL VIDEO MASK.png OUT

The weights are those of https://github.com/ChaoningZhang/MobileSAM (`weights/mobile_sam.pt`,
Apache-2.0). The decoder and the prompts are transformers' `SamModel`; the encoder, TinyViT of five
million parameters at 1024 pixels, is written out below with the names of the checkpoint, so that it
loads strictly.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import SamConfig, SamModel
from transformers.models.sam.modeling_sam import SamVisionEncoderOutput

import vtcd_ops
from vtcd_ops.commands.segment import write_masks
from vtcd_ops.segmentation import sam_refiner

WIDTHS, DEPTHS = (64, 128, 160, 320), (2, 2, 6, 2)
HEADS, WINDOWS = (2, 4, 5, 10), (7, 7, 14, 7)


class ConvBN(nn.Sequential):
    """A convolution and its batch norm."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.add_module(
            "c", nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        )
        self.add_module("bn", nn.BatchNorm2d(outputs))


class Embedding(nn.Module):
    """Pixels to a quarter of their resolution."""

    def __init__(self) -> None:
        super().__init__()
        half = WIDTHS[0] // 2
        self.seq = nn.Sequential(ConvBN(3, half, 3, 2), nn.GELU(), ConvBN(half, WIDTHS[0], 3, 2))

    def forward(self, x: Tensor) -> Tensor:  # [B, 3, H, W]
        return self.seq(x)


class MBConv(nn.Module):
    """Inverted bottleneck, at a quarter of the resolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(width, 4 * width)
        self.conv2 = ConvBN(4 * width, 4 * width, 3, groups=4 * width)
        self.conv3 = ConvBN(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.gelu(self.conv2(functional.gelu(self.conv1(x))))
        return functional.gelu(x + self.conv3(inner))


class Merging(nn.Module):
    """From one stage to the next: other channels, half the resolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(inputs, outputs)
        self.conv2 = ConvBN(outputs, outputs, 3, stride, groups=outputs)
        self.conv3 = ConvBN(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(functional.gelu(self.conv2(functional.gelu(self.conv1(x)))))


class Attention(nn.Module):
    """Within windows, with a bias for each distance of rows and columns."""

    places: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window**2))
        row = torch.arange(window).repeat_interleave(window)
        column = torch.arange(window).repeat(window)
        apart = (row[:, None] - row).abs() * window + (column[:, None] - column).abs()
        self.register_buffer("places", apart, persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # [windows, N, C]
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (self.heads, 3, -1)).unbind(3)
        bias = self.attention_biases[:, self.places]
        found = functional.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), bias
        )
        return self.proj(found.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers at each token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(self.norm(x))))


class Block(nn.Module):
    """Attention in windows, a local convolution, and two layers at each token."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = Attention(width, heads, window)
        self.local_conv = ConvBN(width, width, 3, groups=width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor) -> Tensor:  # [B, C, H, W]
        x = self.local_conv(x + self._attend(x))
        return x + self.mlp(x.movedim(1, 3)).movedim(3, 1)

    def _attend(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        side = self.window
        padded = functional.pad(x, (0, -width % side, 0, -height % side))
        rows, columns = padded.shape[2] // side, padded.shape[3] // side
        split = padded.reshape(batch, channels, rows, side, columns, side)
        windows = split.permute(0, 2, 4, 3, 5, 1).reshape(-1, side * side, channels)
        found = self.attn(windows).reshape(batch, rows, columns, side, side, channels)
        return found.permute(0, 5, 1, 3, 2, 4).reshape(padded.shape)[:, :, :height, :width]


class Stage(nn.Module):
    """Blocks of one width."""

    def __init__(self, number: int) -> None:
        super().__init__()
        width = WIDTHS[number]
        self.blocks = nn.Sequential(
            *(
                Block(width, HEADS[number], WINDOWS[number]) if number else MBConv(width)
                for _ in range(DEPTHS[number])
            )
        )
        self.downsample: nn.Module = nn.Identity()
        if number < 3:  # the last keeps the resolution: 64 x 64 tokens, as SAM's encoder
            self.downsample = Merging(width, WIDTHS[number + 1], 1 if number == 2 else 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(self.blocks(x))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of images."""

    def forward(self, x: Tensor) -> Tensor:  # [B, C, H, W]
        return super().forward(x.movedim(1, 3)).movedim(3, 1)


class TinyViT(nn.Module):
    """The image encoder, in the place of `SamModel.vision_encoder`."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = Embedding()
        self.layers = nn.Sequential(*map(Stage, range(4)))
        self.neck = nn.Sequential(
            nn.Conv2d(WIDTHS[3], 256, 1, bias=False),
            ChannelNorm(256, eps=1e-6),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            ChannelNorm(256, eps=1e-6),
        )

    def forward(self, pixel_values: Tensor, **_: object) -> SamVisionEncoderOutput:
        found = self.neck(self.layers(self.patch_embed(pixel_values)))
        return SamVisionEncoderOutput(last_hidden_state=found)


#: Names of SAM's own checkpoints, and what transformers calls them.
RENAMED = (
    (r"\.layers\.0\.(weight|bias)$", r".proj_in.\1"),
    (r"\.layers\.1\.(weight|bias)$", r".layers.0.\1"),
    (r"\.layers\.2\.(weight|bias)$", r".proj_out.\1"),
    (r"\.norm", r".layer_norm"),
    (r"output_upscaling\.0", "upscale_conv1"),
    (r"output_upscaling\.1", "upscale_layer_norm"),
    (r"output_upscaling\.3", "upscale_conv2"),
    (r"mask_downscaling\.0", "mask_embed.conv1"),
    (r"mask_downscaling\.1", "mask_embed.layer_norm1"),
    (r"mask_downscaling\.3", "mask_embed.conv2"),
    (r"mask_downscaling\.4", "mask_embed.layer_norm2"),
    (r"mask_downscaling\.6", "mask_embed.conv3"),
    (r"point_embeddings", "point_embed"),
    (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
)


def load_mobile_sam(weights: str | Path) -> SamModel:
    """Return MobileSAM as transformers' `SamModel`, for `sam_refiner`."""
    stored = torch.load(weights, map_location="cpu", weights_only=True)
    config = SamConfig(vision_config={"num_hidden_layers": 1, "hidden_size": 64,
                                      "num_attention_heads": 1})  # fmt: skip
    model = SamModel(config)
    model.vision_encoder = TinyViT()
    state = {}
    for name, tensor in stored.items():
        if name.startswith("image_encoder."):
            if "head" not in name:  # of the classifier that it was distilled from
                state[f"vision_encoder.{name.removeprefix('image_encoder.')}"] = tensor
            continue
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement, name)
        state[name] = tensor
    shared = state["prompt_encoder.shared_embedding.positional_embedding"]
    state["shared_image_embedding.positional_embedding"] = shared
    model.load_state_dict(state)
    return model.eval()


def main() -> None:
    """Segment a video from the mask of its first frame, with and without MobileSAM."""
    if len(sys.argv) != 6:
        raise SystemExit(__doc__)
    weights, model, video, mask, out = sys.argv[1:]
    refine = sam_refiner(load_mobile_sam(weights))
    found = vtcd_ops.segment(model, video, mask, refine=refine)
    write_masks(found, Path(out))
    print(f"{out}: {len(found.masks)} masks")


if __name__ == "__main__":
    main()
