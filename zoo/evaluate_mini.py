# SPDX-License-Identifier: MIT
"""Held-out results of ``hf_videomae:mini``: ``python -m zoo.evaluate_mini SCENES MODEL OUT.json``.

Accuracy and confusion of the classes; the same with motion taken away (one frame repeated, frames
shuffled) and with time reversed; and, layer by layer, whether its keys segment objects.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import VideoMAEForVideoClassification

from zoo.dataset import load
from zoo.evaluate_mini_ssl import (
    BATCH_SIZE,
    layer_keys,
    object_scores,
    without_place,
)
from zoo.mini_ssl import normalise, patches
from zoo.motions import CLASS_NAMES

SHUFFLES = 3  # orders of frames that are tried
OPPOSITES = (("push_left", "push_right"), ("push_right", "push_left"), ("cover", "uncover"),
             ("uncover", "cover"))  # fmt: skip


@torch.no_grad()
def predicted_classes(
    model: VideoMAEForVideoClassification,
    frames: Tensor,
    change: Callable[[Tensor], Tensor] = lambda clips: clips,
) -> np.ndarray:
    """Predicted class of every clip after a change to its frames, int64 [clips].

    Args:
        model: the classifier.
        frames: uint8 [clips, T, H, W, 3].
        change: from clips [B, T, H, W, 3] to clips of the same shape.
    """
    logits = [model(normalise(change(clips))).logits for clips in frames.split(BATCH_SIZE)]
    return torch.cat(logits).argmax(-1).numpy()


def share(hits: np.ndarray) -> dict[str, float]:
    """Mean of hits [n] and its standard error."""
    mean = float(hits.mean())
    return {
        "accuracy": round(mean, 4),
        "standard_error": round((mean * (1 - mean) / len(hits)) ** 0.5, 4),
    }


def without_motion(
    model: VideoMAEForVideoClassification, frames: Tensor, labels: np.ndarray
) -> dict[str, object]:
    """Accuracy on one frame repeated, and on shuffled frames."""
    result: dict[str, object] = {}
    for frame in (0, 8, 15):

        def repeat(clips: Tensor, frame: int = frame) -> Tensor:
            return clips[:, frame : frame + 1].expand_as(clips)

        result[f"frame_{frame}_repeated"] = share(
            predicted_classes(model, frames, repeat) == labels
        )
    hits = []
    for seed in range(SHUFFLES):
        order = torch.randperm(frames.shape[1], generator=torch.Generator().manual_seed(seed))
        hits.append(predicted_classes(model, frames, lambda clips, o=order: clips[:, o]) == labels)
    result["shuffled"] = share(np.concatenate(hits)) | {"orders": SHUFFLES}
    return result


def time_reversed(
    model: VideoMAEForVideoClassification, frames: Tensor, labels: np.ndarray
) -> dict[str, dict[str, float]]:
    """For each class with an opposite: what its clips are called when they run backwards."""
    result = {}
    for name, opposite in OPPOSITES:
        clips = frames[torch.from_numpy(labels == CLASS_NAMES.index(name))]
        if len(clips) == 0:
            continue
        called = predicted_classes(model, clips, lambda batch: batch.flip(1))
        counts = np.bincount(called, minlength=len(CLASS_NAMES)) / len(called)
        result[name] = {
            "opposite": round(float(counts[CLASS_NAMES.index(opposite)]), 3),
            "same": round(float(counts[CLASS_NAMES.index(name)]), 3),
            "most_often": CLASS_NAMES[int(counts.argmax())],
        }
    return result


def evaluate_classes(
    model: VideoMAEForVideoClassification, frames: Tensor, labels: np.ndarray
) -> dict[str, object]:
    """Accuracy, confusion (rows true, columns predicted), and the controls."""
    called = predicted_classes(model, frames)
    confusion = np.zeros((len(CLASS_NAMES), len(CLASS_NAMES)), int)
    np.add.at(confusion, (labels, called), 1)
    return {
        "clips": len(labels),
        "chance": round(1 / len(CLASS_NAMES), 4),
        **share(called == labels),
        "classes": list(CLASS_NAMES),
        "confusion": confusion.tolist(),
        "without_motion": without_motion(model, frames, labels),
        "time_reversed": time_reversed(model, frames, labels),
    }


def evaluate_objects(
    model: VideoMAEForVideoClassification, frames: Tensor, instances: np.ndarray
) -> dict[str, object]:
    """Best-cluster IoUs of patch colour and of the model's keys, as for ``mini-ssl``."""
    keys = layer_keys(model, frames)
    return {
        "clips": len(frames),
        "patch_colour": object_scores(patches(frames).float().mean(2).numpy(), instances),
        "trained": [object_scores(layer, instances) for layer in keys],
        "trained_centred": [object_scores(without_place(layer), instances) for layer in keys],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path, help="folder rendered by zoo.dataset")
    parser.add_argument("model", type=Path, help="folder of the trained model")
    parser.add_argument("out", type=Path, help="JSON file to write")
    parser.add_argument("--object-clips", type=int, default=96)
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = load(args.scenes, "held_out", ("frames", "instances", "label"))
    frames = torch.from_numpy(data["frames"])
    labels = np.array([CLASS_NAMES.index(label) for label in data["label"]])
    model = VideoMAEForVideoClassification.from_pretrained(args.model, dtype=torch.float32).eval()
    few = args.object_clips
    result = evaluate_classes(model, frames, labels)
    result["versions"] = {"torch": torch.__version__, "transformers": transformers.__version__}
    print(json.dumps({k: v for k, v in result.items() if k != "confusion"}, indent=1), flush=True)
    result["objects"] = evaluate_objects(model, frames[:few], data["instances"][:few])
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
