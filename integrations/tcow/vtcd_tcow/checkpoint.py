# SPDX-License-Identifier: MIT
"""Checkpoints of TCOW: where the weights and the model's arguments are in them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from vtcd_ops.adapters import InputError, check_sizes, read_config, read_saved

__all__ = ["CONFIG_FILE", "MODEL_TYPE", "WEIGHTS_FILE", "read_checkpoint", "strip_prefix"]

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
MODEL_TYPE = "tcow"

# What wrappers put before a model's names: the published training code, DataParallel, compile.
_WRAPPERS = ("seeker.", "net_seeker.", "module.", "model.", "net.", "_orig_mod.")
# Under which names training code stores weights, and the arguments of the model.
_WEIGHTS_ENTRIES = ("net_seeker", "state_dict", "model_state_dict", "model")
_ARGUMENTS_ENTRIES = ("seeker_args", "config")

# What the weights do not say, as published.
_PUBLISHED = {"tracker_pretrained": True, "causal_attention": 1}
_PUBLISHED_HEAD_DIM = 64
_PUBLISHED_ASPECT = 4 / 3
_BACKBONE = "tracker_backbone.timesformer.model."


def read_checkpoint(
    path: str | PathLike[str],
    config: Mapping[str, Any] | None = None,
    allowed: Sequence[type] = (),
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights, under the model's own names, and the arguments of a checkpoint.

    Args:
        path: a folder, a safetensors file, or a file of torch.save.
        config: arguments that take the place of those in the checkpoint.
        allowed: classes that its pickle may need besides tensors.

    Raises:
        InputError: nothing there, a file that cannot be read, or one that needs other classes.
    """
    path = Path(path)
    content = _read_folder(path) if path.is_dir() else _read_published(path, allowed)
    weights, arguments = _parts_of(path, content)
    if arguments is None:
        arguments = _arguments_of(path, weights)
    return weights, {**arguments, **(config or {})}


def strip_prefix(name: str) -> str:
    """Return a parameter's name without what wrappers put before it.

    >>> strip_prefix("module.seeker.flag_post_linear.bias")
    'flag_post_linear.bias'
    """
    while True:
        prefix = next((prefix for prefix in _WRAPPERS if name.startswith(prefix)), None)
        if prefix is None:
            return name
        name = name.removeprefix(prefix)


def _read_folder(folder: Path) -> dict[str, Any]:
    """A folder as `vtcd_tcow.convert` writes it."""
    weights = read_saved(folder / WEIGHTS_FILE)
    arguments = read_config(folder / CONFIG_FILE)
    check_sizes(arguments, folder / CONFIG_FILE, weights=folder)
    arguments.pop("model_type", None)
    return {"config": arguments, "model": weights}


def _read_published(path: Path, allowed: Sequence[type]) -> Any:
    try:
        return read_saved(path, allowed=allowed)
    except InputError as error:
        if "argparse.Namespace" not in str(error):
            raise
        raise InputError(
            f"{error}; of the published checkpoint, python -m vtcd_tcow.convert takes the weights"
        ) from error


def _parts_of(path: Path, content: Any) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Find the state dict and the arguments in what a checkpoint holds."""
    if not isinstance(content, Mapping):
        raise InputError(
            f"from_checkpoint: {path} expected to hold a dict, got a {type(content).__name__}"
        )
    arguments = next((content[e] for e in _ARGUMENTS_ENTRIES if _is_mapping(content, e)), None)
    weights = next((content[e] for e in _WEIGHTS_ENTRIES if _is_mapping(content, e)), content)
    found: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        own = strip_prefix(str(name))
        if not isinstance(tensor, Tensor):
            raise InputError(
                f"from_checkpoint: {path} expected a tensor under {name}, got a "
                f"{type(tensor).__name__}"
            )
        if own in found:
            raise InputError(f"from_checkpoint: {path} holds {own} twice, under two prefixes")
        found[own] = tensor
    return found, None if arguments is None else dict(arguments)


def _is_mapping(content: Mapping[str, Any], entry: str) -> bool:
    return isinstance(content.get(entry), Mapping)


def _arguments_of(path: Path, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read sizes off the weights; what they do not say is taken as published."""
    positions = _shape(path, weights, _BACKBONE + "pos_embed", 3)
    times = _shape(path, weights, _BACKBONE + "time_embed", 3)
    width, _, _, patch = _shape(path, weights, _BACKBONE + "patch_embed.proj.weight", 4)
    pixels = _shape(path, weights, "tracker_post_linear.weight", 2)[0]
    rows, columns = _sides(positions[1] - 1)
    flags = weights.get("flag_post_linear.weight")
    arguments: dict[str, Any] = {
        **_PUBLISHED,
        "num_total_frames": times[1],
        "patch_size": patch,
        "frame_height": rows * patch,
        "frame_width": columns * patch,
        "output_channels": pixels // patch**2,
        "flag_channels": 0 if flags is None else len(flags),
        "embed_dim": width,
        "depth": _num_blocks(weights),
        "num_heads": max(1, width // _PUBLISHED_HEAD_DIM),
    }
    if not any(".temporal_attn." in name for name in weights):
        arguments.update(attention_type="joint_space_time", causal_attention=0)
    return arguments


def _shape(
    path: Path, weights: Mapping[str, Tensor], name: str, dimensions: int
) -> tuple[int, ...]:
    tensor = weights.get(name)
    if tensor is None or tensor.dim() != dimensions:
        got = "none" if tensor is None else f"{list(tensor.shape)}"
        raise InputError(
            f"from_checkpoint: {path} is no TCOW checkpoint: the key {name} is expected with "
            f"{dimensions} dimensions, got {got}"
        )
    return tuple(tensor.shape)


def _num_blocks(weights: Mapping[str, Tensor]) -> int:
    pattern = re.compile(re.escape(_BACKBONE) + r"blocks\.(\d+)\.")
    found = (pattern.match(name) for name in weights)
    return max((int(match[1]) + 1 for match in found if match), default=1)


def _sides(places: int) -> tuple[int, int]:
    """Rows and columns of a number of places, of all products the one nearest to 4:3."""
    places = max(places, 1)
    divisors = [rows for rows in range(1, places + 1) if places % rows == 0]
    rows = min(divisors, key=lambda r: abs(math.log(places / r**2 / _PUBLISHED_ASPECT)))
    return rows, places // rows
