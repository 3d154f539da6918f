# SPDX-License-Identifier: MIT
"""The miniature tracker: its configuration, what it is asked and what it should answer."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from vtcd_tcow import TCOW

from zoo.dataset import load

TARGET = 1  # instance id of the object that the scene is about
MASKS = ("target", "occluder", "container")
SMALLEST_QUERY = 20  # pixels of an object in the first frame that can be pointed out
DICE_SMOOTHING = 20.0  # pixels
ARGUMENTS = {
    "num_total_frames": 16,
    "num_visible_frames": 16,
    "frame_height": 64,
    "frame_width": 64,
    "tracker_pretrained": True,  # colours are normalised inside
    "attention_type": "divided_space_time",
    "patch_size": 8,
    "causal_attention": 1,  # as published
    "norm_embeddings": True,
    "drop_path_rate": 0.0,
    "track_map_stride": 2,
    "track_map_resize": "bilinear",
    "query_channels": 1,
    "output_channels": 3,
    "flag_channels": 3,
    "embed_dim": 128,
    "depth": 6,
    "num_heads": 4,
    "initializer_range": 0.06,  # the default .02 suits a width of 768
}


def new_model(seed: int) -> TCOW:
    """An untrained model.

    Unlike in the large model, every block looks at other frames from the start: twelve blocks that
    learn to do so one after the other take longer than this training.
    """
    torch.manual_seed(seed)
    model = TCOW.from_config(ARGUMENTS)
    std = model.config.initializer_range
    nn.init.normal_(model.transformer.time_embed, std=std)
    for block in model.transformer.blocks:
        nn.init.trunc_normal_(block.temporal_fc.weight, std=std)
    # Most pixels belong to no mask.
    nn.init.constant_(model.tracker_post_linear.bias, -3.0)
    with torch.no_grad():
        model.tracker_post_linear.weight.mul_(0.3)
    return model


@dataclass(frozen=True)
class Scenes:
    """Rendered clips; N clips of T frames with side S."""

    frames: Tensor  # uint8 [N, T, S, S, 3]
    instances: Tensor  # uint8 [N, T, S, S]
    amodal: Tensor  # uint8 [N, T, S, S / 8], bits along the width
    occluder: Tensor  # uint8 [N, T], instance id, 0 = nothing
    container: Tensor  # uint8 [N, T]
    label: np.ndarray  # str [N]

    @classmethod
    def read(cls, folder: Path, split: str) -> Scenes:
        """All rendered clips of a split."""
        stored = load(
            folder,
            split,
            ("frames", "instances", "amodal_target", "occluder", "container", "label"),
        )
        return cls(
            frames=torch.from_numpy(stored["frames"]),
            instances=torch.from_numpy(stored["instances"]),
            amodal=torch.from_numpy(stored["amodal_target"]),
            occluder=torch.from_numpy(stored["occluder"]),
            container=torch.from_numpy(stored["container"]),
            label=stored["label"],
        )

    def __len__(self) -> int:
        return len(self.frames)

    def first(self, count: int) -> Scenes:
        """The first clips."""
        return Scenes(**{field.name: getattr(self, field.name)[:count] for field in fields(self)})

    def amodal_target(self, index: Tensor) -> Tensor:  # bool [B, T, S, S]
        """The target's mask as if nothing stood before it."""
        packed = self.amodal[index]
        bits = torch.arange(7, -1, -1, dtype=torch.uint8)
        return ((packed[..., None] >> bits) & 1).flatten(-2).bool()

    def areas(self, index: Tensor) -> Tensor:  # int [B, 256]
        """Visible pixels of every instance in the first frame."""
        ids = self.instances[index, 0].flatten(1).long()
        ones = torch.ones_like(ids)
        return torch.zeros(len(ids), 256, dtype=torch.long).scatter_add_(1, ids, ones)


@dataclass(frozen=True)
class Batch:
    """Questions and right answers for B clips."""

    rgb: Tensor  # uint8 [B, T, S, S, 3]
    query: Tensor  # bool [B, S, S], of the first frame
    masks: Tensor  # bool [B, 3, T, S, S]
    known: Tensor  # bool [B, 3], which of the masks are known
    flags: Tensor  # float [B, T, 3]: occluded, contained, share of the target that is hidden

    def inputs(self) -> tuple[Tensor, Tensor]:
        """Colours [B, 3, T, S, S] in [0, 1] and the query [B, 1, T, S, S]."""
        rgb = self.rgb.permute(0, 4, 1, 2, 3).float() / 255
        query = torch.zeros_like(rgb[:, :1])
        query[:, 0, 0] = self.query.float()
        return rgb, query

    def at(self, frames: Tensor) -> Batch:
        """The same for some of the frames; the first must stay."""
        return Batch(
            self.rgb[:, frames],
            self.query,
            self.masks[:, :, frames],
            self.known,
            self.flags[:, frames],
        )


def ask(scenes: Scenes, index: Tensor, asked: Tensor) -> Batch:
    """Ask for an object of each clip.

    Args:
        scenes: all clips.
        index: which clips, [B].
        asked: instance id of the object, [B]; 0 asks for nothing, and nothing is the answer. Of
            objects other than the target only what is visible is known.
    """
    instances = scenes.instances[index]
    is_target = asked == TARGET
    query = (instances[:, 0] == asked[:, None, None]) & (asked > 0)[:, None, None]
    visible = (instances == asked[:, None, None, None]) & (asked > 0)[:, None, None, None]
    amodal = scenes.amodal_target(index)
    shown = is_target[:, None, None, None]
    masks = [torch.where(shown, amodal, visible)]
    for ids in (scenes.occluder[index], scenes.container[index]):
        masks.append((instances == ids[..., None, None]) & (ids > 0)[..., None, None] & shown)
    hidden = (amodal & (instances != TARGET)).flatten(2).sum(-1)
    share = hidden / amodal.flatten(2).sum(-1).clamp(min=1)
    flags = [scenes.occluder[index] > 0, scenes.container[index] > 0, share]
    rest_known = is_target | (asked == 0)
    return Batch(
        rgb=scenes.frames[index],
        query=query,
        masks=torch.stack(masks, 1),
        known=torch.stack([torch.ones_like(rest_known), rest_known, rest_known], 1),
        flags=torch.stack([flag.float() for flag in flags], -1),
    )


def choose_objects(
    scenes: Scenes, index: Tensor, share_other: float, share_none: float, generator: torch.Generator
) -> Tensor:
    """Which object to ask for: the target, else another visible one, or nothing (0), [B]."""
    areas = scenes.areas(index)
    can_ask = areas[:, TARGET] >= SMALLEST_QUERY
    areas[:, [0, TARGET]] = 0
    others = (areas >= 2 * SMALLEST_QUERY).float()
    has_other = others.any(1)
    draw = torch.rand(len(index), generator=generator)
    other = torch.multinomial(others + 1e-9, 1, generator=generator)[:, 0]
    asked = torch.where(can_ask, TARGET, 0)
    asked = torch.where(has_other & ((draw < share_other) | ~can_ask), other, asked)
    return torch.where(draw > 1 - share_none, 0, asked)


def loss(
    logits: Tensor,
    flags: Tensor,
    batch: Batch,
    hidden_weight: float = 1.0,
    others_weight: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropy of the known masks, Dice of the masks, and cross-entropy of the flags.

    Args:
        logits: of the masks, [B, 3, T, S, S].
        flags: logits, [B, T, 3].
        batch: the right answers.
        hidden_weight: how often frames in which more than half of the target is hidden count.
        others_weight: of the Dice of occluder and container, in frames that have one.
    """
    truth = batch.masks.float()
    known = batch.known.float()
    asked = batch.query.flatten(1).any(1).float()
    about_target = (batch.known[:, 1] & (asked > 0)).float()
    hidden = (batch.flags[..., 2] > 0.5) * about_target[:, None]
    weight = 1 + (hidden_weight - 1) * hidden  # [B, T]
    weight = weight / weight.mean()
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    masks = ((entropy.mean((3, 4)) * weight[:, None]).mean(2) * known).sum() / known.sum()
    misses = _dice(logits.sigmoid(), truth)  # [B, 3, T]
    dice = ((misses[:, 0] * weight).mean(1) * asked).sum() / asked.sum().clamp(min=1)
    there = truth[:, 1:].flatten(3).any(-1) * known[:, 1:, None]
    dice = dice + others_weight * (misses[:, 1:] * there).sum() / there.sum().clamp(min=1)
    error = functional.binary_cross_entropy_with_logits(flags, batch.flags, reduction="none")
    flag_loss = (error.mean((1, 2)) * about_target).sum() / about_target.sum().clamp(min=1)
    return masks, dice, flag_loss


def _dice(shown: Tensor, wanted: Tensor) -> Tensor:
    """1 less twice the overlap by the sum of the areas, over the last two axes."""
    overlap = 2 * (shown * wanted).sum((-2, -1)) + DICE_SMOOTHING
    return 1 - overlap / (shown.sum((-2, -1)) + wanted.sum((-2, -1)) + DICE_SMOOTHING)
