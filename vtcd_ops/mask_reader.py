"""Masks of objects: arrays, `.npz`/`.npy` files, folders of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.errors import InputError
from vtcd_ops.samples import IMAGE_SUFFIXES, Video

__all__ = ["read_mask", "read_masks"]


def read_masks(masks: Video, indices: Sequence[int], key: str = "target_masks") -> Tensor:
    """Return the masks of some frames of a video, bool [len(indices), H, W].

    >>> masks = np.zeros((4, 2, 2), dtype=bool)
    >>> masks[3] = True
    >>> read_masks(masks, [0, 3]).sum(dim=(1, 2))
    tensor([0, 4])

    Args:
        masks: an array [T, H, W], a `.npy` or `.npz` file with one, or a folder with one image a
            frame, sorted by name. Whatever is not 0 is the object.
        indices: the frames wanted.
        key: which array of an `.npz` file, unless it holds only one.

    Raises:
        InputError: there is no such file, it holds no masks, or too few of them.
    """
    if isinstance(masks, np.ndarray):
        volume, source = masks, "the masks"
    else:
        path, source = Path(masks), str(masks)
        if not path.exists():
            raise InputError(f"{path} does not exist")
        volume = _folder(path, indices) if path.is_dir() else _file(path, key)
        if path.is_dir():
            indices = range(len(indices))
    if volume.ndim != 3 or volume.dtype.kind not in "biuf" or 0 in volume.shape[1:]:
        raise InputError(
            f"{source}: masks expected [T, H, W], got {volume.dtype} {list(volume.shape)}"
        )
    if max(indices) >= len(volume):
        raise InputError(
            f"{source}: masks of at least {max(indices) + 1} frames expected, got {len(volume)}"
        )
    return torch.from_numpy(volume[np.asarray(indices)] != 0)


def read_mask(mask: Video, key: str = "query_mask") -> Tensor:
    """Return one mask, bool [H, W]: of an image, an array [H, W], or the first of several.

    >>> read_mask(np.eye(2, dtype=np.uint8))
    tensor([[ True, False],
            [False,  True]])

    Args:
        mask: an image file, an array [H, W], or whatever `read_masks` takes.
        key: which array of an `.npz` file, unless it holds only one.

    Raises:
        InputError: there is no such file, or it holds no mask.
    """
    if isinstance(mask, np.ndarray):
        return read_masks(mask[None] if mask.ndim == 2 else mask, [0], key)[0]
    path = Path(mask)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_dir():
        return read_masks(path, [0], key)[0]
    image = path.suffix.lower() in IMAGE_SUFFIXES
    return read_mask(_plane(path) if image else _file(path, key))


def _file(path: Path, key: str) -> np.ndarray:
    try:
        contents = np.load(path, allow_pickle=False)
        if isinstance(contents, np.ndarray):
            return contents
        names = list(contents.files)
        if key not in names and len(names) != 1:
            raise InputError(f"{path}: expected an array {key}, got {', '.join(names)}")
        found: np.ndarray = contents[key if key in names else names[0]]
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as .npy or .npz: {error}") from error
    return found


def _folder(path: Path, indices: Sequence[int]) -> np.ndarray:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if max(indices) >= len(files):
        raise InputError(
            f"{path}: masks of at least {max(indices) + 1} frames expected, got {len(files)}"
        )
    planes = [_plane(files[index]) for index in indices]
    if len({plane.shape for plane in planes}) != 1:
        raise InputError(f"{path}: masks expected of one size, got several")
    return np.stack(planes)


def _plane(file: Path) -> np.ndarray:
    """The mask in an image [H, W]; of one with a palette the colours' numbers, 0 = background."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            numbers = image.mode in ("P", "L", "1", "I;16")
            return np.asarray(image if numbers else image.convert("L"))
    except OSError as error:
        raise InputError(f"{file} cannot be read as an image: {error}") from error
