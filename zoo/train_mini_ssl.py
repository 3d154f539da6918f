# SPDX-License-Identifier: MIT
"""Pre-train ``hf_videomae:mini-ssl`` on rendered scenes, without labels and without masks.

    python -m zoo.train_mini_ssl SCENES WORK --device cuda

The batch, the masks and the learning rate of a step follow from its number and the seed, so a
killed run goes on from its last checkpoint, on a CPU with the very bits of one that was not. The
learning rate is constant after the warm-up and falls linearly to zero over the last
``--decay-steps``; as long as that fall has not begun, a run may be continued with another
``--steps``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import VideoMAEForPreTraining

from zoo.dataset import load
from zoo.mini_ssl import (
    NUM_TOKENS,
    NUM_VISIBLE,
    PREPROCESSOR,
    normalise,
    random_mask,
    reconstruct,
    reconstruction_error,
    shown_tokens,
    standardised_targets,
    tube_mask,
)
from zoo.recorded import Recorded
from zoo.start import set_scaffold, starting_model
from zoo.training import ResumableTraining, make_optimizer, set_rate


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, apart from the scenes."""

    steps: int
    decay_steps: int
    seed: int = 0
    batch_size: int = 64
    learning_rate: float = 1.5e-3
    warmup_steps: int = 100
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    gradient_norm: float = 1.0
    tube_share: float = 0.5  # of the clips with a tube mask; the others have a random one
    decoded_share: float = 0.25  # of the masked tokens that the decoder predicts

    scaffold_steps: int = 2000  # until the position scaffold is gone

    def scaffold(self, step: int) -> float:
        """Share of the position scaffold at a step."""
        return max(0.0, 1 - step / self.scaffold_steps)

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        rise = min(1.0, (step + 1) / self.warmup_steps)
        fall = min(1.0, (self.steps - step) / self.decay_steps)
        return self.learning_rate * rise * fall


class Batch(NamedTuple):
    """The clips of a step and what of them is seen and asked for."""

    frames: Tensor  # uint8 [B, T, H, W, 3]
    shown: Tensor  # indices of the visible tokens, [B, V]
    predicted: Tensor  # indices of the masked tokens to predict, [B, P]


def augment(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the clips and permute their colour channels, [B, T, H, W, 3]."""
    device = generator.device
    mirrored = torch.rand(len(frames), generator=generator, device=device) < 0.5
    channels = torch.rand(len(frames), 3, generator=generator, device=device).argsort(1)
    clips = torch.where(mirrored[:, None, None, None, None], frames.flip(3), frames)
    return clips.gather(-1, channels[:, None, None, None].expand_as(clips))


def sample_masked(mask: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Indices of a random share of the masked tokens of each row, [B, P]."""
    count = int((NUM_TOKENS - NUM_VISIBLE) * share)
    priority = torch.rand(mask.shape, generator=generator, device=generator.device)
    return priority.masked_fill(~mask, -1).argsort(1, descending=True)[:, :count]


def draw_batch(frames: Tensor, recipe: Recipe, step: int) -> Batch:
    """The batch of a step, drawn on the device of ``frames``, uint8 [clips, T, H, W, 3]."""
    generator = torch.Generator(frames.device).manual_seed(recipe.seed * 1_000_003 + step)
    size = (recipe.batch_size,)
    index = torch.randint(len(frames), size, generator=generator, device=frames.device)
    clips = augment(frames[index], generator)
    num_tubes = round(recipe.batch_size * recipe.tube_share)
    mask = torch.cat(
        [tube_mask(num_tubes, generator), random_mask(recipe.batch_size - num_tubes, generator)]
    )
    return Batch(clips, shown_tokens(mask), sample_masked(mask, recipe.decoded_share, generator))


def update(
    model: VideoMAEForPreTraining, optimizer: torch.optim.Optimizer, largest: float, batch: Batch
) -> Tensor:
    """One update of the weights with gradients of norm ``largest`` at most; returns the loss."""
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(model.device.type, torch.bfloat16):
        predictions = reconstruct(model, normalise(batch.frames), batch.shown, batch.predicted)
    loss = reconstruction_error(predictions, batch.frames, batch.predicted).mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), largest)
    optimizer.step()
    return loss.detach()


@torch.no_grad()
def held_out_loss(model: VideoMAEForPreTraining, frames: Tensor) -> dict[str, float]:
    """Error on held-out clips under fixed masks of both kinds; 1 = predicting each patch's mean."""
    losses = {}
    for name, draw in (("tube", tube_mask), ("random", random_mask)):
        generator = torch.Generator().manual_seed(0)  # the same masks on every device
        error, mean_patch_error = 0.0, 0.0
        for clips in frames.split(32):
            mask = draw(len(clips), generator)
            predicted = sample_masked(mask, 1.0, generator).to(frames.device)
            shown = shown_tokens(mask).to(frames.device)
            with torch.autocast(frames.device.type, torch.bfloat16):
                predictions = reconstruct(model, normalise(clips), shown, predicted)
            error += reconstruction_error(predictions, clips, predicted).sum().item()
            targets = standardised_targets(clips, predicted)
            mean_patch_error += targets.square().mean(-1).sum().item()
        losses[name] = error / mean_patch_error
    return losses


FREE = ("steps", "decay_steps")  # may change when a run is continued


class Run(ResumableTraining):
    """A training run in a folder: checkpoint, log, and the finished model."""

    def __init__(
        self, folder: Path, recipe: Recipe, frames: Tensor, device: str | torch.device = "cpu"
    ) -> None:
        self.model = starting_model(frames, recipe.seed).to(device)
        self.frames = frames.to(device)  # uint8 [clips, T, H, W, 3]
        optimizer = make_optimizer(
            self.model, recipe.learning_rate, recipe.weight_decay, recipe.betas
        )
        super().__init__(folder, recipe, self.model, optimizer, len(frames))
        set_scaffold(self.model, recipe.scaffold(self.step))

    def check_recipe(self, old: dict[str, Any], step: int) -> None:
        """Let a run be prolonged as long as the learning rate does not fall."""
        now = asdict(self.recipe)
        if any(now[name] != old[name] for name in now if name not in FREE):
            raise ValueError(f"{self.checkpoint} was trained with another recipe: {old}")
        if now != old and step > old["steps"] - old["decay_steps"]:
            raise ValueError(f"{self.checkpoint}: the learning rate is already falling")

    def pretrain(self, held_out: Tensor, every: int, until: int | None = None) -> None:
        """Train to the end of the recipe, or to step ``until``; checkpoint ``every`` steps."""
        largest = self.recipe.gradient_norm

        def call(*batch: Tensor) -> Tensor:
            return update(self.model, self.optimizer, largest, Batch(*batch))

        run = Recorded(call) if self.frames.is_cuda else call

        def train_step(step: int) -> dict[str, Tensor]:
            set_rate(self.optimizer, self.recipe.rate(step))
            if step <= self.recipe.scaffold_steps:
                set_scaffold(self.model, self.recipe.scaffold(step))
            return {"train": run(*draw_batch(self.frames, self.recipe, step))}

        held_out = held_out.to(self.frames.device)
        self.train(train_step, lambda: held_out_loss(self.model, held_out), every, until)

    def export(self) -> None:
        """Write the model as float16 safetensors with its configuration and preprocessing."""
        if self.recipe.scaffold(self.step) > 0:
            raise ValueError("export: the position scaffold is still up; train for longer")
        set_scaffold(self.model, 0.0)
        self.model.half().save_pretrained(self.folder / "model")
        text = json.dumps(PREPROCESSOR, indent=2) + "\n"
        (self.folder / "model" / "preprocessor_config.json").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path, help="folder rendered by zoo.dataset")
    parser.add_argument("work", type=Path, help="folder of the checkpoint, log and model")
    parser.add_argument("--steps", type=int, default=70000)
    parser.add_argument("--decay-steps", type=int, default=14000)
    parser.add_argument("--tube-share", type=float, default=0.5)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--every", type=int, default=1000, help="steps between checkpoints")
    parser.add_argument("--batch-size", type=int, default=64, help="clips")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = Recipe(
        args.steps, args.decay_steps,
        tube_share=args.tube_share, learning_rate=args.learning_rate, batch_size=args.batch_size,
    )  # fmt: skip
    frames = torch.from_numpy(load(args.scenes, "train", ("frames",))["frames"])
    held_out = torch.from_numpy(load(args.scenes, "held_out", ("frames",))["frames"][:48])
    run = Run(args.work, recipe, frames, args.device)
    run.pretrain(held_out, args.every)
    if run.step == recipe.steps:
        run.export()


if __name__ == "__main__":
    main()
