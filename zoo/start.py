# SPDX-License-Identifier: MIT
"""How the training of a model this small gets off the ground.

VideoMAE numbers its tokens in one row and gives each number a sinusoid code. At width 128 too few
frequencies are left to tell a token's row, column and time apart by a dot product, so attention
does not find the patch next door, and training stays at predicting each patch's mean. Three
remedies, none of which uses labels and none of which remains in the finished model:

- position scaffold: at first a clear code of time, row and column is added to the sinusoids and
  faded out while the model learns to read the latter;
- whitened patches: most of a patch's variance is its mean colour; a random projection buries the
  pattern, which is what has to be predicted, under it;
- keys equal to queries: attention starts by comparing like with like ("mimetic" initialisation,
  Trockman and Kolter 2023).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import VideoMAEForPreTraining
from transformers.models.videomae.modeling_videomae import get_sinusoid_encoding_table

from zoo.mini_ssl import GRID, NUM_TOKENS, new_model, normalise

PATCH_DEVIATION = 1.0  # of an embedded patch, per channel; position codes have 0.7
HEAD_SCALE = 0.1  # begin near the mean patch, not above its error
WAVELENGTHS = (4.0, 32.0)  # shortest and longest of the scaffold, in tokens


@functools.cache
def separate_code(width: int) -> Tensor:
    """Sinusoids of time, row and column, each on its own third of the channels, [512, C]."""
    pairs = [width // 6, width // 6, width // 2 - 2 * (width // 6)]
    axes = torch.meshgrid(*(torch.arange(size) for size in GRID), indexing="ij")
    codes = []
    for axis, count in zip(axes, pairs, strict=True):
        lengths = torch.logspace(0, 1, count, base=WAVELENGTHS[1] / WAVELENGTHS[0])
        angles = axis.reshape(NUM_TOKENS, 1) * (2 * torch.pi / (WAVELENGTHS[0] * lengths))
        codes += [angles.sin(), angles.cos()]
    return torch.cat(codes, 1)


@functools.cache
def own_code(width: int) -> Tensor:
    """The model's own position codes, [1, 512, C]."""
    return get_sinusoid_encoding_table(NUM_TOKENS, width)


def set_scaffold(model: VideoMAEForPreTraining, share: float) -> None:
    """Add ``share`` of the separate code to the model's own position codes; 0 takes it away.

    The codes are no parameters, so they do not follow a model to its device; here they do. They are
    written in place: a recorded step (``zoo.recorded``) goes on reading them where they were.
    """
    config = model.config
    for owner, width in (
        (model.videomae.embeddings, config.hidden_size),
        (model, config.decoder_hidden_size),
    ):
        owner.position_embeddings = owner.position_embeddings.to(model.device)
        owner.position_embeddings.copy_(own_code(width) + share * separate_code(width))


def whitened_patches(inputs: Tensor, kernel: Sequence[int], width: int) -> tuple[Tensor, Tensor]:
    """A patch embedding that whitens the principal components of ``inputs``.

    Args:
        inputs: normalised clips, [B, 3, T, H, W].
        kernel: size of a patch in time, height and width.
        width: channels of the embedding.

    Returns:
        Weight [width, 3, *kernel] and bias [width].
    """
    patches = inputs
    for axis, size in enumerate(kernel):
        patches = patches.unfold(axis + 2, size, size)
    rows = patches.permute(0, 2, 3, 4, 1, 5, 6, 7).flatten(4).flatten(0, 3)
    mean = rows.mean(0)
    variances, directions = torch.linalg.eigh(torch.cov((rows - mean).T))
    scale = (variances[-width:] + 0.01 * variances.mean()).rsqrt()
    rotation = nn.init.orthogonal_(torch.empty(width, width))
    weight = PATCH_DEVIATION * rotation @ (directions[:, -width:] * scale).T
    return weight.reshape(width, inputs.shape[1], *kernel), -weight @ mean


@torch.no_grad()
def starting_model(frames: Tensor, seed: int) -> VideoMAEForPreTraining:
    """A model about to be trained on ``frames``, uint8 [clips, T, H, W, 3]."""
    model = new_model(seed)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(frames), (64,), generator=generator)
    projection = model.videomae.embeddings.patch_embeddings.projection
    inputs = normalise(frames[chosen]).transpose(1, 2)
    weight, bias = whitened_patches(inputs, projection.kernel_size, projection.out_channels)
    projection.weight.copy_(weight)
    projection.bias.copy_(bias)
    for layer in (*model.videomae.encoder.layer, *model.decoder.decoder_layers):
        attention = layer.attention.attention
        attention.key.weight.copy_(attention.query.weight)
    model.decoder.head.weight *= HEAD_SCALE
    return model
