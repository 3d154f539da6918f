"""Loading weights: published checkpoints, and folders of this package's own format."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from vtcd_internvideo.config import InternVideoConfig
from vtcd_ops.adapters import InputError, check_sizes, read_checkpoint, read_config

__all__ = ["MODEL_TYPE", "read_weights", "sizes_of", "write_weights"]

MODEL_TYPE = "internvideo"

# Lightning's wrapper, and that of several devices.
_PREFIXES = ("clip.", "module.")

# What upstream fixes by the width of the visual tower: layers of tower, decoder and text.
_PUBLISHED_LAYERS = {768: (12, 4, 12), 1024: (24, 4, 12)}
_HEAD_CHANNELS = 64


def read_weights(
    path: str | os.PathLike[str],
) -> tuple[Mapping[str, Tensor], dict[str, Any], Path]:
    """Return the weights of a file or folder, the sizes that they have, and the file they are in.

    Raises:
        InputError: a pickle that needs more than tensors, or weights of another model.
    """
    source = Path(path)
    if not source.is_dir():
        state = read_checkpoint(source, prefixes=_PREFIXES)
        return state, sizes_of(state, source), source
    config = _read_config(source / "config.json")
    check_sizes(config, source / "config.json", weights=source)
    source = source / "model.safetensors"
    return read_checkpoint(source), config, source


def write_weights(
    folder: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    dtype: torch.dtype | None = None,
) -> None:
    """Write weights as `config.json` and `model.safetensors`, which :func:`read_weights` reads."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": MODEL_TYPE, **config}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    state = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    if dtype is not None:
        state = {key: value.to(dtype) for key, value in state.items()}
    save_file(state, folder / "model.safetensors")


def _read_config(path: Path) -> dict[str, Any]:
    config = read_config(path)
    if config.pop("model_type", None) != MODEL_TYPE:
        raise InputError(f"from_checkpoint: {path} expected the model type {MODEL_TYPE}")
    return config


def sizes_of(state: Mapping[str, Tensor], source: Path) -> dict[str, Any]:
    """Read the sizes off the weights."""

    def size(key: str, axis: int) -> int:
        problem = f"from_checkpoint: the weights in {source} do not fit InternVideo"
        if key not in state:
            raise InputError(f"{problem}: missing key {key}")
        shape = state[key].shape
        if len(shape) <= axis:
            raise InputError(
                f"{problem}: misshapen key {key} (expected an axis {axis}, got {list(shape)})"
            )
        return int(shape[axis])

    width, patch = size("visual.conv1.weight", 0), size("visual.conv1.weight", 4)
    text_width = size("ln_final.weight", 0)
    counted = (
        _count(state, r"visual\.transformer\.resblocks\.(\d+)\."),
        _count(state, r"visual\.transformer\.dec\.(\d+)\."),
        _count(state, r"transformer\.resblocks\.(\d+)\."),
    )
    layers, decoder_layers, text_layers = _PUBLISHED_LAYERS.get(width, counted)
    side = patch * round((size("visual.positional_embedding", 0) - 1) ** 0.5)
    visual = {
        "input_resolution": side,
        "patch_size": patch,
        "width": width,
        "layers": layers,
        "heads": max(1, width // _HEAD_CHANNELS),
        "return_list": range(max(0, layers - decoder_layers), layers),
        "n_layers": decoder_layers,
    }
    text = {
        "embed_dim": size("text_projection", 1),
        "context_length": size("positional_embedding", 0),
        "vocab_size": size("token_embedding.weight", 0),
        "transformer_width": text_width,
        "transformer_heads": max(1, text_width // _HEAD_CHANNELS),
        "transformer_layers": text_layers,
    }
    return {"visual": visual, "text": text, "t_size": InternVideoConfig.t_size}


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """Return one more than the highest number that the pattern finds in the keys."""
    found = (re.match(pattern, key) for key in state)
    return max((int(match[1]) + 1 for match in found if match), default=0)
