# SPDX-License-Identifier: MIT
"""Train ``tcow:mini`` on rendered scenes, with their masks: ``python -m zoo.train_mini_tcow``.

    python -m zoo.train_mini_tcow SCENES WORK

Most steps see eight frames of each clip, the first always among them; the last steps see all of
them, while the learning rate falls to zero. The batch of a step follows from its number and the
seed, so a killed run goes on from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import argparse
import json
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from vtcd_tcow import TCOW
from vtcd_tcow.convert import save

from zoo.evaluate_mini_tcow import follow
from zoo.mini_tcow import Batch, Scenes, ask, choose_objects, loss, new_model


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, apart from the scenes."""

    steps: int = 3100
    long_steps: int = 500  # the last ones, with all frames
    decay_steps: int = 900  # the last ones, while the learning rate falls
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
) -> tuple[float, float, float]:
    """One update on the batch that belongs to ``step``; returns the parts of its loss."""
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    index = torch.randint(len(scenes), (recipe.batch_size,), generator=generator)
    asked = choose_objects(scenes, index, recipe.share_other, recipe.share_none, generator)
    frames = draw_frames(recipe, step, scenes.frames.shape[1], generator)
    batch = augment(ask(scenes, index, asked).at(frames), generator)
    with torch.autocast("cpu", torch.bfloat16):
        logits, flags = model(*batch.inputs(), frames)
    entropy, dice, flag_loss = loss(logits.float(), flags.float(), batch)
    total = recipe.entropy_weight * entropy + dice + recipe.flag_weight * flag_loss
    total.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_norm)
    for group in optimizer.param_groups:
        group["lr"] = recipe.rate(step)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return entropy.item(), dice.item(), flag_loss.item()


def make_optimizer(model: TCOW, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW that decays matrices only, not the class token or positions."""
    decayed = [p for name, p in model.named_parameters() if p.ndim in (2, 4)]
    others = [p for name, p in model.named_parameters() if p.ndim not in (2, 4)]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=recipe.betas, fused=True)


class Run:
    """A training run in a folder: checkpoint, log, and the finished model."""

    def __init__(self, folder: Path, recipe: Recipe, scenes: Scenes) -> None:
        self.folder, self.recipe, self.scenes = folder, recipe, scenes
        folder.mkdir(parents=True, exist_ok=True)
        self.checkpoint = folder / "checkpoint.pt"
        self.model = new_model(recipe.seed).train()
        self.optimizer = make_optimizer(self.model, recipe)
        self.step, self.cpu_seconds = 0, 0.0
        if self.checkpoint.exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            raise ValueError(f"{self.checkpoint} was trained by another recipe: {state['recipe']}")
        if state["num_clips"] != len(self.scenes):
            raise ValueError(f"{self.checkpoint} was trained on {state['num_clips']} clips")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.cpu_seconds = state["step"], state["cpu_seconds"]

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        partial = self.checkpoint.with_suffix(".partial")
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "cpu_seconds": self.cpu_seconds,
            "num_clips": len(self.scenes),
            "recipe": asdict(self.recipe),
        }
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def log(self, **entry: float) -> None:
        """Append one line to the log."""
        entry = {"step": self.step, "cpu_seconds": round(self.cpu_seconds, 1), **entry}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")
        print(entry, flush=True)

    def train(self, held_out: Scenes, every: int, until: int | None = None) -> None:
        """Train to the end of the recipe, or to step ``until``; checkpoint ``every`` steps."""
        last = self.recipe.steps if until is None else until
        stop = False

        def ask_to_stop(*_: object) -> None:
            nonlocal stop
            stop = True

        signal.signal(signal.SIGTERM, ask_to_stop)
        losses: list[tuple[float, float, float]] = []
        while self.step < last and not stop:
            begin = time.process_time()
            losses.append(
                train_step(self.model, self.optimizer, self.scenes, self.recipe, self.step)
            )
            self.step += 1
            self.cpu_seconds += time.process_time() - begin
            if self.step % every == 0 or self.step == last:
                self._report(held_out, losses)
                losses = []
                self.save()
        self.save()

    def _report(self, held_out: Scenes, losses: list[tuple[float, float, float]]) -> None:
        means = np.mean(losses, axis=0)
        parts = dict(zip(("entropy", "dice", "flags"), means.tolist(), strict=True))
        self.model.eval()
        parts.update(follow(self.model, held_out).summary())
        self.model.train()
        self.log(**{name: round(value, 4) for name, value in parts.items()})

    def export(self) -> None:
        """Write the model as float16 safetensors with its configuration."""
        save(self.model, self.folder / "model", dtype=torch.float16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path, help="folder rendered by zoo.dataset")
    parser.add_argument("work", type=Path, help="folder of the checkpoint, log and model")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--long-steps", type=int, default=Recipe.long_steps)
    parser.add_argument("--decay-steps", type=int, default=Recipe.decay_steps)
    parser.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = Recipe(args.steps, args.long_steps, args.decay_steps)
    held_out = Scenes.read(args.scenes, "held_out").first(48)
    run = Run(args.work, recipe, Scenes.read(args.scenes, "train"))
    run.train(held_out, args.every)
    if run.step == recipe.steps:
        run.export()


if __name__ == "__main__":
    main()
