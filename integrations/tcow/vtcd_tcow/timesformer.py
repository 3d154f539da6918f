# SPDX-License-Identifier: MIT
"""The transformer inside TCOW: attention over time, then over space, in each block.

Modules are named as in the published checkpoints. Tokens of a clip stand in (h, w, t) order behind
one class token. Letters: B batch, T frames, N = h*w*T tokens, D width, A heads.

Bertasius et al., "Is Space-Time Attention All You Need for Video Understanding?" (ICML 2021),
with the changes of Van Hoorick et al., "Tracking through Containers and Occluders in the Wild"
(CVPR 2023): causal time, any number of input channels, the class token not used for the output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vtcd_tcow.config import TCOWConfig

_EPSILON = 1e-6  # of the layer norms
_MASKED = -1e10  # finite, as in training


class Attention(nn.Module):
    """Multi-head attention with fused queries, keys and values.

    Args:
        width: channels of a token.
        num_heads: number of heads.
        frames_ahead: how many later tokens a token may see; None for all.
    """

    def __init__(self, width: int, num_heads: int, frames_ahead: int | None = None) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (width // num_heads) ** -0.5
        self.frames_ahead = frames_ahead
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:  # [rows, N, D] -> [rows, N, D]
        """Attend among the tokens of each row."""
        count = tokens.shape[1]
        split = self.qkv(tokens).unflatten(-1, (3, self.num_heads, -1))
        queries, keys, values = split.permute(2, 0, 3, 1, 4)  # [rows, A, N, D/A] each
        scores = (queries @ keys.transpose(-2, -1)) * self.scale
        if self.frames_ahead is not None:
            seen = torch.ones(count, count, dtype=torch.bool, device=tokens.device)
            scores = scores.masked_fill(
                ~seen.tril(self.frames_ahead), max(_MASKED, torch.finfo(scores.dtype).min)
            )
        mixed = scores.softmax(dim=-1) @ values
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:  # [..., D] -> [..., D]
        """Transform every token on its own."""
        return self.fc2(self.act(self.fc1(tokens)))


class DropPath(nn.Module):
    """Stochastic depth: while training, drops a whole row of a residual branch now and then."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, rows: Tensor) -> Tensor:  # [rows, ...]
        """Scale what is kept, so that the mean stays."""
        if not self.training or self.rate == 0:
            return rows
        keep = 1 - self.rate
        mask = rows.new_empty(rows.shape[0], *[1] * (rows.dim() - 1)).bernoulli_(keep)
        return rows * mask / keep


class Block(nn.Module):
    """Temporal attention, spatial attention and a perceptron, each with a residual connection."""

    def __init__(self, config: TCOWConfig, drop_path: float) -> None:
        super().__init__()
        width, heads, causal = config.width, config.heads, config.causal_attention
        self.divided = config.divided
        self.class_token_in_space = config.class_token_in_space
        self.class_token_of_first_frame = causal == 1
        self.norm1 = nn.LayerNorm(width, eps=_EPSILON)
        self.attn = Attention(width, heads)
        if self.divided:
            ahead = max(0, causal - 2) if causal > 0 else None
            self.temporal_norm1 = nn.LayerNorm(width, eps=_EPSILON)
            self.temporal_attn = Attention(width, heads, frames_ahead=ahead)
            self.temporal_fc = nn.Linear(width, width)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(width, eps=_EPSILON)
        self.mlp = Mlp(width)

    def forward(self, tokens: Tensor, num_frames: int) -> Tensor:  # [B, 1+N, D] -> [B, 1+N, D]
        """Run the block on the tokens of clips with ``num_frames`` frames."""
        if self.divided:
            prefix, patches = tokens[:, :1], tokens[:, 1:]
            patches = patches + self._over_time(patches, num_frames)
            change = self._over_space(prefix, patches, num_frames)
            tokens = torch.cat([prefix, patches], dim=1) + change
        else:
            tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))

    def _over_time(self, patches: Tensor, num_frames: int) -> Tensor:  # [B, N, D] -> [B, N, D]
        """Attention among the patches of one place."""
        rows = patches.unflatten(1, (-1, num_frames)).flatten(0, 1)  # [B*h*w, T, D]
        change = self.drop_path(self.temporal_attn(self.temporal_norm1(rows)))
        return self.temporal_fc(change.unflatten(0, (patches.shape[0], -1)).flatten(1, 2))

    def _over_space(
        self,
        prefix: Tensor,  # [B, 1, D]
        patches: Tensor,  # [B, N, D]
        num_frames: int,
    ) -> Tensor:  # [B, 1+N, D]
        """Attention among the patches of one frame and, in most models, the class token."""
        batch = patches.shape[0]
        frames = patches.unflatten(1, (-1, num_frames)).transpose(1, 2)  # [B, T, h*w, D]
        if self.class_token_in_space:
            copies = prefix.unsqueeze(1).expand(-1, num_frames, -1, -1)  # [B, T, 1, D]
            frames = torch.cat([copies, frames], dim=2)
        change = self.drop_path(self.attn(self.norm1(frames.flatten(0, 1))))
        change = change.unflatten(0, (batch, num_frames))  # [B, T, (1+)h*w, D]
        if not self.class_token_in_space:
            prefix_change = torch.zeros_like(prefix)
        elif self.class_token_of_first_frame:
            # A mean over frames would tell early frames about late ones in the next block.
            prefix_change = change[:, 0, :1]
        else:
            prefix_change = change[:, :, 0].mean(dim=1, keepdim=True)
        patches_change = change[:, :, 1:] if self.class_token_in_space else change
        return torch.cat([prefix_change, patches_change.transpose(1, 2).flatten(1, 2)], dim=1)


class PatchEmbed(nn.Module):
    """Turns square patches of every frame into tokens."""

    def __init__(self, channels: int, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel_size=patch_size, stride=patch_size)

    def forward(self, pixels: Tensor) -> Tensor:  # [B, C, T, H, W] -> [B, T, h*w, D]
        """Embed the patches of every frame."""
        tokens = self.proj(pixels.transpose(1, 2).flatten(0, 1)).flatten(2).transpose(1, 2)
        return tokens.unflatten(0, (pixels.shape[0], -1))


class VideoTransformer(nn.Module):
    """Patches, positions and blocks; gives the patch tokens of the last block."""

    def __init__(self, config: TCOWConfig) -> None:
        super().__init__()
        width = config.width
        t, h, w = config.token_grid
        self.normalises_output = config.norm_embeddings
        self.initializer_range = config.initializer_range
        self.patch_embed = PatchEmbed(3 + config.query_channels, width, config.patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + h * w, width))
        self.time_embed = nn.Parameter(torch.zeros(1, t, width))
        last = max(config.num_blocks - 1, 1)
        rates = [config.drop_path_rate * index / last for index in range(config.num_blocks)]
        self.blocks = nn.ModuleList(Block(config, rate) for rate in rates)
        self.norm = nn.LayerNorm(width, eps=_EPSILON)  # in checkpoints even where it is not used
        self.initialise()

    def initialise(self) -> None:
        """Draw all weights as they are when training starts."""
        std = self.initializer_range
        nn.init.trunc_normal_(self.pos_embed, std=std)
        nn.init.trunc_normal_(self.cls_token, std=std)
        nn.init.zeros_(self.time_embed)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=std)
                nn.init.zeros_(module.bias)
            elif isinstance(module, (nn.LayerNorm, nn.Conv2d)):
                module.reset_parameters()
        for index, block in enumerate(self.blocks):
            if index > 0 and isinstance(block, Block) and block.divided:
                # At first only the first block looks at other frames.
                nn.init.zeros_(block.temporal_fc.weight)
                nn.init.zeros_(block.temporal_fc.bias)

    def forward(
        self,
        pixels: Tensor,  # [B, C, T, H, W]
        positions: Tensor | None = None,  # int [T]
    ) -> Tensor:  # [B, D, T, h, w]
        """Return the patch tokens of the last block, as maps."""
        num_frames = pixels.shape[2]
        grid_height = pixels.shape[3] // self.patch_embed.proj.kernel_size[0]
        tokens = self.patch_embed(pixels) + self.pos_embed[:, None, 1:]  # [B, T, h*w, D]
        time = self.time_embed if positions is None else self.time_embed[:, positions]
        tokens = (tokens + time.unsqueeze(2)).transpose(1, 2).flatten(1, 2)  # [B, h*w*T, D]
        prefix = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        tokens = torch.cat([prefix, tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens, num_frames)
        if self.normalises_output:
            tokens = self.norm(tokens)
        maps = tokens[:, 1:].unflatten(1, (grid_height, -1, num_frames))  # [B, h, w, T, D]
        return maps.permute(0, 4, 3, 1, 2)
