"""The two transformers of InternVideo: the visual tower and the text transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vtcd_internvideo.blocks import AttentionBlock, TemporalDecoderLayer
from vtcd_internvideo.config import VisualConfig

__all__ = ["TextTransformer", "VisualTower"]


class VisualTransformer(nn.Module):
    """The blocks of an image transformer, and the temporal decoder that reads some of them.

    Every frame goes through the blocks alone. After the blocks of `return_list`, a depthwise
    convolution over time, height and width tells the tokens about their neighbours, and a decoder
    layer adds what it finds in all frames to the token that stands for the video.
    """

    def __init__(self, config: VisualConfig, num_frames: int) -> None:
        super().__init__()
        width = config.width
        self.num_frames, self.grid_size = num_frames, config.grid_size
        self.return_list = config.return_list
        self.resblocks = nn.ModuleList(
            AttentionBlock(width, config.heads) for _ in range(config.layers)
        )
        self.temporal_cls_token = nn.Parameter(torch.zeros(1, 1, width))
        convolutions = [
            nn.Conv3d(width, width, kernel_size=3, padding=1, groups=width)
            for _ in range(config.n_layers)
        ]
        self.dpe = nn.ModuleList(convolutions)
        hidden = round(config.mlp_factor * width)
        self.dec = nn.ModuleList(
            TemporalDecoderLayer(width, config.n_head, hidden, dropout)
            for dropout in config.mlp_dropout
        )
        self.balance = nn.Parameter(torch.zeros(width))
        for convolution in convolutions:
            assert convolution.bias is not None
            nn.init.zeros_(convolution.bias)

    def forward(self, x: Tensor) -> Tensor:  # [B*T, 1 + h*w, C] -> [B, C]
        """Return the video's token, mixed with the mean class token of the frames."""
        frames = x.unflatten(0, (-1, self.num_frames))
        summary = self.temporal_cls_token.expand(len(frames), -1, -1)
        for layer, block in enumerate(self.resblocks):
            x = block(x)
            if layer in self.return_list:
                index = self.return_list.index(layer)
                tokens = self.neighbours(x, index)
                summary = self.dec[index](summary, tokens.flatten(1, 2))
        frames = x.unflatten(0, (-1, self.num_frames))
        share = torch.sigmoid(self.balance)
        return (1 - share) * summary[:, 0] + share * frames[:, :, 0].mean(1)

    def neighbours(self, x: Tensor, index: int) -> Tensor:
        """Add to each patch what the convolution `index` says of those around it in space and time.

        Args:
            x: [B*T, 1 + h*w, C] tokens of the frames.
            index: position in `return_list`.

        Returns:
            [B, T, 1 + h*w, C], class tokens as they were.
        """
        frames = x.unflatten(0, (-1, self.num_frames))
        patches = frames[:, :, 1:]
        volume = patches.unflatten(2, (self.grid_size, self.grid_size)).permute(0, 4, 1, 2, 3)
        around = self.dpe[index](volume).flatten(3).permute(0, 2, 3, 1)  # [B, T, h*w, C]
        return torch.cat([frames[:, :, :1], patches + around], dim=2)


class VisualTower(nn.Module):
    """From a video, [B, 3, T, H, W], to one vector, [B, C]."""

    def __init__(self, config: VisualConfig, num_frames: int) -> None:
        super().__init__()
        width, patch = config.width, config.patch_size
        self.conv1 = nn.Conv3d(3, width, (1, patch, patch), stride=(1, patch, patch), bias=False)
        spread = width**-0.5
        self.class_embedding = nn.Parameter(spread * torch.randn(width))
        places = 1 + config.grid_size**2
        self.positional_embedding = nn.Parameter(spread * torch.randn(places, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = VisualTransformer(config, num_frames)

    def embed(self, video: Tensor) -> Tensor:  # [B, 3, T, H, W] -> [B*T, 1 + h*w, C]
        """Return the tokens of every frame, the class token first."""
        patches = self.conv1(video).permute(0, 2, 3, 4, 1).flatten(2, 3).flatten(0, 1)
        first = self.class_embedding.expand(len(patches), 1, -1)
        tokens: Tensor = self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding)
        return tokens

    def forward(self, video: Tensor) -> Tensor:
        """Run the tower."""
        summary: Tensor = self.transformer(self.embed(video))
        return summary


class TextTransformer(nn.Module):
    """Causal blocks."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(AttentionBlock(width, heads) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:  # [B, N, C] -> [B, N, C]
        """Run the blocks."""
        for block in self.resblocks:
            x = block(x, causal=True)
        return x
