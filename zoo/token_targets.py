# SPDX-License-Identifier: MIT
"""What each token of a clip shows and where that goes: the targets of a dense start.

From class labels alone a miniature stays near chance: thousands of tokens, a few bits a clip. The
renderer knows what every pixel belongs to, and tells every token; after that, classes come easily.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from zoo.dataset import load
from zoo.mini_ssl import GRID, NUM_TOKENS, PATCH, TUBELET
from zoo.motions import CLASS_NAMES
from zoo.stage import INSTANCE_IDS, NUM_INSTANCES

TARGET = INSTANCE_IDS["target"]
NUM_ROLES = 7  # background, target, container, occluder, cover, pusher, anything else
DISPLACEMENT_UNIT = 1.5  # pixels a frame
LARGEST_DISPLACEMENT = 6.0  # pixels a frame; faster ones are cut
SMALLEST_VISIBLE = 4  # pixels of an instance whose centre counts
MIRRORED = torch.tensor(
    [
        CLASS_NAMES.index({"push_left": "push_right", "push_right": "push_left"}.get(name, name))
        for name in CLASS_NAMES
    ]
)  # class of the mirrored clip


def instance_centres(instances: np.ndarray, amodal_target: np.ndarray) -> np.ndarray:
    """Centre (x, y) of every instance in every frame, in pixels; NaN where it is not seen.

    The target's centre is that of its amodal mask, so it moves on when it is hidden.

    Args:
        instances: uint8 [clips, T, H, W].
        amodal_target: bool [clips, T, H, W].

    Returns:
        float32 [clips, T, 1 + NUM_INSTANCES, 2]; row 0, the background, is NaN.
    """
    clips, frames, height, width = instances.shape
    ids = NUM_INSTANCES + 1
    y, x = np.divmod(np.arange(height * width), width)
    centres = np.full((clips * frames, ids, 2), np.nan, np.float32)
    for row, (labels, target) in enumerate(
        zip(
            instances.reshape(-1, height * width),
            amodal_target.reshape(-1, height * width),
            strict=True,
        )
    ):
        counts = np.bincount(labels, minlength=ids)
        for axis, coordinate in enumerate((x, y)):
            means = np.bincount(labels, coordinate, minlength=ids) / np.maximum(counts, 1)
            centres[row, :, axis] = np.where(counts >= SMALLEST_VISIBLE, means, np.nan)
            if target.sum() >= SMALLEST_VISIBLE:
                centres[row, TARGET, axis] = coordinate[target].mean()
    centres[:, 0] = np.nan
    return centres.reshape(clips, frames, ids, 2)


@dataclass
class Batch:
    """Clips and all that is known of them."""

    frames: Tensor  # uint8 [B, T, H, W, 3]
    instances: Tensor  # uint8 [B, T, H, W]
    amodal: Tensor  # bool [B, T, H, W]
    centres: Tensor  # float32 [B, T, 1 + NUM_INSTANCES, 2]
    labels: Tensor  # int64 [B]

    def rows(self, index: Tensor) -> Batch:
        """Some of the clips."""
        fields = (self.frames, self.instances, self.amodal, self.centres, self.labels)
        return Batch(*(field[index] for field in fields))


@dataclass
class Scenes:
    """A split of the rendered scenes."""

    frames: Tensor  # uint8 [N, T, H, W, 3]
    instances: Tensor  # uint8 [N, T, H, W]
    packed_amodal: Tensor  # uint8 [N, T, H, W / 8]
    centres: Tensor  # float32 [N, T, 1 + NUM_INSTANCES, 2]
    labels: Tensor  # int64 [N]

    @classmethod
    def read(cls, folder: Path, split: str, limit: int | None = None) -> Scenes:
        """Read the first clips of a split, or all."""
        data = load(folder, split, ("frames", "instances", "amodal_target", "label"))
        data = {name: values[:limit] for name, values in data.items()}
        amodal = np.unpackbits(data["amodal_target"], axis=-1).astype(bool)
        return cls(
            torch.from_numpy(data["frames"]),
            torch.from_numpy(data["instances"]),
            torch.from_numpy(data["amodal_target"]),
            torch.from_numpy(instance_centres(data["instances"], amodal)),
            torch.tensor([CLASS_NAMES.index(label) for label in data["label"]]),
        )

    def batch(self, index: Tensor, mirror: Tensor | None = None) -> Batch:
        """Some clips, those mirrored left to right where ``mirror`` is true, both [B]."""
        packed = self.packed_amodal[index].numpy()
        frames, instances = self.frames[index], self.instances[index]
        amodal = torch.from_numpy(np.unpackbits(packed, axis=-1)).bool()
        centres, labels = self.centres[index], self.labels[index]
        if mirror is not None:
            frames[mirror] = frames[mirror].flip(3)
            instances[mirror] = instances[mirror].flip(3)
            amodal[mirror] = amodal[mirror].flip(3)
            centres[mirror, ..., 0] = frames.shape[3] - 1 - centres[mirror, ..., 0]
            labels = torch.where(mirror, MIRRORED[labels], labels)
        return Batch(frames, instances, amodal, centres, labels)


def by_token(volume: Tensor) -> Tensor:
    """Pixels of every token, [B, T, H, W] -> [B, 512, 128]."""
    t, h, w = GRID
    split = volume.reshape(len(volume), t, TUBELET, h, PATCH, w, PATCH)
    return split.permute(0, 1, 3, 5, 2, 4, 6).reshape(len(volume), NUM_TOKENS, -1)


@dataclass
class TokenTargets:
    """Targets of the 512 tokens of a batch."""

    roles: Tensor  # [B, 512, NUM_ROLES], fractions of the pixels
    displacement: Tensor  # [B, 512, 2], of what the token shows
    moving: Tensor  # [B, 512], 1 where the displacement counts
    amodal: Tensor  # [B, 512], fraction covered by the target, seen or hidden

    @classmethod
    def of(cls, batch: Batch) -> TokenTargets:
        """Work out the targets of some clips."""
        pixels = by_token(batch.instances)
        shares = [(pixels == index).float().mean(2) for index in range(NUM_INSTANCES + 1)]
        fractions = torch.stack(shares, -1)  # [B, 512, ids]
        speeds, known = tubelet_speeds(batch.centres)  # [B, t, ids, 2], [B, t, ids]
        weights = fractions.unflatten(1, (GRID[0], -1)) * known[:, :, None]  # [B, t, h*w, ids]
        share = weights.sum(-1)
        displacement = (weights @ speeds) / share.clamp(min=1e-3)[..., None]
        others = fractions[..., NUM_ROLES - 1 :].sum(-1, keepdim=True)
        return cls(
            torch.cat([fractions[..., : NUM_ROLES - 1], others], -1),
            displacement.flatten(1, 2),
            (share > 0.25).float().flatten(1),
            by_token(batch.amodal).float().mean(2),
        )


def tubelet_speeds(centres: Tensor) -> tuple[Tensor, Tensor]:
    """Speed of every instance about each tubelet, and whether it is known.

    Taken from the frame before a tubelet to the frame after it.

    Args:
        centres: [B, T, ids, 2], in pixels.

    Returns:
        [B, t, ids, 2] in units of `DISPLACEMENT_UNIT`, 0 where unknown, and bool [B, t, ids].
    """
    first = torch.arange(GRID[0]) * TUBELET
    before, after = (first - 1).clamp(min=0), (first + TUBELET).clamp(max=centres.shape[1] - 1)
    speeds = (centres[:, after] - centres[:, before]) / (after - before)[:, None, None]
    known = speeds.isfinite().all(-1)
    limit = LARGEST_DISPLACEMENT
    return speeds.nan_to_num().clamp(-limit, limit) / DISPLACEMENT_UNIT, known


def dense_losses(prediction: Tensor, targets: TokenTargets) -> dict[str, Tensor]:
    """Losses of the roles, of the displacement and of the amodal target.

    Args:
        prediction: [B, tokens, NUM_ROLES + 3]: logits, displacement, amodal logit.
        targets: of the same tokens.
    """
    roles, displacement, amodal = prediction.float().split((NUM_ROLES, 2, 1), -1)
    weights = torch.ones(NUM_ROLES)
    weights[0], weights[TARGET] = 0.5, 3.0  # the target is small, the background is not
    error = functional.smooth_l1_loss(
        displacement, targets.displacement, reduction="none", beta=0.25
    ).mean(-1)
    moving = targets.moving
    return {
        "roles": -(weights * targets.roles * roles.log_softmax(-1)).sum(-1).mean(),
        "displacement": (error * moving).sum() / moving.sum().clamp(min=1),
        "amodal": functional.binary_cross_entropy_with_logits(amodal[..., 0], targets.amodal),
    }


def explained_displacement(prediction: Tensor, targets: TokenTargets) -> tuple[float, float]:
    """Squared error and square of the displacements that count; 1 - their ratio is R2."""
    moved = prediction.float()[..., NUM_ROLES : NUM_ROLES + 2]
    weight = targets.moving[..., None]
    error = ((moved - targets.displacement).square() * weight).sum().item()
    return error, (targets.displacement.square() * weight).sum().item()
