"""The mask of the first frame: which pixels belong to which object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from vtcd_ops.common.errors import InputError
from vtcd_ops.video.decoding import open_image
from vtcd_ops.video.mask_values import VOID_COLOUR, object_of, object_of_numbers
from vtcd_ops.video.masks import read_mask
from vtcd_ops.video.media_files import is_image

_WHITE = (255, 65535)  # what a single object is in images of black and white

FirstMask = str | Path | np.ndarray | Tensor


def read_objects(mask: FirstMask, size: tuple[int, int]) -> np.ndarray:
    """Return the number of the object at every pixel, int32 [H, W], 0 where there is none.

    Numbers of objects stay what they are; one object in white, or in soft edges, is number 1.

    >>> read_objects(np.array([[0, 2], [255, 5]], dtype=np.uint8), (2, 2)).tolist()
    [[0, 2], [0, 5]]
    >>> read_objects(np.array([[0, 255]], dtype=np.uint8), (1, 2)).tolist()
    [[0, 1]]

    Args:
        mask: an image file, or an array or tensor [H, W] of bool, numbers or probabilities. What is
            an object: :mod:`vtcd_ops.video.mask_values`.
        size: height and width of the video.

    Raises:
        InputError: another size, no object, or values that do not tell what is one.
    """
    objects = _numbered(mask)
    if objects.shape != size:
        raise InputError(
            f"segment: first_mask expected {list(size)}, as the frames of the video, "
            f"got {list(objects.shape)}"
        )
    if not objects.any():
        raise InputError("segment: first_mask expected an object, got an empty mask")
    return objects


def _numbered(mask: FirstMask) -> np.ndarray:
    if isinstance(mask, Tensor):
        mask = mask.detach().cpu().numpy()
    if isinstance(mask, str | Path):
        path = Path(mask)
        numbers = _palette_numbers(path) if path.is_file() and is_image(path) else None
        if numbers is None:
            return read_mask(path).numpy().astype(np.int32)
        return _kept(numbers, object_of_numbers(numbers))
    if not isinstance(mask, np.ndarray):
        raise InputError(f"segment: first_mask expected a file or an array, got {mask!r}")
    if mask.ndim != 2 or mask.dtype.kind not in "biuf":
        raise InputError(
            f"segment: first_mask expected [H, W], got {mask.dtype} {list(mask.shape)}"
        )
    return _kept(mask, object_of(mask, "segment: first_mask"))


def _palette_numbers(path: Path) -> np.ndarray | None:
    """The numbers that a palette or grey image holds, void as 0; None: it is no such image."""
    with open_image(path) as image:
        plain = image.mode == "P" or (image.mode == "L" and image.format == "PNG")
        if not plain or image.getexif().get(0x0112, 1) != 1:  # turned: `read_mask` sets it upright
            return None
        numbers = np.array(image)
        palette = image.getpalette() if image.mode == "P" else None
    if palette is None and len(np.unique(numbers)) > 2 and numbers.max() == 255:
        return None  # perhaps soft edges
    if palette is not None and tuple(palette[765:768]) == VOID_COLOUR:
        numbers[numbers == 255] = 0
    return numbers


def _kept(values: np.ndarray, is_object: np.ndarray) -> np.ndarray:
    """Numbers of objects where there is one; a mask of one white object, or of shades, as 1."""
    if values.dtype.kind in "bf":
        return is_object.astype(np.int32)
    numbers = np.where(is_object, values, 0)
    levels = np.unique(numbers[numbers > 0])
    shades = len(levels) > 1 and levels[-1] in _WHITE
    alone = len(levels) == 1 and levels[0] in _WHITE
    return is_object.astype(np.int32) if shades or alone else numbers.astype(np.int32)
