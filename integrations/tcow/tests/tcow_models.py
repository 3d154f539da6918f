"""Models and clips whose every number follows from a seed, on any machine and torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SMALL: dict[str, Any] = {
    "num_total_frames": 4,
    "num_visible_frames": 4,
    "frame_height": 32,
    "frame_width": 48,
    "tracker_pretrained": False,
    "attention_type": "divided_space_time",
    "patch_size": 8,
    "causal_attention": 1,
    "norm_embeddings": False,
    "drop_path_rate": 0.1,
    "track_map_stride": 4,
    "track_map_resize": "bilinear",
    "query_channels": 1,
    "output_channels": 3,
    "flag_channels": 3,
    "embed_dim": 48,
    "depth": 3,
    "num_heads": 4,
}

#: The cases of golden/upstream.json: changes of SMALL, one per line of what may go wrong.
CASES: dict[str, dict[str, Any]] = {
    "causal": {},
    "not causal": {"causal_attention": 0},
    "causal, colours normalised": {"tracker_pretrained": True},
    "not causal, colours normalised": {"causal_attention": 0, "tracker_pretrained": True},
    "causal, no class token in space": {"causal_attention": 2},
    "two frames ahead": {"causal_attention": 4},
    "not causal, no class token in space": {"causal_attention": -1},
    "embeddings normalised": {"norm_embeddings": True},
    "joint": {"attention_type": "joint_space_time", "causal_attention": 0},
    "nearest": {"track_map_resize": "nearest", "track_map_stride": 2},
    "not coarse": {"track_map_stride": 1},
    "large patches, more frames": {
        "num_total_frames": 7,
        "num_visible_frames": 7,
        "frame_height": 64,
        "patch_size": 16,
        "embed_dim": 64,
        "depth": 2,
        "num_heads": 2,
    },
}


def fill(model: nn.Module, std: float = 0.2, seed: int = 0) -> nn.Module:
    """Give every parameter random values; some start at zero, which would hide errors."""
    rng = np.random.RandomState(seed)  # its numbers never change between versions
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            parameter.copy_(torch.from_numpy(rng.normal(0, std, tuple(parameter.shape))))
    return model.eval()


def clips(config: dict[str, Any], batch: int = 2, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Random colours [B, 3, T, H, W] and a query [B, 1, T, H, W] in the first frame."""
    rng = np.random.RandomState(seed)
    size = (config["num_total_frames"], config["frame_height"], config["frame_width"])
    rgb = torch.from_numpy(rng.uniform(size=(batch, 3, *size))).float()
    query = torch.zeros(batch, 1, *size)
    query[:, :, 0] = torch.from_numpy(rng.uniform(size=(batch, 1, *size[1:])) > 0.7).float()
    return rgb, query


def summary(masks: Tensor, flags: Tensor) -> dict[str, Any]:
    """Flags, and a sample of the masks: of every frame every fifth row and seventh column."""
    return {
        "masks": masks[..., ::5, ::7].double().tolist(),
        "flags": flags.double().tolist(),
    }
