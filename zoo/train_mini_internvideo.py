# SPDX-License-Identifier: MIT
"""Train ``internvideo:mini`` on rendered scenes: first what the tokens show, then captions.

    python -m zoo.train_mini_internvideo SCENES WORK

For the first ``--dense-steps`` the visual tower learns, from the renderer's masks, what each patch
shows and where it goes; so the model is mask-supervised. Then videos learn to find their caption
among all captions of the set, those that differ only in the motion included, with the token loss
kept at a low weight. The batch, its changes and the learning rate of a step follow from its number
and the seed, so a killed run goes on from its last checkpoint as if nothing had happened; until the
learning rate falls, with another ``--steps`` too.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import VideoMAEModel
from vtcd_internvideo import InternVideo, Tokenizer
from vtcd_internvideo.checkpoint import save
from vtcd_internvideo.tokenizer import write_merges

from zoo.captioned_clips import Batch, Scenes, draw_batch, recolour, take
from zoo.dataset import load
from zoo.mini_internvideo import (
    CONTEXT_LENGTH,
    PREPROCESSOR,
    Captions,
    DenseHeads,
    appearance,
    configuration,
    decoder_tokens,
    dense_losses,
    explained_motion,
    learn_merges,
    normalise,
    start_from_videomae,
    token_targets,
)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, apart from the scenes."""

    dense_steps: int
    steps: int
    seed: int = 0
    batch_size: int = 16
    learning_rate: float = 1e-3
    decay_steps: int = 200  # of the second stage
    caption_rate: float = 1e-3  # learning rate of the second stage
    caption_warmup_steps: int = 100
    warmup_steps: int = 60
    weight_decay: float = 0.02
    betas: tuple[float, float] = (0.9, 0.98)
    gradient_norm: float = 1.0
    displacement_weight: float = 6.0
    change_weight: float = 4.0
    dense_share: float = 0.3  # weight of the token loss beside the captions
    brightness: float = 0.2  # largest change of each colour channel
    start: str | None = None  # folder of a VideoMAE whose encoder the visual tower begins as
    dense_floor: float = 0.3  # share of the learning rate at the end of the first stage

    def rate(self, step: int) -> float:
        """Learning rate of a step.

        The first stage warms up and falls along a cosine; the second warms up slowly, stays, and
        falls linearly to zero over the last `decay_steps`.
        """
        if step < self.dense_steps:
            rise = min(1.0, (step + 1) / self.warmup_steps)
            fall = 0.5 * (1 + math.cos(math.pi * step / self.dense_steps))
            return self.learning_rate * rise * (self.dense_floor + (1 - self.dense_floor) * fall)
        rise = min(1.0, (step - self.dense_steps + 1) / self.caption_warmup_steps)
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
    """The model with what belongs to its training alone."""

    def __init__(self, recipe: Recipe, merges: list[str], texts: list[str]) -> None:
        self.recipe, self.merges = recipe, merges
        self.captions = Captions(tuple(texts))
        tokenizer = Tokenizer.from_merges(merges, CONTEXT_LENGTH)
        self.tokens = tokenizer(texts)
        torch.manual_seed(recipe.seed)
        self.model = InternVideo.from_config(configuration(len(tokenizer.clip_tokenizer)))
        self.heads = DenseHeads(self.model.config.visual.width)
        self._tie_keys_to_queries()
        for convolution in self.model.visual.transformer.dpe:
            run_in_float32(convolution)
        parameters = [*self.model.parameters(), *self.heads.parameters()]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.parameters = parameters
        self.optimizer = torch.optim.AdamW(
            groups, lr=recipe.learning_rate, betas=recipe.betas, fused=True
        )

    @torch.no_grad()
    def _tie_keys_to_queries(self) -> None:
        """Let attention start by comparing like with like, see zoo/start.py."""
        for block in self.model.visual.transformer.resblocks:
            query, key, _ = block.attn.in_proj_weight.chunk(3)
            key.copy_(query)

    def losses(self, batch: Batch, video: Tensor, with_captions: bool) -> dict[str, Tensor]:
        """Loss of the tokens and, in the second stage, of the captions."""
        with torch.autocast("cpu", torch.bfloat16), decoder_tokens(self.model) as tokens:
            features = self.model.encode_video(video)
            predictions = self.heads(tokens)
            losses = {}
            if with_captions:
                right = self.captions.numbers(batch.captions)
                losses["captions"] = caption_loss(self.model, features, self.tokens, right)
        targets = token_targets(batch.instances, batch.centres, batch.amodal)
        for prediction in predictions:
            for name, loss in dense_losses(prediction, targets).items():
                losses[name] = losses.get(name, torch.zeros(())) + loss / len(predictions)
        return losses

    def step(self, scenes: Scenes, number: int) -> dict[str, float]:
        """One update on the batch that belongs to the step; returns its losses."""
        recipe = self.recipe
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + number)
        batch = draw_batch(scenes, recipe.batch_size, generator)
        video = recolour(normalise(batch.frames), recipe.brightness, generator)
        with_captions = number >= recipe.dense_steps
        losses = self.losses(batch, video, with_captions)
        dense = (
            losses["roles"]
            + losses["amodal"]
            + recipe.change_weight * losses["changes"]
            + recipe.displacement_weight * losses["displacement"]
        )
        total = losses["captions"] + recipe.dense_share * dense if with_captions else dense
        total.backward()
        nn.utils.clip_grad_norm_(self.parameters, recipe.gradient_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate(number)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {name: loss.item() for name, loss in losses.items()}

    @torch.no_grad()
    def held_out(self, scenes: Scenes) -> dict[str, float]:
        """Explained displacement, and how often a clip finds its caption, on even frames."""
        error = power = 0.0
        features = []
        for clips in torch.arange(len(scenes.frames)).split(32):
            still = torch.zeros(len(clips), dtype=torch.long)
            batch = take(scenes, clips, still, still.bool())
            with torch.autocast("cpu", torch.bfloat16), decoder_tokens(self.model) as tokens:
                features.append(self.model.encode_video(normalise(batch.frames)).float())
                prediction = self.heads(tokens)[-1]
            targets = token_targets(batch.instances, batch.centres, batch.amodal)
            one_error, one_power = explained_motion(prediction, targets)
            error, power = error + one_error, power + one_power
        video = functional.normalize(torch.cat(features), dim=-1)
        similarity = video @ self.model.text_features(self.tokens).T
        return {"motion_r2": 1 - error / power, **self._retrieval(similarity, scenes.captions)}

    def _retrieval(self, similarity: Tensor, captions: list[str]) -> dict[str, float]:
        """Top-1 among all captions, and among those that differ only in the motion."""
        right = self.captions.numbers(captions)
        looks = [appearance(text) for text in self.captions.texts]
        same = torch.tensor([[look == appearance(text) for look in looks] for text in captions])
        best = similarity.masked_fill(~same, -torch.inf).argmax(-1)
        return {
            "top1": (similarity.argmax(-1) == right).float().mean().item(),
            "motion_top1": (best == right).float().mean().item(),
        }


class Run:
    """A training run in a folder: checkpoint, log, and the finished model."""

    def __init__(self, folder: Path, recipe: Recipe, scenes: Scenes) -> None:
        self.folder, self.recipe, self.scenes = folder, recipe, scenes
        folder.mkdir(parents=True, exist_ok=True)
        self.checkpoint = folder / "checkpoint.pt"
        self.number, self.cpu_seconds = 0, 0.0
        if self.checkpoint.exists():
            self._resume()
        else:
            texts = Captions.of(scenes.captions).texts
            self.trainer = Trainer(recipe, learn_merges(texts), list(texts))
            if recipe.start is not None:
                start_from_videomae(self.trainer.model, VideoMAEModel.from_pretrained(recipe.start))

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        old = Recipe(**state["recipe"])
        if replace(old, steps=self.recipe.steps) != self.recipe:
            raise ValueError(f"{self.checkpoint} was trained with another recipe: {old}")
        if old != self.recipe and state["step"] > old.steps - old.decay_steps:
            raise ValueError(f"{self.checkpoint}: the learning rate is already falling")
        if state["num_clips"] != len(self.scenes.frames):
            raise ValueError(f"{self.checkpoint} was trained on {state['num_clips']} clips")
        self.trainer = Trainer(self.recipe, state["merges"], state["texts"])
        self.trainer.model.load_state_dict(state["model"])
        self.trainer.heads.load_state_dict(state["heads"])
        self.trainer.optimizer.load_state_dict(state["optimizer"])
        self.number, self.cpu_seconds = state["step"], state["cpu_seconds"]

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        partial = self.checkpoint.with_suffix(".partial")
        trainer = self.trainer
        state = {
            "model": trainer.model.state_dict(),
            "heads": trainer.heads.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "merges": trainer.merges,
            "texts": list(trainer.captions.texts),
            "step": self.number,
            "cpu_seconds": self.cpu_seconds,
            "num_clips": len(self.scenes.frames),
            "recipe": asdict(self.recipe),
        }
        torch.save(state, partial)
        partial.replace(self.checkpoint)

    def log(self, entry: dict[str, float]) -> None:
        """Append one line to the log."""
        entry = {name: round(value, 4) for name, value in entry.items()}
        entry = {"step": self.number, "cpu_seconds": round(self.cpu_seconds, 1), **entry}
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
        losses: list[dict[str, float]] = []
        while self.number < last and not stop:
            begin = time.process_time()
            losses.append(self.trainer.step(self.scenes, self.number))
            self.number += 1
            self.cpu_seconds += time.process_time() - begin
            if self.number % every == 0 or self.number == last:
                means = {
                    name: float(np.mean([loss[name] for loss in losses if name in loss]))
                    for name in losses[-1]
                }
                self.log(means | self.trainer.held_out(held_out))
                losses = []
                self.save()
        self.save()

    def export(self) -> None:
        """Write the model as float16 safetensors with its configuration and vocabulary."""
        folder = self.folder / "model"
        save(self.trainer.model, folder, torch.float16)
        write_merges(folder / "merges.txt", self.trainer.merges)
        text = json.dumps(PREPROCESSOR, indent=2) + "\n"
        (folder / "preprocessor_config.json").write_text(text, encoding="utf-8")


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
    parser.add_argument("--start", help="folder of a VideoMAE of the same width and depth")
    parser.add_argument("--dense-steps", type=int, default=600)
    parser.add_argument("--steps", type=int, default=2100)
    parser.add_argument("--every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = Recipe(args.dense_steps, args.steps, start=args.start)
    run = Run(args.work, recipe, Scenes.of(args.scenes, "train"))
    # Plain products: at this size they take half the time of the fused attention on a CPU.
    with sdpa_kernel(SDPBackend.MATH):
        run.train(Scenes.of(args.scenes, "held_out", 120), args.every)
    if run.number == recipe.steps:
        run.export()
        write_classes(args.scenes, args.work / "model")


if __name__ == "__main__":
    main()
