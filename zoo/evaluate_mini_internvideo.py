# SPDX-License-Identifier: MIT
"""Held-out evaluation of the video-text miniature.

    python -m zoo.evaluate_mini_internvideo SCENES MODEL OUT.json

Does a clip find its caption, and a caption its clip: among all of them, among those that differ
only in the motion, and among those that differ only in what is seen? The same for frames in another
order, one frame repeated, and untrained weights.
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
from vtcd_internvideo import InternVideo, InternVideoAdapter

from vtcd_ops.adapters import randomize_weights
from zoo.dataset import load
from zoo.frame_targets import NUM_FRAMES
from zoo.mini_internvideo import FRAME_STEP, Captions, appearance, mirror, motion, normalise

BATCH_SIZE = 40


def shuffled(frames: Tensor) -> Tensor:
    """Frames of each clip in a random order of its own, [B, T, H, W, 3]."""
    generator = torch.Generator().manual_seed(0)
    order = torch.rand(frames.shape[:2], generator=generator).argsort(1)
    return frames[torch.arange(len(frames))[:, None], order]


def repeated(index: int) -> Callable[[Tensor], Tensor]:
    """One frame in place of all."""
    return lambda frames: frames[:, index : index + 1].expand_as(frames)


CONTROLS: dict[str, Callable[[Tensor], Tensor]] = {
    "as filmed": lambda frames: frames,
    "first frame repeated": repeated(0),
    "middle frame repeated": repeated(NUM_FRAMES // 2),
    "last frame repeated": repeated(NUM_FRAMES - 1),
    "frames shuffled": shuffled,
    "time reversed": lambda frames: frames.flip(1),
}


@torch.no_grad()
def video_features(model: InternVideo, frames: Tensor) -> Tensor:
    """Features of clips, uint8 [n, T, H, W, 3] -> [n, D]."""
    batches = [model.video_features(normalise(clips)) for clips in frames.split(BATCH_SIZE)]
    return torch.cat(batches)


def choose(similarity: Tensor, right: Tensor, allowed: Tensor) -> dict[str, float]:
    """How often the best of the allowed captions is the right one.

    Args:
        similarity: [clips, captions].
        right: position of each clip's caption, [clips].
        allowed: bool [clips, captions].
    """
    best = similarity.masked_fill(~allowed, -torch.inf).argmax(-1)
    hits = (best == right).double().numpy()
    return summary(hits) | {"chance": round(float((1 / allowed.sum(-1)).mean()), 4)}


def summary(values: np.ndarray) -> dict[str, float]:
    """Mean and its standard error."""
    error = values.std() / len(values) ** 0.5
    return {"mean": round(float(values.mean()), 4), "standard_error": round(float(error), 4)}


def caption_scores(video: Tensor, text: Tensor, captions: Captions, truth: list[str]) -> dict:
    """From clips to captions."""
    similarity = video @ text.T
    right = captions.numbers(truth)
    texts = captions.texts
    same_look = torch.tensor([[appearance(a) == appearance(b) for b in texts] for a in truth])
    same_motion = torch.tensor([[motion(a) == motion(b) for b in texts] for a in truth])
    everything = torch.ones_like(same_look)
    in_five = (similarity.topk(5).indices == right[:, None]).any(-1).double().numpy()
    return {
        "caption": choose(similarity, right, everything),
        "caption_in_five": summary(in_five) | {"chance": round(5 / len(texts), 4)},
        "motion": choose(similarity, right, same_look),
        "appearance": choose(similarity, right, same_motion),
    }


def clip_scores(video: Tensor, text: Tensor, captions: Captions, truth: list[str]) -> dict:
    """From each caption that the set has to its clips: is the best clip one of them?"""
    numbers = captions.numbers(truth)
    used = numbers.unique()
    ranked = (text[used] @ video.T).argsort(-1, descending=True)
    relevant = numbers[ranked] == used[:, None]  # [captions, clips], best first
    chance = relevant.double().mean(-1)
    return {
        "clip": summary(relevant[:, 0].double().numpy())
        | {"chance": round(float(chance.mean()), 4)},
        "clip_in_five": summary(relevant[:, :5].any(-1).double().numpy())
        | {"chance": round(float((1 - (1 - chance) ** 5).mean()), 4)},
    }


def per_motion(video: Tensor, text: Tensor, captions: Captions, truth: list[str]) -> dict:
    """Among captions that differ only in the motion: what each motion is taken for."""
    names = sorted({motion(caption) for caption in truth})
    table = {name: dict.fromkeys(names, 0) for name in names}
    similarity = video @ text.T
    for row, caption in zip(similarity, truth, strict=True):
        options = {
            motion(one): float(row[number])
            for number, one in enumerate(captions.texts)
            if appearance(one) == appearance(caption)
        }
        table[motion(caption)][max(options, key=options.__getitem__)] += 1
    return table


def evaluate(
    adapter: InternVideoAdapter, frames: Tensor, truth: list[str], texts: list[str]
) -> dict:
    """All scores of one model."""
    model: InternVideo = adapter.model
    captions = Captions.of(texts)
    with torch.no_grad():
        text = model.text_features(list(captions.texts))
    result: dict = {"captions": len(captions.texts), "clips": len(truth), "controls": {}}
    for name, change in CONTROLS.items():
        video = video_features(model, change(frames))
        result["controls"][name] = caption_scores(video, text, captions, truth)
        if name == "as filmed":
            result["controls"][name] |= clip_scores(video, text, captions, truth)
            result["taken_for"] = per_motion(video, text, captions, truth)
    mirrored = video_features(model, frames.flip(3))
    result["mirrored"] = caption_scores(mirrored, text, captions, [mirror(one) for one in truth])
    untrained: InternVideo = randomize_weights(adapter, seed=0).model
    with torch.no_grad():
        untrained_text = untrained.text_features(list(captions.texts))
    result["untrained"] = caption_scores(
        video_features(untrained, frames), untrained_text, captions, truth
    )
    return result


def markdown(result: dict) -> str:
    """The table of the model card."""
    columns = ("caption", "caption_in_five", "motion", "appearance")
    lines = ["| frames | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]

    def line(name: str, scores: dict) -> str:
        cells = [
            f"{scores[key]['mean']:.3f} ± {scores[key]['standard_error']:.3f}" for key in columns
        ]
        return f"| {name} | " + " | ".join(cells) + " |"

    controls = result["controls"]
    lines += [line(name, scores) for name, scores in controls.items()]
    lines.append(line("mirrored, with the mirrored caption", result["mirrored"]))
    lines.append(line("untrained weights", result["untrained"]))
    chance = [f"{controls['as filmed'][key]['chance']:.3f}" for key in columns]
    lines.append("| chance | " + " | ".join(chance) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path, help="folder rendered by zoo.dataset")
    parser.add_argument("model", type=Path, help="folder of the trained model")
    parser.add_argument("out", type=Path, help="JSON file to write")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = load(args.scenes, "held_out", ("frames", "caption"))
    frames = torch.from_numpy(data["frames"][:, ::FRAME_STEP].copy())
    texts = load(args.scenes, "train", ("caption",))["caption"].tolist()
    adapter = InternVideoAdapter.from_name(str(args.model))
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    result = {"versions": versions, **evaluate(adapter, frames, data["caption"].tolist(), texts)}
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(result))


if __name__ == "__main__":
    main()
