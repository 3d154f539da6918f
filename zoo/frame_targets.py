# SPDX-License-Identifier: MIT
"""What a model that sees one frame at a time is told of a clip: targets of its dense start.

Motion cannot be read off a frame. What can is told to the tokens of single frames: what a patch
shows, and where the middle of that lies. From the difference of neighbouring frames follows where
it goes, which is told to the tokens that the temporal decoder reads; and from these, what becomes
of the target over the clip, which is told to the feature of the whole video.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from vtcd_internvideo import InternVideo
from vtcd_internvideo.towers import VisualTower

from zoo.stage import NUM_INSTANCES

NUM_FRAMES = 8  # that the model sees
GRID, PATCH = 8, 8  # patches along a side, and pixels along theirs
NUM_ROLES = 8  # background, the first six instances of stage.INSTANCE_IDS, any other
FASTEST = 8.0  # pixels between two of the eight frames; displacements beyond are cut
FARTHEST = 16.0  # pixels from the middle of a patch to that of what it shows; more is cut
VISIBLE = 4  # pixels of an instance, for its centre to count
DENSE_LAYERS = (1, 3)  # layers of the temporal decoder whose tokens have targets


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
class FrameTargets:
    """What each patch of each frame shows, where that lies and goes, and what the target does."""

    roles: Tensor  # [B, T, h*w, NUM_ROLES] fractions
    changes: Tensor  # [B, T, h*w, NUM_ROLES] of the fractions, over two frames
    offset: Tensor  # [B, T, h*w, 2] to the middle of what is shown, in units of FARTHEST
    solid: Tensor  # [B, T, h*w] 1 where the offset counts
    displacement: Tensor  # [B, T, h*w, 2] between neighbouring frames, in units of FASTEST
    moving: Tensor  # [B, T, h*w] 1 where the displacement counts
    amodal: Tensor  # [B, T, h*w] fraction of the patch that is the target, seen or hidden
    place: Tensor  # [B, T, 2] of the target, seen or hidden, -1 to 1
    placed: Tensor  # [B, T] 1 where the target is within the frame
    hidden: Tensor  # [B, T] share of the target that is hidden

    @classmethod
    def of(cls, instances: Tensor, centres: Tensor, amodal: Tensor) -> FrameTargets:
        """Work the targets out from what the renderer knows.

        Args:
            instances: uint8 [B, T, H, W], of the frames that the model sees.
            centres: [B, T, 1 + instances, 2] of `instance_centres`.
            amodal: bool [B, T, H, W].
        """
        ids = 1 + NUM_INSTANCES
        fractions = torch.stack([patch_means(instances == index) for index in range(ids)], -1)
        others = fractions[..., NUM_ROLES - 1 :].sum(-1, keepdim=True)
        roles = torch.cat([fractions[..., : NUM_ROLES - 1], others], -1)
        before, after, steps = _neighbours(instances.shape[1])
        middle = _weighted(fractions, centres)
        away = ((middle[0] - _patch_centres()) / FARTHEST).clamp(-1, 1)
        moved = (centres[:, after] - centres[:, before]) / steps / FASTEST  # [B, T, ids, 2]
        displacement, moving = _weighted(fractions, moved.clamp(-1, 1))
        place, size = _place(amodal)
        shown = (amodal & (instances == 1)).flatten(2).sum(-1)
        return cls(
            roles=roles,
            changes=roles[:, after] - roles[:, before],
            offset=away,
            solid=middle[1],
            displacement=displacement,
            moving=moving,
            amodal=patch_means(amodal),
            place=place,
            placed=(size >= VISIBLE).float(),
            hidden=1 - shown / size.clamp(min=1),
        )


def _neighbours(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Frame before and after each, and how many frames lie between, which is one at either end."""
    before = (torch.arange(count) - 1).clamp(min=0)
    after = (torch.arange(count) + 1).clamp(max=count - 1)
    return before, after, (after - before)[:, None, None]


def _weighted(fractions: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of what is known of the instances in each patch, and whether they fill enough of it.

    Args:
        fractions: of each patch, [B, T, h*w, ids]; the background, 0, is never known.
        values: of each instance, not finite where unknown, [B, T, ids, 2].
    """
    known = values.isfinite().all(-1)
    known[..., 0] = False
    weights = fractions * known[:, :, None]
    share = weights.sum(-1)
    mean = (weights @ values.nan_to_num()) / share.clamp(min=1e-3)[..., None]
    return mean, (share > 0.25).float()


def _patch_centres() -> Tensor:  # [h*w, 2], (x, y) in pixels
    middle = PATCH * torch.arange(GRID) + (PATCH - 1) / 2
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    return torch.stack([x, y], -1).flatten(0, 1)


def _place(amodal: Tensor) -> tuple[Tensor, Tensor]:
    """Middle (x, y) of a mask, -1 to 1, and its pixels: [B, T, 2] and [B, T]."""
    mask = amodal.float()
    side = torch.linspace(-1, 1, mask.shape[-1])
    size = mask.flatten(2).sum(-1)
    place = torch.stack([(mask.sum(2) * side).sum(-1), (mask.sum(3) * side).sum(-1)], -1)
    return place / size.clamp(min=1)[..., None], size


def patch_means(mask: Tensor) -> Tensor:
    """Fraction of each patch, bool [B, T, H, W] -> [B, T, h*w]."""
    return functional.avg_pool2d(mask.float(), PATCH).flatten(2)


def _read(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, out))


def _perceive(width: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, out)
    )


@dataclass
class Seen:
    """What the heads hang on, as a forward leaves it."""

    frames: list[Tensor]  # of each dense layer [B*T, 1 + h*w, C], before frames are compared
    tokens: list[Tensor]  # of each dense layer [B, T * (1 + h*w), C], as the decoder reads them


@contextmanager
def watch(model: InternVideo) -> Iterator[Seen]:
    """Let each forward leave what the heads need; use the result once a forward."""
    seen = Seen([], [])
    transformer = model.visual.transformer
    handles = []
    for index in DENSE_LAYERS:
        block = transformer.resblocks[transformer.return_list[index]]
        handles += [
            block.register_forward_hook(lambda module, args, out: seen.frames.append(out)),
            transformer.dec[index].register_forward_pre_hook(
                lambda module, args: seen.tokens.append(args[1])
            ),
        ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class Prediction:
    """What the heads say, of one dense layer or of the video."""

    frames: list[Tensor]  # [B, T, h*w, NUM_ROLES + 2]: logits, offset
    tokens: list[Tensor]  # [B, T, h*w, NUM_ROLES + 1]: logits, amodal logit
    moves: list[Tensor]  # [B, T, h*w, NUM_ROLES + 2]: changes, displacement
    video: Tensor  # [B, T, 3]: place, logit of the hidden share


class DenseHeads(nn.Module):
    """Read the targets off the tokens; they are not part of the finished model.

    Changes and displacements are read linearly, since the decoder's keys and values are linear too.

    Args:
        width: of the tokens.
        embed_dim: of the feature of a video.
    """

    def __init__(self, width: int, embed_dim: int) -> None:
        super().__init__()
        layers = range(len(DENSE_LAYERS))
        self.frames = nn.ModuleList(_perceive(width, NUM_ROLES + 2) for _ in layers)
        self.tokens = nn.ModuleList(_perceive(width, NUM_ROLES + 1) for _ in layers)
        self.moves = nn.ModuleList(_read(width, NUM_ROLES + 2) for _ in layers)
        self.video = _perceive(embed_dim, NUM_FRAMES * 3)

    def forward(self, seen: Seen, features: Tensor) -> Prediction:
        """Predict from what a forward left and the features [B, embed_dim] of its videos."""
        frames = [one.unflatten(0, (-1, NUM_FRAMES))[:, :, 1:] for one in seen.frames]
        tokens = [one.unflatten(1, (NUM_FRAMES, -1))[:, :, 1:] for one in seen.tokens]
        return Prediction(
            frames=[head(one).float() for head, one in zip(self.frames, frames, strict=True)],
            tokens=[head(one).float() for head, one in zip(self.tokens, tokens, strict=True)],
            moves=[head(one).float() for head, one in zip(self.moves, tokens, strict=True)],
            video=self.video(features).float().unflatten(-1, (NUM_FRAMES, 3)),
        )

    def of_stills(self, tower: VisualTower, stills: Tensor) -> list[Tensor]:
        """What `Prediction.frames` holds, of single frames [B, 3, 1, H, W] alone."""
        x, seen = tower.embed(stills), []
        wanted = [tower.transformer.return_list[index] for index in DENSE_LAYERS]
        for layer, block in enumerate(tower.transformer.resblocks):
            x = block(x)
            if layer in wanted:
                seen.append(x[:, None, 1:])
        return [head(one).float() for head, one in zip(self.frames, seen, strict=True)]


#: Weight of each loss in the sum.
WEIGHTS = {
    "roles": 1.0, "offset": 4.0, "token_roles": 1.0, "amodal": 1.0,
    "changes": 4.0, "displacement": 6.0, "place": 6.0, "hidden": 1.0,
}  # fmt: skip


def dense_losses(prediction: Prediction, targets: FrameTargets) -> dict[str, Tensor]:
    """Every loss of the dense start; `WEIGHTS` says how much each counts."""
    sums: dict[str, Tensor] = {}

    def add(name: str, loss: Tensor) -> None:
        sums[name] = sums.get(name, torch.zeros(())) + loss / len(DENSE_LAYERS)

    sums |= still_losses(prediction.frames, targets)
    for one in prediction.tokens:
        roles, amodal = one.split((NUM_ROLES, 1), -1)
        add("token_roles", _role_loss(roles, targets.roles))
        entropy = functional.binary_cross_entropy_with_logits(amodal[..., 0], targets.amodal)
        add("amodal", entropy)
    for one in prediction.moves:
        changes, displacement = one.split((NUM_ROLES, 2), -1)
        error = (changes - targets.changes).square() * _role_weights()
        add("changes", error.sum(-1).mean())
        add("displacement", _distance(displacement, targets.displacement, targets.moving))
    place, hidden = prediction.video.split((2, 1), -1)
    sums["place"] = _distance(place, targets.place, targets.placed)
    sums["hidden"] = functional.binary_cross_entropy_with_logits(hidden[..., 0], targets.hidden)
    return sums


def still_losses(predictions: Sequence[Tensor], targets: FrameTargets) -> dict[str, Tensor]:
    """Losses of what single frames show, mean over the layers that were read."""
    roles, offsets = [], []
    for one in predictions:
        logits, offset = one.split((NUM_ROLES, 2), -1)
        roles.append(_role_loss(logits, targets.roles))
        offsets.append(_distance(offset, targets.offset, targets.solid))
    return {"roles": torch.stack(roles).mean(), "offset": torch.stack(offsets).mean()}


def weighted_sum(losses: dict[str, Tensor]) -> Tensor:
    """Sum of dense losses with their weights."""
    return torch.stack([WEIGHTS[name] * loss for name, loss in losses.items()]).sum()


def _role_weights() -> Tensor:
    weights = torch.ones(NUM_ROLES)
    weights[0], weights[1] = 0.5, 3.0  # the target is small, the background is not
    return weights


def _role_loss(logits: Tensor, fractions: Tensor) -> Tensor:
    return -(_role_weights() * fractions * logits.log_softmax(-1)).sum(-1).mean()


def _distance(found: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    error = functional.smooth_l1_loss(found, truth, reduction="none", beta=0.1).mean(-1)
    return (error * weight).sum() / weight.sum().clamp(min=1)


def explained(found: Tensor, truth: Tensor, weight: Tensor) -> tuple[float, float]:
    """Squared error and variance about the mean where it counts; their ratio is 1 - R2."""
    chosen = weight.bool()
    found, truth = found[chosen], truth[chosen]
    error = (found - truth).square().sum().item()
    return error, (truth - truth.mean(0)).square().sum().item()
