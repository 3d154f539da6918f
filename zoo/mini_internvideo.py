# SPDX-License-Identifier: MIT
"""The video-text miniature: its sizes, its captions, and the token targets it starts from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer as Encoding
from tokenizers import models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import VideoMAEModel
from vtcd_internvideo import InternVideo
from vtcd_internvideo.adapter import CLIP_MEAN, CLIP_STD

from zoo.stage import NUM_INSTANCES

NUM_FRAMES, FRAME_STEP = 8, 2  # every other frame of a clip of 16
GRID, PATCH = 8, 8  # patches along a side, and pixels along theirs
CONTEXT_LENGTH = 20  # tokens of a text
APPEARANCE_WORDS = 3  # "a striped ball", then what it does
NUM_ROLES = 8  # background, the first six instances of stage.INSTANCE_IDS, any other
FASTEST = 8.0  # pixels between two of the eight frames; displacements beyond are cut
VISIBLE = 4  # pixels of an instance, for its centre to count
DENSE_LAYERS = (1, 3)  # layers of the temporal decoder whose tokens have targets
PREPROCESSOR = {
    "size": {"shortest_edge": GRID * PATCH},
    "crop_size": {"height": GRID * PATCH, "width": GRID * PATCH},
    "image_mean": list(CLIP_MEAN),
    "image_std": list(CLIP_STD),
    "resample": 2,
    "sampling_rate": FRAME_STEP,
}
MIRRORED = {"left": "right", "right": "left"}


def configuration(vocab_size: int) -> dict:
    """8 frames of 64 x 64, 6 layers of 4 heads of 32, a decoder behind the last four."""
    return {
        "visual": {
            "input_resolution": GRID * PATCH, "patch_size": PATCH,
            "width": 128, "layers": 6, "heads": 4, "output_dim": 128,
            "return_list": [2, 3, 4, 5], "n_layers": 4, "n_dim": 128, "n_head": 4,
            "mlp_dropout": 0.0,
        },
        "text": {
            "embed_dim": 128, "context_length": CONTEXT_LENGTH, "vocab_size": vocab_size,
            "transformer_width": 128, "transformer_heads": 4, "transformer_layers": 2,
        },
        "t_size": NUM_FRAMES,
        # 1 / sqrt(width) is .09; the published .02 suits a width of 768.
        "initializer_range": 0.06,
    }  # fmt: skip


def normalise(frames: Tensor) -> Tensor:
    """Frames uint8 [B, T, H, W, 3] as the model takes them, float [B, 3, T, H, W]."""
    inputs = frames.permute(0, 4, 1, 2, 3).contiguous().float()  # contiguous while it is small
    mean, std = (torch.tensor(value)[:, None, None, None] for value in (CLIP_MEAN, CLIP_STD))
    return inputs.mul_(1 / (255 * std)).sub_(mean / std)


@torch.no_grad()
def start_from_videomae(model: InternVideo, source: VideoMAEModel) -> None:
    """Let the visual tower begin as the encoder of a VideoMAE of the same width and depth.

    Its two frames of a patch become one, its positions those of one moment in the middle; its
    attention over all frames becomes one inside each. What has no counterpart is left as it is.
    """
    tower, embeddings = model.visual, source.embeddings
    projection = embeddings.patch_embeddings.projection
    tower.conv1.weight.copy_(projection.weight.sum(2, keepdim=True))
    places = GRID * GRID
    middle = embeddings.position_embeddings[0].unflatten(0, (-1, places))
    tower.positional_embedding[1:] = middle[len(middle) // 2] + projection.bias
    # The norm in front, which VideoMAE lacks, keeps the spread that positions alone have.
    tower.ln_pre.weight.fill_(tower.positional_embedding[1:].std().item())
    for block, layer in zip(tower.transformer.resblocks, source.encoder.layer, strict=True):
        attention = layer.attention.attention
        parts = (attention.query, attention.key, attention.value)
        zero = torch.zeros_like(attention.query.bias)
        biases = [zero if part.bias is None else part.bias for part in parts]
        block.attn.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        block.attn.in_proj_bias.copy_(torch.cat(biases))
        for own, other in (
            (block.attn.out_proj, layer.attention.output.dense),
            (block.ln_1, layer.layernorm_before),
            (block.ln_2, layer.layernorm_after),
            (block.mlp.c_fc, layer.intermediate.dense),
            (block.mlp.c_proj, layer.output.dense),
        ):
            own.weight.copy_(other.weight)
            own.bias.copy_(other.bias)


def learn_merges(captions: Sequence[str]) -> list[str]:
    """Byte-pair merges that make every word of the captions one token, each "left right"."""
    encoding = Encoding(models.BPE(end_of_word_suffix="</w>"))
    encoding.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=10_000, min_frequency=1, end_of_word_suffix="</w>", show_progress=False
    )
    encoding.train_from_iterator(sorted(set(captions)), trainer)
    return [" ".join(pair) for pair in json.loads(encoding.to_str())["model"]["merges"]]


@dataclass(frozen=True)
class Captions:
    """All captions that a split uses and their mirror images, in alphabetical order."""

    texts: tuple[str, ...]

    @classmethod
    def of(cls, captions: Sequence[str]) -> Captions:
        """Collect different captions."""
        return cls(tuple(sorted({text for one in captions for text in (one, mirror(one))})))

    def numbers(self, captions: Sequence[str]) -> Tensor:
        """Position of each caption, [n]."""
        position = {text: number for number, text in enumerate(self.texts)}
        return torch.tensor([position[text] for text in captions])


def mirror(caption: str) -> str:
    """What the caption would be if the clip were mirrored."""
    return " ".join(MIRRORED.get(word, word) for word in caption.split())


def appearance(caption: str) -> str:
    """The words that say what is seen, "a striped ball"."""
    return " ".join(caption.split()[:APPEARANCE_WORDS])


def motion(caption: str) -> str:
    """The words that say what it does, "is lifted up"."""
    return " ".join(caption.split()[APPEARANCE_WORDS:])


def instance_centres(instances: np.ndarray) -> np.ndarray:
    """Centre of each instance in each frame, in pixels, NaN where hardly any of it is seen.

    Args:
        instances: uint8 [clips, T, H, W], 0 = background.

    Returns:
        float32 [clips, T, 1 + instances, 2], (x, y); of 0, the background, as of any other.
    """
    clips, frames, height, width = instances.shape
    ids = 1 + NUM_INSTANCES
    y, x = np.divmod(np.arange(height * width), width)
    centres = np.full((clips, frames, ids, 2), np.nan, np.float32)
    for clip, rows in enumerate(instances.reshape(clips, frames, -1)):
        place = (np.arange(frames)[:, None] * ids + rows).ravel()
        count = np.bincount(place, minlength=frames * ids)
        for axis, coordinate in enumerate((x, y)):
            total = np.bincount(place, np.tile(coordinate, frames), minlength=frames * ids)
            mean = np.where(count >= VISIBLE, total / np.maximum(count, 1), np.nan)
            centres[clip, :, :, axis] = mean.reshape(frames, ids)
    return centres


@dataclass
class TokenTargets:
    """What each patch of each frame shows and where that goes."""

    roles: Tensor  # [B, T, h*w, NUM_ROLES] fractions
    changes: Tensor  # [B, T, h*w, NUM_ROLES] of the fractions, over two frames
    displacement: Tensor  # [B, T, h*w, 2] between neighbouring frames, in units of FASTEST
    moving: Tensor  # [B, T, h*w] 1 where the displacement counts
    amodal: Tensor  # [B, T, h*w] fraction of the patch that is the target, seen or hidden


def token_targets(instances: Tensor, centres: Tensor, amodal: Tensor) -> TokenTargets:
    """Targets of the tokens, from what the renderer knows.

    Args:
        instances: uint8 [B, T, H, W], of the frames that the model sees.
        centres: [B, T, 1 + instances, 2] of `instance_centres`.
        amodal: bool [B, T, H, W].
    """
    ids = 1 + NUM_INSTANCES
    fractions = torch.stack([patch_means(instances == index) for index in range(ids)], -1)
    before = (torch.arange(NUM_FRAMES) - 1).clamp(min=0)
    after = (torch.arange(NUM_FRAMES) + 1).clamp(max=NUM_FRAMES - 1)
    steps = torch.full((NUM_FRAMES, 1, 1), 2.0)
    steps[0] = steps[-1] = 1.0  # one neighbour at either end
    moved = (centres[:, after] - centres[:, before]) / steps / FASTEST  # [B, T, ids, 2]
    known = moved.isfinite().all(-1)
    known[..., 0] = False  # the background
    weights = fractions * known[:, :, None]
    moved = moved.nan_to_num().clamp(-1, 1)
    share = weights.sum(-1)
    displacement = (weights @ moved) / share.clamp(min=1e-3)[..., None]
    others = fractions[..., NUM_ROLES - 1 :].sum(-1, keepdim=True)
    roles = torch.cat([fractions[..., : NUM_ROLES - 1], others], -1)
    return TokenTargets(
        roles=roles,
        changes=roles[:, after] - roles[:, before],
        displacement=displacement,
        moving=(share > 0.25).float(),
        amodal=patch_means(amodal),
    )


def patch_means(mask: Tensor) -> Tensor:
    """Fraction of each patch, bool [B, T, H, W] -> [B, T, h*w]."""
    return functional.avg_pool2d(mask.float(), PATCH).flatten(2)


class DenseHeads(nn.Module):
    """Perceptrons that read the token targets off what the temporal decoder reads.

    They hang on the decoder from outside and are not part of the finished model.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(),
                nn.Linear(width, 2 * NUM_ROLES + 3),
            )
            for _ in DENSE_LAYERS
        )  # fmt: skip

    def forward(self, tokens: Sequence[Tensor]) -> list[Tensor]:
        """Predict [B, T, h*w, 2 * roles + 3] from [B, T * (1 + h*w), C] of each dense layer."""
        return [
            head(layer.unflatten(1, (NUM_FRAMES, -1))[:, :, 1:])
            for head, layer in zip(self.heads, tokens, strict=True)
        ]


@contextmanager
def decoder_tokens(model: InternVideo) -> Iterator[list[Tensor]]:
    """List that each forward fills with what the decoder layers of `DENSE_LAYERS` read."""
    seen: list[Tensor] = []
    decoder = model.visual.transformer.dec
    handles = [
        decoder[index].register_forward_pre_hook(lambda module, args: seen.append(args[1]))
        for index in DENSE_LAYERS
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def split_prediction(prediction: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Roles, their changes, displacements and the amodal target, of a prediction of the heads."""
    sizes = (NUM_ROLES, NUM_ROLES, 2, 1)
    roles, changes, displacement, amodal = prediction.float().split(sizes, -1)
    return roles, changes, displacement, amodal[..., 0]


def dense_losses(prediction: Tensor, targets: TokenTargets) -> dict[str, Tensor]:
    """Cross-entropy of the roles, errors of their changes, of displacements, of the target."""
    roles, changes, displacement, amodal = split_prediction(prediction)
    weights = torch.ones(NUM_ROLES)
    weights[0], weights[1] = 0.5, 3.0  # the target is small, the background is not
    error = functional.smooth_l1_loss(
        displacement, targets.displacement, reduction="none", beta=0.1
    ).mean(-1)
    moving = targets.moving
    return {
        "roles": -(weights * targets.roles * roles.log_softmax(-1)).sum(-1).mean(),
        "changes": ((changes - targets.changes).square() * weights).sum(-1).mean(),
        "displacement": (error * moving).sum() / moving.sum().clamp(min=1),
        "amodal": functional.binary_cross_entropy_with_logits(amodal, targets.amodal),
    }


def explained_motion(prediction: Tensor, targets: TokenTargets) -> tuple[float, float]:
    """Squared error and square of the displacements where they count; their ratio is 1 - R2."""
    moved = split_prediction(prediction)[2]
    weight = targets.moving[..., None]
    error = ((moved - targets.displacement).square() * weight).sum().item()
    return error, (targets.displacement.square() * weight).sum().item()
