"""Configurations of checkpoints: files that anyone may have written, read and bounded.

A configuration decides how much memory a model takes before a single weight is read; so its sizes
are held against what any model can have, and against the weights that lie beside it.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vtcd_ops.common.errors import InputError
from vtcd_ops.storage.documents import read_plain_json

__all__ = ["check_sizes", "read_config", "shortened"]

_LARGEST_FILE = 64 << 20

# Entries by the ends of their names: the least and the largest whole number. The largest video
# transformers have some 60 layers, 6,000 channels, 2,000 frames, 200,000 tokens.
_WHOLE = {
    r"(layers|depth)": (0, 512),
    r"(heads|head)": (1, 1024),
    r"(hidden_size|intermediate_size|width|dim)": (1, 65536),
    r"(image_size|crop_size|input_resolution|frame_height|frame_width|patch_size)": (1, 16384),
    r"(num_frames|frames_per_clip|t_size|total_frames|tubelet_size|context_length)": (1, 65536),
    r"(num_channels|output_channels|flag_channels|register_tokens)": (0, 4096),
    r"(num_labels|num_classes|vocab_size)": (0, 1 << 20),
}
_REAL = {
    r"(mlp_factor|mlp_ratio)": 64.0,
    r"(initializer_range|layer_norm_eps)": 1000.0,
    r"(dropout|dropout_prob|path_rate)": 1.0,
}

_MOST_ENTRIES = 1 << 16
_MOST_TABLE = 1 << 27  # numbers in a table of positions
_MOST_PIXELS = 1 << 30  # of a clip
_SHOWN = 60


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "config.json"
    >>> _ = path.write_text('{"model_type": "vit"}')
    >>> read_config(path)
    {'model_type': 'vit'}

    Raises:
        InputError: no such file, no JSON, or something else than an object.
    """
    path = Path(path)
    if path.is_file() and path.stat().st_size > _LARGEST_FILE:
        raise InputError(f"{path} is no configuration: it has {path.stat().st_size} bytes")
    found = read_plain_json(path)
    if not isinstance(found, dict):
        raise InputError(f"{path} expected to hold a JSON object, got {shortened(found)}")
    return found


def check_sizes(
    config: Mapping[str, Any], source: str | Path, *, weights: str | os.PathLike[str] | None = None
) -> None:
    """Refuse a configuration whose model would be larger than any, or than its own weights.

    >>> check_sizes({"hidden_size": 10**9}, "config.json")
    Traceback (most recent call last):
    vtcd_ops.common.errors.InputError: config.json: hidden_size expected a whole number from 1 to
    65536, got 1000000000

    Args:
        config: entries under the names of any of the families, nested or not.
        source: where it is from, for the error.
        weights: the folder or file with the weights, whose size bounds that of the model.

    Raises:
        InputError: the first entry that no model can have.
    """
    for name, key, value in _entries(config, ""):
        _check_entry(f"{source}: {name}", key, value)
    for part in (config, *(each for each in config.values() if isinstance(each, Mapping))):
        _check_products(part, source, weights)


def shortened(value: Any) -> str:
    """Return a value as it is written, cut where it is long.

    >>> len(shortened(list(range(10**6))))
    60
    """
    text = repr(value[:_SHOWN] if isinstance(value, (str, list, tuple)) else value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _entries(
    config: Mapping[str, Any], before: str, depth: int = 0
) -> Iterator[tuple[str, str, Any]]:
    """Yield every entry, also of objects inside: its whole name, its own, and its value."""
    for key, value in config.items():
        name = f"{before}{key}"
        yield name, str(key), value
        if isinstance(value, Mapping) and depth < 4:
            yield from _entries(value, f"{name}.", depth + 1)


def _check_entry(name: str, key: str, value: Any) -> None:
    if isinstance(value, (list, tuple, Mapping)) and len(value) > _MOST_ENTRIES:
        raise InputError(f"{name} expected at most {_MOST_ENTRIES} entries, got {len(value)}")
    for pattern, (least, most) in _WHOLE.items():
        if value is not None and re.search(f"(^|_){pattern}$", key):
            numbers = value if isinstance(value, (list, tuple)) and len(value) < 4 else [value]
            if not numbers or not all(_is_whole(number, least, most) for number in numbers):
                raise InputError(
                    f"{name} expected a whole number from {least} to {most}, got {shortened(value)}"
                )
    for pattern, largest in _REAL.items():
        if value is not None and re.search(f"(^|_){pattern}$", key):
            listed = isinstance(value, (list, tuple)) and key.endswith("dropout")
            numbers = value if listed else [value]
            if not all(_is_real(number, largest) for number in numbers):
                raise InputError(
                    f"{name} expected a number from 0 to {largest:g}, got {shortened(value)}"
                )


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_real(value: Any, most: float) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and 0 <= value <= most


def _check_products(
    config: Mapping[str, Any], source: Any, weights: str | os.PathLike[str] | None
) -> None:
    """What sizes make together: the pixels of a clip, a table of positions, the weights."""
    side = _first(config, "image_size", "crop_size", "input_resolution") ** 2
    if isinstance(config.get("image_size"), (list, tuple)):
        side = math.prod(config["image_size"])
    side = max(side, _first(config, "frame_height") * _first(config, "frame_width"))
    frames = _first(config, "num_frames", "frames_per_clip", "t_size", "num_total_frames")
    patch = _first(config, "patch_size")
    width = _first(config, "hidden_size", "width", "embed_dim")
    layers = _first(config, "num_hidden_layers", "layers", "depth")
    if side * frames > _MOST_PIXELS:
        raise InputError(
            f"{source}: frames and their size expected at most {_MOST_PIXELS} pixels a clip, "
            f"got {side * frames}"
        )
    if side // patch**2 * frames * width > _MOST_TABLE:
        raise InputError(
            f"{source}: tokens and channels expected at most {_MOST_TABLE} numbers in a table of "
            f"positions, got {side // patch**2 * frames * width}"
        )
    if weights is not None and layers * 4 * width**2 > (size := _bytes(Path(weights))):
        raise InputError(
            f"{source}: {layers} layers of {width} channels have {layers * 4 * width**2} weights "
            f"or more, and {weights} holds {size} bytes"
        )


def _first(config: Mapping[str, Any], *names: str) -> int:
    """Return the first of some entries that is a number, of a list its last; 1 when none is."""
    for name in names:
        value = config.get(name)
        if isinstance(value, (list, tuple)) and value:
            value = value[-1]
        if isinstance(value, int) and value > 0:
            return value
    return 1


def _bytes(path: Path) -> int:
    """Return the size of a file, or of the files of weights in a folder."""
    if path.is_dir():
        endings = (".safetensors", ".bin", ".pth", ".pt")
        return sum(file.stat().st_size for file in path.iterdir() if file.suffix in endings)
    return path.stat().st_size
