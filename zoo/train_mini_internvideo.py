# SPDX-License-Identifier: MIT
"""Train ``internvideo:mini`` on rendered scenes: first what the tokens show, then captions.

    python -m zoo.train_mini_internvideo SCENES WORK

For the first ``--still-steps`` the visual tower learns, from the renderer's masks, what each patch
of a frame shows and where the middle of that lies; until ``--dense-steps`` also where it goes and
what becomes of the target (zoo/frame_targets.py); so the model is mask-supervised. Then videos
learn to find their caption among all captions of the set, those that differ only in the motion
included, with the dense loss kept at a low weight. The batch, its changes
and the learning rate of a step follow from its number and the seed, so a killed run goes on from
its last checkpoint as if nothing had happened; until the learning rate falls, with another
``--steps`` too.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from vtcd_internvideo import InternVideo, Tokenizer
from vtcd_internvideo.tokenizer import write_merges

from zoo.captioned_clips import Batch, Scenes, draw_batch, draw_stills, recolour, take
from zoo.dataset import load
from zoo.frame_targets import (
    NUM_ROLES,
    WEIGHTS,
    DenseHeads,
    FrameTargets,
    Prediction,
    dense_losses,
    explained,
    still_losses,
    watch,
    weighted_sum,
)
from zoo.mini_internvideo import (
    CONTEXT_LENGTH,
    PREPROCESSOR,
    Captions,
    appearance,
    learn_merges,
    normalise,
)
from zoo.start_internvideo import starting_model
from zoo.training import Losses, ResumableTraining, make_optimizer, set_rate


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, apart from the scenes."""

    still_steps: int  # where the first stage ends
    dense_steps: int  # where the second ends
    steps: int
    seed: int = 0
    num_stills: int = 24  # of a batch of the first stage, each of another clip
    batch_size: int = 8  # clips of the others
    learning_rate: float = 1e-3
    caption_rate: float = 7e-4  # learning rate of the last stage
    decay_steps: int = 1000  # of the last stage
    warmup_steps: int = 100  # of each stage
    weight_decay: float = 0.02
    betas: tuple[float, float] = (0.9, 0.98)
    gradient_norm: float = 1.0
    dense_share: float = 0.3  # weight of the dense loss beside the captions
    brightness: float = 0.2  # largest change of each colour channel

    def rate(self, step: int) -> float:
        """Learning rate of a step; each stage warms up, the last falls to zero at its end."""
        begin = max(one for one in (0, self.still_steps, self.dense_steps) if one <= step)
        rise = min(1.0, (step - begin + 1) / self.warmup_steps)
        if step < self.dense_steps:
            return self.learning_rate * rise
        return self.caption_rate * rise * min(1.0, (self.steps - step) / self.decay_steps)


def caption_loss(model: InternVideo, video: Tensor, tokens: Tensor, right: Tensor) -> Tensor:
    """Videos find their caption among all, captions of the batch find their videos in it.

    Args:
        model: the model.
        video: features of the videos, [B, D].
        tokens: of all captions, [n, context_length].
        right: position of each video's caption, [B].
    """
    video = functional.normalize(video.float(), dim=-1)
    text = functional.normalize(model.encode_text(tokens).float(), dim=-1)
    similarity = model.logit_scale.clamp(max=math.log(100)).exp() * video @ text.T  # [B, n]
    same = (right[:, None] == right).float()
    columns = similarity[:, right].T.log_softmax(-1)  # [B captions, B videos]
    to_video = -(columns * same / same.sum(-1, keepdim=True)).sum(-1).mean()
    return functional.cross_entropy(similarity, right) + 0.5 * to_video


def run_in_float32(module: nn.Module) -> None:
    """Keep autocast from a module: depthwise convolutions take twice as long in bfloat16."""
    forward = module.forward

    def run(x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return forward(x.float())

    module.forward = run


class Trainer:
    """The model, the heads that hang on it while it learns, and the steps of the training."""

    def __init__(self, recipe: Recipe, scenes: Scenes, held_out: Scenes) -> None:
        self.recipe, self.scenes, self.held_out = recipe, scenes, held_out
        self.captions = Captions.of(scenes.captions)
        self.merges = learn_merges(self.captions.texts)
        tokenizer = Tokenizer.from_merges(self.merges, CONTEXT_LENGTH)
        self.tokens = tokenizer(list(self.captions.texts))
        vocab_size = len(tokenizer.clip_tokenizer)
        self.model = starting_model(scenes.frames, vocab_size, recipe.seed)
        config = self.model.config
        self.heads = DenseHeads(config.visual.width, config.text.embed_dim)
        self.modules = nn.ModuleDict({"model": self.model, "heads": self.heads})
        for convolution in self.model.visual.transformer.dpe:
            run_in_float32(convolution)
        self.optimizer = make_optimizer(
            self.modules, recipe.learning_rate, recipe.weight_decay, recipe.betas
        )

    def predict(self, batch: Batch, video: Tensor) -> tuple[Tensor, Prediction, FrameTargets]:
        """Features [B, D] of the videos, what the heads say, and what they should say."""
        with torch.autocast("cpu", torch.bfloat16), watch(self.model) as seen:
            features = self.model.encode_video(video)
            prediction = self.heads(seen, features)
        return features, prediction, FrameTargets.of(batch.instances, batch.centres, batch.amodal)

    def update(self, step: int) -> Losses:
        """One update on the batch that belongs to the step; returns its losses."""
        recipe = self.recipe
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        losses = (
            self._losses_of_stills(generator)
            if step < recipe.still_steps
            else self._losses_of_clips(generator, with_captions=step >= recipe.dense_steps)
        )
        total = weighted_sum({name: losses[name] for name in WEIGHTS if name in losses})
        if "captions" in losses:
            total = losses["captions"] + recipe.dense_share * total
        total.backward()
        nn.utils.clip_grad_norm_(self.modules.parameters(), recipe.gradient_norm)
        set_rate(self.optimizer, recipe.rate(step))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {name: loss.item() for name, loss in losses.items()}

    def _losses_of_stills(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Of one frame each of many clips, so that no two are alike."""
        batch = draw_stills(self.scenes, self.recipe.num_stills, generator)
        stills = recolour(normalise(batch.frames), self.recipe.brightness, generator)
        with torch.autocast("cpu", torch.bfloat16):
            predictions = self.heads.of_stills(self.model.visual, stills)
        targets = FrameTargets.of(batch.instances, batch.centres, batch.amodal)
        return still_losses(predictions, targets)

    def _losses_of_clips(
        self, generator: torch.Generator, with_captions: bool
    ) -> dict[str, Tensor]:
        """Of whole clips, in the last stage with their captions."""
        batch = draw_batch(self.scenes, self.recipe.batch_size, generator)
        video = recolour(normalise(batch.frames), self.recipe.brightness, generator)
        features, prediction, targets = self.predict(batch, video)
        losses = dense_losses(prediction, targets)
        if with_captions:
            right = self.captions.numbers(batch.captions)
            with torch.autocast("cpu", torch.bfloat16):
                losses["captions"] = caption_loss(self.model, features, self.tokens, right)
        return losses

    @torch.no_grad()
    def evaluate(self) -> Losses:
        """What is explained of held-out motion, and how often a clip finds its caption."""
        self.model.eval()
        sums = {"offset": [0.0, 0.0], "motion": [0.0, 0.0], "place": [0.0, 0.0]}
        features = []
        for clips in torch.arange(len(self.held_out.frames)).split(32):
            still = torch.zeros(len(clips), dtype=torch.long)
            batch = take(self.held_out, clips, still, still.bool())
            found, prediction, targets = self.predict(batch, normalise(batch.frames))
            features.append(found.float())
            for name, one in {
                "offset": (prediction.frames[-1][..., NUM_ROLES:], targets.offset, targets.solid),
                "motion": (
                    prediction.moves[-1][..., NUM_ROLES:], targets.displacement, targets.moving,
                ),
                "place": (prediction.video[..., :2], targets.place, targets.placed),
            }.items():  # fmt: skip
                for index, value in enumerate(explained(*one)):
                    sums[name][index] += value
        video = functional.normalize(torch.cat(features), dim=-1)
        similarity = video @ self.model.text_features(self.tokens).T
        self.model.train()
        r2 = {f"{name}_r2": 1 - error / max(power, 1e-9) for name, (error, power) in sums.items()}
        return r2 | self._retrieval(similarity, self.held_out.captions)

    def _retrieval(self, similarity: Tensor, captions: list[str]) -> Losses:
        """Top-1 among all captions, and among those that differ only in the motion."""
        right = self.captions.numbers(captions)
        looks = [appearance(text) for text in self.captions.texts]
        same = torch.tensor([[look == appearance(text) for look in looks] for text in captions])
        best = similarity.masked_fill(~same, -torch.inf).argmax(-1)
        return {
            "top1": (similarity.argmax(-1) == right).float().mean().item(),
            "motion_top1": (best == right).float().mean().item(),
        }

    def export(self, folder: Path) -> None:
        """Write the model as float16 safetensors with its configuration and vocabulary."""
        self.model.save(folder, torch.float16)
        write_merges(folder / "merges.txt", self.merges)
        text = json.dumps(PREPROCESSOR, indent=2) + "\n"
        (folder / "preprocessor_config.json").write_text(text, encoding="utf-8")


class Run(ResumableTraining):
    """A training run in a folder, which may be prolonged until its learning rate falls."""

    def __init__(self, folder: Path, trainer: Trainer) -> None:
        super().__init__(
            folder, trainer.recipe, trainer.modules, trainer.optimizer, len(trainer.scenes.frames)
        )

    def check_recipe(self, old: dict[str, Any], step: int) -> None:
        """Let the number of steps change until the learning rate falls."""
        now = asdict(self.recipe)
        if {**old, "steps": now["steps"]} != now:
            raise ValueError(f"{self.checkpoint} was trained with another recipe: {old}")
        if old != now and step > old["steps"] - old["decay_steps"]:
            raise ValueError(f"{self.checkpoint}: the learning rate is already falling")


def write_classes(scenes: Path, folder: Path) -> None:
    """Write, for zero-shot classification, all captions that the training set has of each class."""
    data = load(scenes, "train", ("caption", "label"))
    captions: dict[str, list[str]] = {}
    for label, caption in sorted(set(zip(*(data[key].tolist() for key in ("label", "caption"))))):
        captions.setdefault(label, []).append(caption)
    (folder / "classes.json").write_text(json.dumps(captions, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path, help="folder rendered by zoo.dataset")
    parser.add_argument("work", type=Path, help="folder of the checkpoint, log and model")
    parser.add_argument("--still-steps", type=int, default=4000)
    parser.add_argument("--dense-steps", type=int, default=5500)
    parser.add_argument("--steps", type=int, default=8500)
    parser.add_argument("--every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = Recipe(args.still_steps, args.dense_steps, args.steps)
    scenes = Scenes.of(args.scenes, "train")
    trainer = Trainer(recipe, scenes, Scenes.of(args.scenes, "held_out", 120))
    run = Run(args.work, trainer)
    # Plain products: at this size they take half the time of the fused attention on a CPU.
    with sdpa_kernel(SDPBackend.MATH):
        run.train(trainer.update, trainer.evaluate, args.every)
    if run.step == recipe.steps:
        trainer.export(args.work / "model")
        write_classes(args.scenes, args.work / "model")


if __name__ == "__main__":
    main()
