"""What in the values of a mask is the object: numbers of objects, grey levels, colours, alpha."""

from __future__ import annotations

import numpy as np

from vtcd_ops.common.errors import InputError

_MAX_NUMBERS = 32  #: more different values than this are shades, not numbers of objects
VOID_COLOUR = (224, 224, 192)  #: of PASCAL VOC: pixels that count neither way


def object_of(values: np.ndarray, source: str, *, lossy: bool = False) -> np.ndarray:
    """Return where values [...] are the object, bool.

    Numbers of objects (0 the background, at most 32 of them) are object where they are not 0; the
    largest value of their type beside them is void (DAVIS, VOC), hence no object. Shades, from a
    lossy file or a soft edge, are object from the middle of their range on; so are floats in
    [0, 1].

    >>> object_of(np.array([0, 1, 2, 255], dtype=np.uint8), "a mask")
    array([False,  True,  True, False])
    >>> object_of(np.array([0, 3, 254, 255], dtype=np.uint8), "a mask", lossy=True)
    array([False, False,  True,  True])

    Args:
        values: bool, whole numbers or floats.
        source: what to call them in an error.
        lossy: they come from a file whose compression changes values.

    Raises:
        InputError: negative or not finite values, or shades that may as well be numbers.
    """
    if values.dtype.kind == "b":
        return values
    if values.dtype.kind == "f":
        return _object_of_floats(values, source)
    if values.dtype.kind == "i" and values.size and values.min() < 0:
        raise InputError(f"{source}: masks expected numbers from 0, got {values.min()}")
    white = 65535 if values.dtype.itemsize > 1 and values.size and values.max() > 255 else 255
    if lossy:
        return values > white // 2
    levels = np.unique(values)
    levels = levels[levels > 0]
    others = levels[levels != white]
    if len(others) == len(levels) <= _MAX_NUMBERS or not len(others):
        return values > 0
    if others.max() <= _MAX_NUMBERS:
        return (values > 0) & (values != white)
    if len(levels) > _MAX_NUMBERS:
        return values > white // 2
    shown = ", ".join(map(str, others[:4].tolist()))
    raise InputError(
        f"{source}: its values {shown}, ... beside {white} may be soft edges or objects: store 0 "
        "for the background and 1, 2, ... for objects"
    )


def _object_of_floats(values: np.ndarray, source: str) -> np.ndarray:
    if not np.isfinite(values).all():
        raise InputError(f"{source}: masks expected numbers, got NaN or infinity")
    if values.size and values.min() < 0:
        raise InputError(
            f"{source}: masks expected values from 0 (probabilities, not logits), got "
            f"{values.min():.3g}"
        )
    return values >= 0.5


def object_of_colours(pixels: np.ndarray, source: str, *, lossy: bool = False) -> np.ndarray:
    """Return where the colours [..., 3] are the object: wherever they are not black, nor void.

    >>> object_of_colours(np.array([[0, 0, 0], [0, 0, 3], [224, 224, 192]], np.uint8), "a mask")
    array([False,  True, False])

    Raises:
        InputError: there are so many colours that it is a picture.
    """
    if (pixels == pixels[..., :1]).all():
        return object_of(pixels[..., 0], source, lossy=lossy)
    if lossy:
        return pixels.max(axis=-1) > 127
    codes = (pixels.astype(np.int32) << (16, 8, 0)).sum(axis=-1)
    if len(np.unique(codes)) > 256:
        raise InputError(f"{source}: a mask expected, got a picture of more than 256 colours")
    return (codes > 0) & (pixels != VOID_COLOUR).any(axis=-1)


def object_of_numbers(numbers: np.ndarray) -> np.ndarray:
    """Return where the numbers of a palette [...] are an object, bool; 255 beside others is void.

    >>> object_of_numbers(np.array([0, 40, 255])), object_of_numbers(np.array([0, 255]))
    (array([False,  True, False]), array([False,  True]))
    """
    if ((numbers > 0) & (numbers < 255)).any():
        return (numbers > 0) & (numbers < 255)
    return numbers > 0
