# SPDX-License-Identifier: MIT
"""Train the motion classifier ``hf_videomae:mini``: first what the tokens show, then the classes.

    python -m zoo.train_mini SCENES WORK

For the first ``--dense-steps`` the encoder learns, from the renderer's masks, what each token
shows and where that goes, so the model is mask-supervised. It sees a random window of 6 x 6
patches of all 16 frames, at the end of the stage all of them. Then it learns the classes, with the
token loss kept at a low weight. The batch, its changes and the learning rate of a step follow from
its number and the seed, so a killed run goes on as if nothing had happened.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    VideoMAEConfig,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
)

from zoo.mini_ssl import GRID, PATCH, PREPROCESSOR, TUBELET, normalise
from zoo.motions import CLASS_NAMES
from zoo.token_targets import (
    NUM_ROLES,
    TARGET,
    Batch,
    Scenes,
    TokenTargets,
    dense_losses,
    explained_displacement,
)
from zoo.training import ResumableTraining, make_optimizer

WINDOW = 6  # patches along a side that the dense stage sees
CHUNK = 2  # clips that go through together: attention of more does not fit a core's cache


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, apart from the scenes."""

    dense_steps: int
    steps: int
    seed: int = 0
    batch_size: int = 16
    dense_rate: float = 1e-3  # learning rates
    class_rate: float = 3e-4
    head_factor: float = 4.0  # the classifier's rate is higher: it starts from nothing
    warmup_steps: int = 60
    weight_decay: float = 0.02
    betas: tuple[float, float] = (0.9, 0.98)
    gradient_norm: float = 1.0
    displacement_weight: float = 6.0
    dense_share: float = 0.3  # weight of the token loss beside the classes
    window_share: float = 0.9  # of the dense stage
    aimed_share: float = 0.75  # of the windows, laid about the target
    label_smoothing: float = 0.05
    brightness: float = 0.2  # largest change of each colour channel

    def rate(self, step: int) -> float:
        """Learning rate of a step: each stage warms up and falls along a cosine."""
        dense = step < self.dense_steps
        first, last = (0, self.dense_steps) if dense else (self.dense_steps, self.steps)
        rise = min(1.0, (step - first + 1) / self.warmup_steps)
        fall = 0.5 * (1 + math.cos(math.pi * (step - first) / (last - first)))
        return (self.dense_rate if dense else self.class_rate) * rise * (0.02 + 0.98 * fall)

    def windowed(self, step: int) -> bool:
        """Whether a step sees a window of the clip only."""
        return step < self.window_share * self.dense_steps


def configuration() -> VideoMAEConfig:
    """16 frames of 64 x 64, 512 tokens, 6 layers of 4 heads of 32."""
    return VideoMAEConfig(
        image_size=GRID[1] * PATCH,
        patch_size=PATCH,
        num_frames=GRID[0] * TUBELET,
        tubelet_size=TUBELET,
        hidden_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=512,
        initializer_range=0.06,  # the default .02 suits a width of 768
        use_mean_pooling=True,
        id2label=dict(enumerate(CLASS_NAMES)),
        label2id={name: index for index, name in enumerate(CLASS_NAMES)},
        attn_implementation="eager",  # faster than the fused attention at this size on a CPU
    )


class MiniClassifier(nn.Module):
    """The classifier, and the head that reads the token targets off its tokens while it trains.

    Args:
        seed: of the random weights.
        start: a pre-training model whose encoder it starts from, for instance ``mini-ssl``.
    """

    def __init__(self, seed: int, start: Path | None = None) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.model = VideoMAEForVideoClassification(configuration())
        self.token_head = nn.Linear(self.model.config.hidden_size, NUM_ROLES + 3)
        if start is not None:
            self._start_from(VideoMAEForPreTraining.from_pretrained(start, dtype=torch.float32))

    def _start_from(self, trained: VideoMAEForPreTraining) -> None:
        weights = trained.videomae.state_dict()
        norm = {name: weights.pop(f"layernorm.{name}") for name in ("weight", "bias")}
        self.model.videomae.load_state_dict(weights)
        self.model.fc_norm.load_state_dict(norm)

    def forward(self, clips: Tensor, dropped: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Class logits and token predictions.

        Args:
            clips: normalised, [B, T, 3, H, W].
            dropped: tokens that are not looked at, bool [B, 512].

        Returns:
            [B, classes] and [B, kept tokens, NUM_ROLES + 3].
        """
        tokens = self.model.videomae(clips, bool_masked_pos=dropped).last_hidden_state
        logits = self.model.classifier(self.model.fc_norm(tokens.mean(1)))
        return logits, self.token_head(self.model.fc_norm(tokens))


def draw_window(centres: Tensor, aimed_share: float, generator: torch.Generator) -> Tensor:
    """Tokens outside a window of each clip, bool [B, 512], true = dropped.

    Args:
        centres: of the target over the clip, (x, y) in pixels, [B, 2].
        aimed_share: of the windows that are laid about the target; the others lie anywhere.
        generator: of the random numbers.
    """
    batch, room = len(centres), GRID[1] - WINDOW
    anywhere = torch.randint(room + 1, (batch, 2), generator=generator)
    offset = torch.randint(-1, 2, (batch, 2), generator=generator)
    about = (centres / PATCH - WINDOW / 2).nan_to_num(room / 2).round().long() + offset
    aimed = torch.rand(batch, 1, generator=generator) < aimed_share
    corners = torch.where(aimed, about.clamp(0, room), anywhere)
    dropped = torch.ones(batch, *GRID, dtype=torch.bool)
    for row, (left, top) in enumerate(corners.tolist()):
        dropped[row, :, top : top + WINDOW, left : left + WINDOW] = False
    return dropped.flatten(1)


def recolour(clips: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Stretch and shift each colour of each clip a little, normalised [B, T, 3, H, W]."""
    stretch, shift = (torch.rand(2, len(clips), 1, 3, 1, 1, generator=generator) - 0.5) * 2
    return clips * (1 + strength * stretch) + strength * shift


def kept(targets: TokenTargets, dropped: Tensor) -> TokenTargets:
    """Targets of the tokens that are looked at."""
    rows = len(dropped)
    fields = (targets.roles, targets.displacement, targets.moving, targets.amodal)
    return TokenTargets(*(f[~dropped].reshape(rows, -1, *f.shape[2:]) for f in fields))


class Trainer:
    """The steps and the evaluation of a training."""

    def __init__(
        self, recipe: Recipe, scenes: Scenes, held_out: Scenes, start: Path | None = None
    ) -> None:
        self.recipe, self.scenes, self.held_out = recipe, scenes, held_out
        self.modules = MiniClassifier(recipe.seed, start)
        self.optimizer = make_optimizer(
            self.modules, recipe.dense_rate, recipe.weight_decay, recipe.betas
        )
        self._split_classifier()

    def _split_classifier(self) -> None:
        """Give the classifier a group of its own, for its own learning rate."""
        head = {id(p): p for p in self.modules.model.classifier.parameters()}
        for group in self.optimizer.param_groups:
            group["params"] = [p for p in group["params"] if id(p) not in head]
        self.optimizer.add_param_group({"params": list(head.values()), "weight_decay": 0.0})

    def update(self, step: int) -> dict[str, float]:
        """One update on the batch that belongs to the step; returns its losses."""
        recipe = self.recipe
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        size = recipe.batch_size
        index = torch.randint(len(self.scenes.frames), (size,), generator=generator)
        batch = self.scenes.batch(index, torch.rand(size, generator=generator) < 0.5)
        clips = recolour(normalise(batch.frames), recipe.brightness, generator)
        dropped = None
        if recipe.windowed(step):
            centres = batch.centres[:, :, TARGET].nanmean(1)
            dropped = draw_window(centres, recipe.aimed_share, generator)
        means: dict[str, float] = {}
        for rows in torch.arange(size).split(CHUNK):
            part = None if dropped is None else dropped[rows]
            losses = self._losses(batch.rows(rows), clips[rows], part, step)
            (self._total(losses) * (len(rows) / size)).backward()
            for name, loss in losses.items():
                means[name] = means.get(name, 0.0) + loss.item() * len(rows) / size
        nn.utils.clip_grad_norm_(self.modules.parameters(), recipe.gradient_norm)
        for group, factor in zip(self.optimizer.param_groups, (1, 1, recipe.head_factor)):
            group["lr"] = factor * recipe.rate(step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return means

    def _total(self, losses: dict[str, Tensor]) -> Tensor:
        """What a step lowers."""
        weight = self.recipe.displacement_weight
        dense = losses["roles"] + weight * losses["displacement"] + losses["amodal"]
        return losses["classes"] + self.recipe.dense_share * dense if "classes" in losses else dense

    def _losses(
        self, batch: Batch, clips: Tensor, dropped: Tensor | None, step: int
    ) -> dict[str, Tensor]:
        recipe, targets = self.recipe, TokenTargets.of(batch)
        with torch.autocast("cpu", torch.bfloat16):
            logits, tokens = self.modules(clips, dropped)
        losses = dense_losses(tokens, targets if dropped is None else kept(targets, dropped))
        if step >= recipe.dense_steps:
            losses["classes"] = functional.cross_entropy(
                logits.float(), batch.labels, label_smoothing=recipe.label_smoothing
            )
        return losses

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Explained displacement, target IoU of the tokens, and accuracy on held-out clips."""
        error = power = overlap = union = right = 0.0
        for index in torch.arange(len(self.held_out.frames)).split(24):
            batch = self.held_out.batch(index)
            targets = TokenTargets.of(batch)
            with torch.autocast("cpu", torch.bfloat16):
                logits, tokens = self.modules(normalise(batch.frames))
            one_error, one_power = explained_displacement(tokens, targets)
            error, power = error + one_error, power + one_power
            guess = tokens[..., :NUM_ROLES].argmax(-1) == TARGET
            truth = targets.roles.argmax(-1) == TARGET
            overlap += (guess & truth).sum().item()
            union += (guess | truth).sum().item()
            right += (logits.argmax(-1) == batch.labels).sum().item()
        return {
            "displacement_r2": 1 - error / power,
            "target_iou": overlap / union,
            "accuracy": right / len(self.held_out.frames),
        }

    def export(self, folder: Path) -> None:
        """Write the classifier as float16 safetensors with its configuration and preprocessing."""
        self.modules.model.half().save_pretrained(folder)
        text = json.dumps(PREPROCESSOR, indent=2) + "\n"
        (folder / "preprocessor_config.json").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path, help="folder rendered by zoo.dataset")
    parser.add_argument("work", type=Path, help="folder of the checkpoint, log and model")
    parser.add_argument("--start", type=Path, help="folder of a pre-trained mini-ssl")
    parser.add_argument("--dense-steps", type=int, default=1800)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = Recipe(args.dense_steps, args.steps)
    trainer = Trainer(
        recipe,
        Scenes.read(args.scenes, "train"),
        Scenes.read(args.scenes, "held_out", 120),
        args.start,
    )
    training = ResumableTraining(
        args.work, recipe, trainer.modules, trainer.optimizer, len(trainer.scenes.frames)
    )
    training.train(trainer.update, trainer.evaluate, args.every)
    if training.step == recipe.steps:
        trainer.export(args.work / "model")


if __name__ == "__main__":
    main()
