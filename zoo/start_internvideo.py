# SPDX-License-Identifier: MIT
"""What the video-text miniature is like before it is trained.

As published it starts from CLIP's weights; from random ones it does not find out that frames can be
compared. Four remedies, besides the ones told in zoo/start.py:

- places: a code of row and column as large as the patches, where the usual one is a tenth of them;
- patches: their whitened principal components;
- keys equal to queries, in all attention;
- half of the channels that the decoder reads begin as differences between the frames before and
  after, half as what the frame shows.
"""

from __future__ import annotations

import torch
from torch import Tensor
from vtcd_internvideo import InternVideo

from zoo.frame_targets import GRID
from zoo.mini_internvideo import configuration, normalise
from zoo.start import whitened_patches

WAVELENGTHS = (2.0, 32.0)  # shortest and longest of the code of places, in patches
DIFFERENCE = 1.0  # of two frames, by what one of them shows


def place_code(width: int) -> Tensor:
    """Sinusoids of row and column, each on half of the channels, [h*w, width]."""
    count = width // 4
    lengths = torch.logspace(0, 1, count, base=WAVELENGTHS[1] / WAVELENGTHS[0]) * WAVELENGTHS[0]
    axis = torch.arange(GRID)
    row, column = torch.meshgrid(axis, axis, indexing="ij")
    codes = []
    for position in (row, column):
        angles = position.reshape(-1, 1) * (2 * torch.pi / lengths)
        codes += [angles.sin(), angles.cos()]
    return torch.cat(codes, 1)


@torch.no_grad()
def starting_model(frames: Tensor, vocab_size: int, seed: int) -> InternVideo:
    """A model about to be trained on ``frames``, uint8 [clips, T, H, W, 3]."""
    torch.manual_seed(seed)
    model = InternVideo.from_config(configuration(vocab_size))
    tower = model.visual
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(frames), (64,), generator=generator)
    convolution = tower.conv1
    weight, bias = whitened_patches(
        normalise(frames[chosen]), convolution.kernel_size, convolution.out_channels
    )
    convolution.weight.copy_(weight)
    tower.positional_embedding[1:] = place_code(convolution.out_channels) + bias
    for block in tower.transformer.resblocks:
        query, key, _ = block.attn.in_proj_weight.chunk(3)
        key.copy_(query)
    for convolution in tower.transformer.dpe:
        convolution.weight.mul_(0.1)
        kernel = convolution.weight[::2, 0]  # [C / 2, 3, 3, 3]
        kernel[:, 0, 1, 1] -= DIFFERENCE
        kernel[:, 1, 1, 1] -= 1.0  # the frame itself is added to what the convolution says
        kernel[:, 2, 1, 1] += DIFFERENCE
    return model
