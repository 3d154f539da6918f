# SPDX-License-Identifier: MIT
"""A training that may be killed at any moment: checkpoint, log, and going on from there."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Losses = dict[str, float]


def make_optimizer(
    modules: nn.Module, rate: float, decay: float, betas: tuple[float, float]
) -> torch.optim.AdamW:
    """AdamW that decays matrices only; on a GPU its rate is a tensor, so a step can be recorded."""
    parameters = list(modules.parameters())
    on_gpu = parameters[0].is_cuda
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    initial = torch.tensor(rate, device=parameters[0].device) if on_gpu else rate
    return torch.optim.AdamW(groups, lr=initial, betas=betas, fused=True, capturable=on_gpu)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give all parameters a learning rate, in place where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


class ResumableTraining:
    """Weights, optimiser and step number in a folder.

    A step must follow from its number alone (and from the recipe's seed), so that a run that was
    stopped ends with the very weights of one that was not.

    Args:
        folder: of ``checkpoint.pt`` and ``log.jsonl``.
        recipe: a dataclass of plain values with ``steps``; a checkpoint of another is refused.
        modules: all that is trained.
        optimizer: of their parameters.
        num_clips: of the training set; a checkpoint of another number is refused, and one from
            another kind of device, whose random numbers and optimiser state differ.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Any,
        modules: nn.Module,
        optimizer: torch.optim.Optimizer,
        num_clips: int,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.recipe = folder, recipe
        self.modules, self.optimizer, self.num_clips = modules, optimizer, num_clips
        self.checkpoint = folder / "checkpoint.pt"
        self.device = next(modules.parameters()).device
        self.step, self.cpu_seconds = 0, 0.0
        if self.checkpoint.exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.check_recipe(state["recipe"], state["step"])
        if state["num_clips"] != self.num_clips:
            raise ValueError(f"{self.checkpoint} was trained on {state['num_clips']} clips")
        if state["device"] != self.device.type:
            raise ValueError(f"{self.checkpoint} was trained on a device {state['device']}")
        self.modules.load_state_dict(state["modules"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.cpu_seconds = state["step"], state["cpu_seconds"]

    def check_recipe(self, old: dict[str, Any], step: int) -> None:
        """Refuse to go on from a checkpoint of another recipe.

        Args:
            old: recipe of the checkpoint.
            step: of the checkpoint.
        """
        if old != asdict(self.recipe):
            raise ValueError(f"{self.checkpoint} was trained with another recipe: {old}")

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        partial = self.checkpoint.with_suffix(".partial")
        state = {
            "modules": self.modules.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "cpu_seconds": self.cpu_seconds,
            "num_clips": self.num_clips,
            "device": self.device.type,
            "recipe": asdict(self.recipe),
        }
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def log(self, entry: Losses) -> None:
        """Append one line to the log."""
        entry = {name: round(value, 4) for name, value in entry.items()}
        entry = {"step": self.step, "cpu_seconds": round(self.cpu_seconds, 1), **entry}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")
        print(entry, flush=True)

    def train(
        self,
        update: Callable[[int], Losses | dict[str, Tensor]],
        evaluate: Callable[[], Losses],
        every: int,
        until: int | None = None,
    ) -> None:
        """Train to the end of the recipe, or to step ``until``; checkpoint ``every`` steps.

        Args:
            update: does the step of that number and returns its losses; tensors are read only for
                the log, so that a GPU need not wait at every step.
            evaluate: scores on held-out clips, for the log.
            every: steps between checkpoints.
            until: stop there, as if killed.
        """
        last = self.recipe.steps if until is None else until
        stop = False

        def ask_to_stop(*_: object) -> None:
            nonlocal stop
            stop = True

        signal.signal(signal.SIGTERM, ask_to_stop)
        losses: list[Losses | dict[str, Tensor]] = []
        while self.step < last and not stop:
            begin = time.process_time()
            losses.append(update(self.step))
            self.step += 1
            self.cpu_seconds += time.process_time() - begin
            if self.step % every == 0 or self.step == last:
                means = {
                    name: float(np.mean([float(loss[name]) for loss in losses if name in loss]))
                    for name in losses[-1]
                }
                self.log(means | evaluate())
                losses = []
                self.save()
        self.save()
