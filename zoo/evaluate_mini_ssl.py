# SPDX-License-Identifier: MIT
"""Held-out evaluation of the self-supervised miniature.

    python -m zoo.evaluate_mini_ssl SCENES MODEL OUT.json

Two questions: does it reconstruct hidden patches better than trivial predictors do, and do
k-means clusters of its keys follow the true objects better than clusters of patch colour, of colour
and place, or of an untrained copy's keys do?
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import transformers
from sklearn.cluster import KMeans
from torch import Tensor
from transformers import VideoMAEForPreTraining

from zoo.dataset import load
from zoo.mini_ssl import (
    GRID,
    NUM_TOKENS,
    PATCH,
    TUBELET,
    new_model,
    normalise,
    patches,
    random_mask,
    reconstruct,
    shown_tokens,
    standardise,
    tube_mask,
)
from zoo.stage import INSTANCE_IDS, NUM_INSTANCES

NUM_CLUSTERS = 8
SMALLEST_OBJECT = 8  # tokens over the clip
BATCH_SIZE = 20
PLACE_WEIGHTS = (0.5, 1.0, 1.5, 2.0)  # of row and column beside colour, in standard deviations


def nearest_visible(mask: Tensor) -> Tensor:
    """Index of the visible token nearest to each token, [B, 512]; the first of equally near."""
    axes = torch.meshgrid(*(torch.arange(size) for size in GRID), indexing="ij")
    place = torch.stack(axes, -1).reshape(NUM_TOKENS, 3).float()
    distance = torch.cdist(place, place)  # [512, 512], in tokens
    return distance.masked_fill(mask[:, None], torch.inf).argmin(-1)


@torch.no_grad()
def reconstruction_errors(
    model: VideoMAEForPreTraining,
    frames: Tensor,
    draw_mask: Callable[[int, torch.Generator], Tensor],
) -> dict[str, np.ndarray]:
    """Squared error on the standardised pixels of all masked tokens, one value per clip.

    ``copy_scaled`` is the copied patch times the best single factor for the clip (chosen with the
    answer known), which no longer pays for copying a wrong pattern at full contrast.
    """
    generator = torch.Generator().manual_seed(0)
    errors: dict[str, list[float]] = {name: [] for name in ("model", "mean", "copy", "copy_scaled")}
    for clips in frames.split(BATCH_SIZE):
        mask = draw_mask(len(clips), generator)
        hidden = mask.nonzero()[:, 1].reshape(len(clips), -1)  # [B, P]
        shown = shown_tokens(mask)
        predictions = reconstruct(model, normalise(clips), shown, hidden)  # [B, P, 384]
        pixels = standardise(patches(clips)).flatten(2)  # [B, 512, 384]
        source = nearest_visible(mask)
        for clip, row in enumerate(pixels):
            target, copied = row[hidden[clip]], row[source[clip, hidden[clip]]]
            factor = (target * copied).sum() / copied.square().sum()
            for name, guess in (
                ("model", predictions[clip]),
                ("mean", torch.zeros_like(target)),
                ("copy", copied),
                ("copy_scaled", factor * copied),
            ):
                errors[name].append((target - guess).square().mean().item())
    return {name: np.array(values) for name, values in errors.items()}


@contextmanager
def recorded_keys(model: VideoMAEForPreTraining) -> Iterator[list[Tensor]]:
    """List that each forward fills with the keys of every encoder layer, [B, 512, C] each."""
    keys: list[Tensor] = []
    handles = [
        layer.attention.attention.key.register_forward_hook(lambda *call: keys.append(call[2]))
        for layer in model.videomae.encoder.layer
    ]
    try:
        yield keys
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def layer_keys(model: VideoMAEForPreTraining, frames: Tensor) -> list[np.ndarray]:
    """Keys of all heads together, one array [clips, 512, C] per layer."""
    batches = []
    for clips in frames.split(BATCH_SIZE):
        with recorded_keys(model) as keys:
            model.videomae(normalise(clips))
        batches.append(keys)
    return [torch.cat(layer).numpy() for layer in zip(*batches, strict=True)]


def object_tokens(instances: np.ndarray) -> np.ndarray:
    """Tokens that an instance mostly fills, uint8 [T, H, W] -> bool [ids, 512], row 0 = id 1."""
    split = instances.reshape(GRID[0], TUBELET, GRID[1], PATCH, GRID[2], PATCH)
    pixels = split.transpose(0, 2, 4, 1, 3, 5).reshape(NUM_TOKENS, -1)  # [512, 128]
    return np.stack([(pixels == i).mean(1) > 0.5 for i in range(1, NUM_INSTANCES + 1)])


def best_cluster_ious(features: np.ndarray, objects: np.ndarray, seed: int) -> dict[int, float]:
    """IoU of the best of ``NUM_CLUSTERS`` k-means clusters of a clip's tokens, by instance id."""
    kmeans = KMeans(NUM_CLUSTERS, n_init=4, random_state=seed).fit(features)
    clusters = kmeans.labels_ == np.arange(NUM_CLUSTERS)[:, None]  # [K, 512]
    ious = {}
    for index, tokens in enumerate(objects):
        if tokens.sum() >= SMALLEST_OBJECT:
            overlap, union = (clusters & tokens).sum(1), (clusters | tokens).sum(1)
            ious[index + 1] = float((overlap / union).max())
    return ious


def object_scores(features: np.ndarray, instances: np.ndarray) -> dict[str, float | int]:
    """Mean best-cluster IoU over clips' targets and over all their objects.

    Args:
        features: [clips, 512, C].
        instances: uint8 [clips, T, H, W].
    """
    target, everything = [], []
    for clip, (rows, ids) in enumerate(zip(features, instances, strict=True)):
        ious = best_cluster_ious(rows, object_tokens(ids), seed=clip)
        everything += list(ious.values())
        target += [iou for i, iou in ious.items() if i == INSTANCE_IDS["target"]]
    return {
        "target": round(float(np.mean(target)), 4),
        "target_standard_error": round(float(np.std(target) / len(target) ** 0.5), 4),
        "objects": round(float(np.mean(everything)), 4),
        "objects_standard_error": round(float(np.std(everything) / len(everything) ** 0.5), 4),
        "num_targets": len(target),
        "num_objects": len(everything),
    }


def evaluate_reconstruction(model: VideoMAEForPreTraining, frames: Tensor) -> dict[str, object]:
    """Mean errors and their standard errors over clips, for both kinds of mask."""
    result: dict[str, object] = {}
    for name, draw in (("tube", tube_mask), ("random", random_mask)):
        errors = reconstruction_errors(model, frames, draw)
        result[name] = {
            key: {
                "error": round(float(values.mean()), 4),
                "standard_error": round(float(values.std() / len(values) ** 0.5), 4),
            }
            for key, values in errors.items()
        }
    return result


def evaluate_objects(
    model: VideoMAEForPreTraining, frames: Tensor, instances: np.ndarray
) -> dict[str, object]:
    """Best-cluster IoUs of patch colour, of the model's layers and of an untrained copy's.

    ``colour_and_place`` has the weight of place that suits the objects best, chosen with the answer
    known: objects are compact, so keys that merely hold both score as much.
    """
    colour = patches(frames).float().mean(2).numpy()
    placed = [object_scores(with_place(colour, weight), instances) for weight in PLACE_WEIGHTS]
    trained = layer_keys(model, frames)
    untrained = layer_keys(new_model(1).eval(), frames)
    return {
        "patch_colour": object_scores(colour, instances),
        "colour_and_place": max(placed, key=lambda scores: scores["objects"]),
        "trained": [object_scores(keys, instances) for keys in trained],
        "trained_centred": [object_scores(without_place(keys), instances) for keys in trained],
        "untrained": [object_scores(keys, instances) for keys in untrained],
        "untrained_centred": [object_scores(without_place(keys), instances) for keys in untrained],
    }


def without_place(keys: np.ndarray) -> np.ndarray:
    """Keys less the mean of each token's place over all clips, [clips, 512, C]."""
    return keys - keys.mean(0, keepdims=True)


def with_place(colour: np.ndarray, weight: float) -> np.ndarray:
    """Colour in units of its deviations with weighted row and column, [clips, 512, 5]."""
    axes = np.meshgrid(*(np.arange(size) for size in GRID), indexing="ij")
    place = np.stack(axes[1:], -1).reshape(NUM_TOKENS, 2)
    place = weight * (place - place.mean(0)) / place.std(0)
    shown = np.broadcast_to(place, (len(colour), *place.shape))
    return np.concatenate([colour / colour.std((0, 1)), shown], 2).astype(np.float32)


def markdown(result: dict) -> str:
    """The tables of the model card."""
    lines = [
        "| masks | model | mean patch | nearest patch | same, best factor |",
        "|---|---|---|---|---|",
    ]
    for name, errors in result["reconstruction"].items():
        cells = [f"{errors[key]['error']:.3f}" for key in ("model", "mean", "copy", "copy_scaled")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    objects = result["objects"]
    columns = [
        ("trained keys", "trained"), ("trained, centred", "trained_centred"),
        ("untrained keys", "untrained"), ("untrained, centred", "untrained_centred"),
    ]  # fmt: skip
    for subject in ("target", "objects"):

        def cell(row: dict, subject: str = subject) -> str:
            return f"{row[subject]:.3f} ± {row[f'{subject}_standard_error']:.3f}"

        baselines = (cell(objects[name]) for name in ("patch_colour", "colour_and_place"))
        lines += ["", "{}: patch colour {}, colour and place {}".format(subject, *baselines), ""]
        lines.append("| layer | " + " | ".join(title for title, _ in columns) + " |")
        lines.append("|---" * (1 + len(columns)) + "|")
        for layer in range(len(objects["trained"])):
            cells = [cell(objects[key][layer]) for _, key in columns]
            lines.append(f"| {layer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path, help="folder rendered by zoo.dataset")
    parser.add_argument("model", type=Path, help="folder of the trained model")
    parser.add_argument("out", type=Path, help="JSON file to write")
    parser.add_argument("--clips", type=int, default=240)
    parser.add_argument("--object-clips", type=int, default=96)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = load(args.scenes, "held_out", ("frames", "instances"))
    frames = torch.from_numpy(data["frames"])
    model = VideoMAEForPreTraining.from_pretrained(args.model, dtype=torch.float32).eval()
    few = args.object_clips
    result = {
        "clips": {"reconstruction": args.clips, "objects": few},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "reconstruction": evaluate_reconstruction(model, frames[: args.clips]),
        "objects": evaluate_objects(model, frames[:few], data["instances"][:few]),
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(result))


if __name__ == "__main__":
    main()
