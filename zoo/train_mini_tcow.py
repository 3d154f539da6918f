# SPDX-License-Identifier: MIT
"""Train ``tcow:mini`` on rendered scenes, with their masks: ``python -m zoo.train_mini_tcow``.

    python -m zoo.train_mini_tcow SCENES WORK

Most steps see eight frames of each clip, the first always among them; the last steps see all of
them, while the learning rate falls to zero. The batch of a step follows from its number and the
seed, so a killed run goes on from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from vtcd_tcow import TCOW
from vtcd_tcow.convert import save

from zoo.evaluate_mini_tcow import follow
from zoo.mini_tcow import Batch, Scenes, ask, choose_objects, loss, new_model
from zoo.training import Losses, ResumableTraining, set_rate


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, apart from the scenes."""

    steps: int = 4000
    long_steps: int = 500  # the last ones, with all frames
    decay_steps: int = 1100  # the last ones, while the learning rate falls
    seed: int = 0
    batch_size: int = 16
    short_frames: int = 8
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 0.02
    betas: tuple[float, float] = (0.9, 0.98)
    gradient_norm: float = 1.0
    share_other: float = 0.3  # of the clips, asked for another object than the target
    share_none: float = 0.05  # asked for nothing
    entropy_weight: float = 4.0
    flag_weight: float = 0.1
    # What is not yet followed in sight cannot be followed out of it; so this weight comes later.
    hidden_weight: float = 3.0  # of frames in which the target is mostly hidden
    hidden_weight_from: int = 1600  # step
    others_weight: float = 1.0  # of the Dice of occluder and container
    start: str | None = None  # folder of a tracker whose weights it begins with

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        rise = min(1.0, (step + 1) / self.warmup_steps)
        fall = min(1.0, (self.steps - step) / self.decay_steps)
        return self.learning_rate * rise * fall


def draw_frames(recipe: Recipe, step: int, total: int, generator: torch.Generator) -> torch.Tensor:
    """Frames that a step sees, ascending, the first among them."""
    if step >= recipe.steps - recipe.long_steps:
        return torch.arange(total)
    later = torch.randperm(total - 1, generator=generator)[: recipe.short_frames - 1] + 1
    return torch.cat([torch.zeros(1, dtype=torch.long), later.sort().values])


def augment(batch: Batch, generator: torch.Generator) -> Batch:
    """Mirror half of the clips, exchange their colour channels, change brightness and contrast."""
    count = len(batch.rgb)
    mirrored = torch.rand(count, generator=generator) < 0.5
    channels = torch.rand(count, 3, generator=generator).argsort(1)
    gain = 0.75 + 0.5 * torch.rand(count, 1, 1, 1, 3, generator=generator)
    shift = 30 * (torch.rand(count, 1, 1, 1, 3, generator=generator) - 0.5)
    rgb = batch.rgb.gather(-1, channels[:, None, None, None].expand_as(batch.rgb))
    rgb = (rgb * gain + shift).clamp(0, 255)

    def flip(tensor: torch.Tensor, axis: int) -> torch.Tensor:
        where = mirrored.view(-1, *[1] * (tensor.dim() - 1))
        return torch.where(where, tensor.flip(axis), tensor)

    return Batch(flip(rgb, 3), flip(batch.query, 2), flip(batch.masks, 4), batch.known, batch.flags)


def train_step(
    model: TCOW, optimizer: torch.optim.Optimizer, scenes: Scenes, recipe: Recipe, step: int
) -> Losses:
    """One update on the batch that belongs to ``step``; returns the parts of its loss."""
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    index = torch.randint(len(scenes), (recipe.batch_size,), generator=generator)
    asked = choose_objects(scenes, index, recipe.share_other, recipe.share_none, generator)
    frames = draw_frames(recipe, step, scenes.frames.shape[1], generator)
    batch = augment(ask(scenes, index, asked).at(frames), generator)
    with torch.autocast("cpu", torch.bfloat16):
        logits, flags = model(*batch.inputs(), frames)
    hidden_weight = recipe.hidden_weight if step >= recipe.hidden_weight_from else 1.0
    entropy, dice, flag_loss = loss(
        logits.float(), flags.float(), batch, hidden_weight, recipe.others_weight
    )
    total = recipe.entropy_weight * entropy + dice + recipe.flag_weight * flag_loss
    total.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_norm)
    set_rate(optimizer, recipe.rate(step))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {"entropy": entropy.item(), "dice": dice.item(), "flags": flag_loss.item()}


def make_optimizer(model: TCOW, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW that decays matrices and convolutions only, not the class token or positions."""
    decayed = [p for p in model.parameters() if p.ndim in (2, 4)]
    others = [p for p in model.parameters() if p.ndim not in (2, 4)]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, fused=True)


def begin(recipe: Recipe) -> TCOW:
    """The model before the first step: fresh weights, or those of another."""
    model = new_model(recipe.seed)
    if recipe.start is not None:
        model.load_state_dict(TCOW.from_checkpoint(recipe.start).state_dict())
    return model.train()


def scores(model: TCOW, held_out: Scenes) -> Losses:
    """Overlap with the true masks of held-out clips."""
    model.eval()
    found = follow(model, held_out).summary()
    model.train()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path, help="folder rendered by zoo.dataset")
    parser.add_argument("work", type=Path, help="folder of the checkpoint, log and model")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--long-steps", type=int, default=Recipe.long_steps)
    parser.add_argument("--decay-steps", type=int, default=Recipe.decay_steps)
    parser.add_argument("--hidden-weight-from", type=int, default=Recipe.hidden_weight_from)
    parser.add_argument("--start", help="folder of a tracker to go on from")
    parser.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = Recipe(
        args.steps, args.long_steps, args.decay_steps,
        hidden_weight_from=args.hidden_weight_from, start=args.start,
    )  # fmt: skip
    held_out = Scenes.read(args.scenes, "held_out").first(48)
    scenes = Scenes.read(args.scenes, "train")
    model = begin(recipe)
    optimizer = make_optimizer(model, recipe)
    run = ResumableTraining(args.work, recipe, model, optimizer, len(scenes))
    run.train(
        lambda step: train_step(model, optimizer, scenes, recipe, step),
        lambda: scores(model, held_out),
        args.every,
    )
    if run.step == recipe.steps:
        save(model, args.work / "model", dtype=torch.float16)


if __name__ == "__main__":
    main()
