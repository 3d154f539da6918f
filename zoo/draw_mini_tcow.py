# SPDX-License-Identifier: MIT
"""Draw what a tracker answers: ``python -m zoo.draw_mini_tcow SCENES MODEL OUT.png CLIP ...``.

Two rows a clip, frames from the first to the last: outlined in white the true mask of the target
(hidden parts too), in green the tracker's, in red its occluder, in blue its container; the query
is filled in the first frame. ``CLIP:ID`` asks for another object than the target.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from vtcd_tcow import TCOW

from zoo.evaluate_mini_tcow import answer
from zoo.mini_tcow import TARGET, Scenes, ask

SCALE = 3
FRAMES = (0, 3, 5, 7, 9, 11, 13, 15)
TRUTH, COLOURS = (255, 255, 255), ((60, 255, 60), (255, 60, 60), (80, 140, 255))


def outline(mask: Tensor) -> Tensor:
    """The rim of a mask, one pixel wide, bool [H, W]."""
    padded = functional.pad(mask.float()[None, None], (1, 1, 1, 1))
    inner = -functional.max_pool2d(-padded, 3, stride=1)[0, 0]
    return mask & (inner == 0)


def enlarge(mask: Tensor) -> Tensor:
    """Each pixel a square, bool [H, W] -> [H * SCALE, W * SCALE]."""
    return mask.repeat_interleave(SCALE, 0).repeat_interleave(SCALE, 1)


def draw_frame(rgb: Tensor, truth: Tensor, masks: Tensor, query: Tensor | None) -> np.ndarray:
    """One frame uint8 [S, S, 3] with its masks [S, S] and [3, S, S], enlarged."""
    pixels = rgb.repeat_interleave(SCALE, 0).repeat_interleave(SCALE, 1).float()
    if query is not None:
        pixels[enlarge(query)] = 0.5 * pixels[enlarge(query)] + 0.5 * torch.tensor([255.0, 255, 0])
    pixels[outline(enlarge(truth))] = torch.tensor(TRUTH).float()
    for mask, colour in zip(masks, COLOURS, strict=True):
        pixels[outline(enlarge(mask))] = torch.tensor(colour).float()
    return pixels.to(torch.uint8).numpy()


def draw_clip(model: TCOW, scenes: Scenes, clip: int, asked: int) -> np.ndarray:
    """The frames of one clip above those of its answers, uint8 [2 * S', n * S', 3]."""
    batch = ask(scenes, torch.tensor([clip]), torch.tensor([asked]))
    masks = answer(model, batch)[0]  # [3, T, S, S]
    plain, drawn = [], []
    nothing = torch.zeros_like(batch.masks[0, :, 0])
    for frame in FRAMES:
        rgb, truth = batch.rgb[0, frame], batch.masks[0, 0, frame]
        query = batch.query[0] if frame == 0 else None
        plain.append(draw_frame(rgb, nothing[0], nothing, query))
        drawn.append(draw_frame(rgb, truth, masks[:, frame], None))
    return np.concatenate([np.concatenate(plain, 1), np.concatenate(drawn, 1)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path, help="folder rendered by zoo.dataset")
    parser.add_argument("model", type=Path, help="folder with config.json and model.safetensors")
    parser.add_argument("out", type=Path, help="picture to write")
    parser.add_argument("clips", nargs="+", help="number of a held-out clip, or number:instance id")
    args = parser.parse_args()
    model = TCOW.from_checkpoint(args.model)
    scenes = Scenes.read(args.scenes, "held_out")
    rows = []
    for text in args.clips:
        clip, _, asked = text.partition(":")
        rows.append(draw_clip(model, scenes, int(clip), int(asked or TARGET)))
    sheet = Image.fromarray(np.concatenate(rows))
    sheet.quantize(128).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
