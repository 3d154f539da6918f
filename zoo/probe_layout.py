# SPDX-License-Identifier: MIT
"""How far a single frame gives the motion away: a linear probe on DINOv2's features.

    python -m zoo.probe_layout SCENES OUT.json --dinov2 facebook/dinov2-small

A ridge regression onto the classes is fitted to the grid of patch features of one frame of the
training clips, its penalty chosen on a quarter of them, and tested on the held-out clips. If it
does well, layout is enough and a classifier need not look at motion. The demand is less than 35 %
for nine classes; the scenes have more, so nine are picked in every possible way.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import Dinov2Model

from zoo.dataset import load
from zoo.mini_ssl import IMAGE_MEAN, IMAGE_STD
from zoo.motions import CLASS_NAMES

FRAMES = (0, 8, 15)
SIDE = 112  # pixels: 8 x 8 patches of 14, one for each token of the miniatures
PENALTIES = (1e1, 1e2, 1e3, 1e4, 1e5)
CLASSES_AT_A_TIME = 9
BATCH_SIZE = 64


@torch.no_grad()
def frame_features(model: Dinov2Model, frames: Tensor) -> Tensor:
    """Patch features of single frames, uint8 [N, H, W, 3] -> [N, 64 * 384]."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGE_MEAN, IMAGE_STD))
    features = []
    for batch in frames.split(BATCH_SIZE):
        pixels = batch.permute(0, 3, 1, 2).float() / 255
        pixels = functional.interpolate(pixels, size=(SIDE, SIDE), mode="bicubic").clamp(0, 1)
        tokens = model((pixels - mean) / std).last_hidden_state[:, 1:]
        features.append(tokens.flatten(1))
    return torch.cat(features)


def ridge_scores(train: Tensor, labels: Tensor, test: Tensor, penalty: float) -> Tensor:
    """Class scores of ``test`` from a ridge regression on ``train``, [M, classes].

    Args:
        train: standardised features, [N, D].
        labels: classes of the rows of ``train``, int64 [N].
        test: features standardised likewise, [M, D].
        penalty: weight of the squared coefficients, a share of the features' mean square.
    """
    wanted = functional.one_hot(labels, len(CLASS_NAMES)).double()
    wanted = wanted - wanted.mean(0)
    kernel = (train @ train.T).double() / train.shape[1]  # [N, N]
    weights = torch.linalg.solve(kernel + penalty / 100 * torch.eye(len(train)), wanted)
    return ((test @ train.T).double() / train.shape[1]) @ weights


def choose_penalty(features: Tensor, labels: Tensor) -> float:
    """The penalty that does best on the last quarter when fitted to the rest."""
    cut = len(features) * 3 // 4
    rest = features[:cut], labels[:cut], features[cut:]
    hits = [
        (ridge_scores(*rest, penalty).argmax(1) == labels[cut:]).double().mean().item()
        for penalty in PENALTIES
    ]
    return PENALTIES[int(np.argmax(hits))]


def accuracies_on_subsets(scores: Tensor, labels: Tensor, size: int) -> np.ndarray:
    """Accuracy when only ``size`` classes exist, for every choice of them, [choices]."""
    results = []
    for chosen in itertools.combinations(range(len(CLASS_NAMES)), size):
        classes = torch.tensor(chosen)
        rows = torch.isin(labels, classes)
        guesses = classes[scores[rows][:, classes].argmax(1)]
        results.append((guesses == labels[rows]).double().mean().item())
    return np.array(results)


def probe_frame(train: Tensor, labels: Tensor, test: Tensor, truth: Tensor) -> dict[str, object]:
    """Held-out accuracy of the probe, over all classes, by class and over nine of them."""
    mean, deviation = train.mean(0), train.std(0) + 1e-4
    train, test = (train - mean) / deviation, (test - mean) / deviation
    penalty = choose_penalty(train, labels)
    scores = ridge_scores(train, labels, test, penalty)
    right = (scores.argmax(1) == truth).double()
    nine = accuracies_on_subsets(scores, truth, CLASSES_AT_A_TIME)
    accuracy = right.mean().item()
    return {
        "accuracy": round(accuracy, 4),
        "standard_error": round((accuracy * (1 - accuracy) / len(truth)) ** 0.5, 4),
        "nine_classes_mean": round(float(nine.mean()), 4),
        "nine_classes_highest": round(float(nine.max()), 4),
        "by_class": {
            name: round(right[truth == index].mean().item(), 3)
            for index, name in enumerate(CLASS_NAMES)
        },
        "penalty": penalty,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path, help="folder rendered by zoo.dataset")
    parser.add_argument("out", type=Path, help="JSON file to write")
    parser.add_argument("--dinov2", default="facebook/dinov2-small", help="Hub name or folder")
    parser.add_argument("--train-clips", type=int, default=1500)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = Dinov2Model.from_pretrained(args.dinov2, dtype=torch.float32).eval()
    data = {split: load(args.scenes, split, ("frames", "label")) for split in ("train", "held_out")}
    data["train"] = {name: values[: args.train_clips] for name, values in data["train"].items()}
    labels = {
        split: torch.tensor([CLASS_NAMES.index(label) for label in fields["label"]])
        for split, fields in data.items()
    }
    result: dict[str, object] = {
        "clips": {split: len(of_split) for split, of_split in labels.items()},
        "chance": round(1 / len(CLASS_NAMES), 4),
        "frames": {},
    }
    for frame in FRAMES:
        train, test = (
            frame_features(model, torch.from_numpy(data[split]["frames"][:, frame]))
            for split in ("train", "held_out")
        )
        result["frames"][str(frame)] = probe_frame(train, labels["train"], test, labels["held_out"])
        print(frame, result["frames"][str(frame)], flush=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
