"""Small models whose every parameter is random, and inputs, the same on every machine."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def config(
    t_size: int, visual: tuple[Any, ...], decoder: tuple[Any, ...], text: tuple[int, ...]
) -> dict[str, Any]:
    """A configuration under upstream's names."""
    names = ("input_resolution", "patch_size", "width", "layers", "heads", "output_dim")
    sizes = dict(zip(names, visual, strict=True))
    return_list, heads = decoder
    sizes |= {"return_list": return_list, "n_layers": len(return_list)}
    sizes |= {"n_dim": sizes["width"], "n_head": heads}
    text_names = (
        "embed_dim", "context_length", "vocab_size",
        "transformer_width", "transformer_heads", "transformer_layers",
    )  # fmt: skip
    return {
        "visual": sizes,
        "text": dict(zip(text_names, text, strict=True)),
        "t_size": t_size,
    }


CASES = {
    "eight_frames": config(8, (32, 8, 48, 4, 4, 24), ([1, 2, 3], 4), (24, 77, 100, 32, 4, 3)),
    "sixteen_frames": config(16, (32, 8, 48, 4, 4, 24), ([1, 3], 6), (24, 77, 100, 32, 2, 2)),
    "first_and_last_layer": config(8, (48, 16, 64, 3, 2, 16), ([0, 2], 8), (16, 12, 60, 48, 6, 2)),
    "large_patches": config(16, (56, 14, 96, 6, 3, 40), ([2, 3, 4, 5], 3), (40, 77, 300, 64, 1, 2)),
    "one_frame": config(1, (32, 16, 32, 2, 2, 8), ([0, 1], 2), (8, 9, 30, 16, 2, 1)),
}


def fill(model: nn.Module, spread: float = 0.12) -> Any:
    """Draw every parameter, those that training starts at zero or one included."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            rng = np.random.default_rng(zlib.crc32(name.encode()))
            values = spread * rng.standard_normal(parameter.shape)
            if parameter.dim() == 1 and name.endswith("weight"):
                values += 1
            parameter.copy_(torch.from_numpy(np.asarray(values)))
    return model.eval()


def inputs(sizes: dict[str, Any], batch: int = 2) -> tuple[Tensor, Tensor]:
    """Videos [B, 3, T, H, W], and tokens [3, context_length] of texts of different lengths."""
    rng = np.random.default_rng(5)
    side = sizes["visual"]["input_resolution"]
    video = rng.standard_normal((batch, 3, sizes["t_size"], side, side), dtype=np.float32)
    length, words = sizes["text"]["context_length"], sizes["text"]["vocab_size"]
    tokens = rng.integers(1, words - 1, (3, length))
    for row, end in zip(tokens, (2, 5, length - 1), strict=True):
        row[end] = words - 1
        row[end + 1 :] = 0
    return torch.from_numpy(video), torch.from_numpy(tokens)
