# SPDX-License-Identifier: MIT
"""The self-supervised miniature: its configuration, its masks and its reconstruction error."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import VideoMAEConfig, VideoMAEForPreTraining

GRID = (8, 8, 8)  # tokens in time, height and width
TUBELET, PATCH = 2, 8  # frames and pixels of one token
NUM_TOKENS = GRID[0] * GRID[1] * GRID[2]
# VideoMAE's own image processor uses these, and its loss undoes them.
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
PREPROCESSOR = {
    "image_processor_type": "VideoMAEImageProcessor",
    "do_resize": True,
    "size": {"shortest_edge": 64},
    "do_center_crop": True,
    "crop_size": {"height": 64, "width": 64},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": list(IMAGE_MEAN),
    "image_std": list(IMAGE_STD),
    "resample": 2,
}
VISIBLE_POSITIONS = 16  # of the 64 places of a tube mask: 75 % masked
NUM_VISIBLE = VISIBLE_POSITIONS * GRID[0]  # tokens, with either kind of mask
# A patch of one colour has no pattern to predict: this keeps normalisation from turning its
# rounding noise into a target. In units of the pixel range [0, 1].
SMALLEST_DEVIATION = 0.02


def configuration() -> VideoMAEConfig:
    """16 frames of 64 x 64, 512 tokens, 6 layers of 4 heads of 32, a decoder of 2 layers."""
    return VideoMAEConfig(
        image_size=64,
        patch_size=PATCH,
        num_frames=16,
        tubelet_size=TUBELET,
        hidden_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=512,
        decoder_hidden_size=96,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=3,
        decoder_intermediate_size=384,
        # 1 / sqrt(width); the default .02 suits a width of 768 and leaves layers near zero at 128.
        initializer_range=0.09,
        norm_pix_loss=True,
        use_mean_pooling=False,  # normalise the encoder's output, as published pre-training models
        # On a CPU the fused attention is slower than plain products at this size (its backward
        # alone took 40 % of a step).
        attn_implementation="eager",
    )


def new_model(seed: int) -> VideoMAEForPreTraining:
    """A model with random weights."""
    torch.manual_seed(seed)
    return VideoMAEForPreTraining(configuration())


def normalise(frames: Tensor) -> Tensor:
    """Frames uint8 [B, T, H, W, 3] as the model takes them, float [B, T, 3, H, W]."""
    inputs = frames.permute(0, 1, 4, 2, 3).contiguous().float()  # contiguous while it is small
    # Numbers, not tensors, which a GPU would have to be sent at every step.
    for channel, (mean, std) in enumerate(zip(IMAGE_MEAN, IMAGE_STD, strict=True)):
        inputs[:, :, channel].mul_(1 / (255 * std)).sub_(mean / std)
    return inputs


def patches(frames: Tensor) -> Tensor:
    """Pixels by token, uint8 [B, T, H, W, 3] -> uint8 [B, 512, 128, 3]."""
    batch = len(frames)
    split = frames.reshape(batch, GRID[0], TUBELET, GRID[1], PATCH, GRID[2], PATCH, 3)
    # (batch, time, row, column, frame, y, x, channel), the order of VideoMAE's own labels
    return split.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, NUM_TOKENS, -1, 3)


def standardise(pixels: Tensor) -> Tensor:
    """Each patch and channel to mean 0 and deviation 1, uint8 [..., 128, 3] (norm_pix)."""
    pixels = pixels.float() / 255
    centred = pixels - pixels.mean(-2, keepdim=True)
    variance = centred.square().mean(-2, keepdim=True)
    return centred * (variance + SMALLEST_DEVIATION**2).rsqrt()


def tube_mask(batch: int, generator: torch.Generator) -> Tensor:
    """Hide 75 % of the places through all frames, bool [B, 512], true = masked."""
    places = GRID[1] * GRID[2]
    draws = torch.rand(batch, places, generator=generator, device=generator.device)
    order = draws.argsort(1)
    hidden = order >= VISIBLE_POSITIONS
    return hidden.repeat(1, GRID[0])


def random_mask(batch: int, generator: torch.Generator) -> Tensor:
    """Hide as many tokens as ``tube_mask`` does, each on its own, bool [B, 512]."""
    draws = torch.rand(batch, NUM_TOKENS, generator=generator, device=generator.device)
    return draws.argsort(1) >= NUM_VISIBLE


def shown_tokens(mask: Tensor) -> Tensor:
    """Indices of the visible tokens of each row in order, [B, V]; every row shows V of them.

    Sorting, unlike ``nonzero``, does not make a GPU wait for the answer.
    """
    return mask.byte().sort(dim=1, stable=True).indices[:, :NUM_VISIBLE]


def reconstruct(
    model: VideoMAEForPreTraining, inputs: Tensor, shown: Tensor, predicted: Tensor
) -> Tensor:
    """Predict some of the masked tokens, as ``VideoMAEForPreTraining`` predicts all of them.

    Decoding a sample of the masked tokens costs less and leaves the encoder's task as it is. The
    library's own forward picks the visible tokens with a mask, whose count a GPU has to wait for.

    Args:
        model: the pre-training model.
        inputs: normalised clips, [B, T, 3, H, W].
        shown: indices of the visible tokens, [B, V].
        predicted: indices of masked tokens, [B, P].

    Returns:
        Standardised pixels, [B, P, 128 * 3].
    """
    embeddings = model.videomae.embeddings
    tokens = embeddings.patch_embeddings(inputs)  # [B, 512, C]
    tokens = tokens + embeddings.position_embeddings.to(tokens)
    tokens = tokens.gather(1, shown[..., None].expand(-1, -1, tokens.shape[2]))  # [B, V, C]
    encoded = model.videomae.layernorm(model.videomae.encoder(tokens).last_hidden_state)
    visible = model.encoder_to_decoder(encoded)  # [B, V, D]
    position = model.position_embeddings[0].to(visible)  # [512, D]
    queries = model.mask_token + position[predicted]  # [B, P, D]
    tokens = torch.cat([visible + position[shown], queries], 1)
    return model.decoder(tokens, predicted.shape[1]).logits


def reconstruction_error(predictions: Tensor, frames: Tensor, predicted: Tensor) -> Tensor:
    """Squared error of each predicted token on standardised pixels, [B, P]."""
    return (predictions.float() - standardised_targets(frames, predicted)).square().mean(-1)


def standardised_targets(frames: Tensor, predicted: Tensor) -> Tensor:
    """Standardised pixels of chosen tokens, [B, P, 128 * 3]."""
    pixels = patches(frames)  # [B, 512, 128, 3]
    index = predicted[..., None, None].expand(-1, -1, *pixels.shape[2:])
    return standardise(pixels.gather(1, index)).flatten(2)
