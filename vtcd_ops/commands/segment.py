"""Write the masks of a video's objects: what the command does with `vtcd_ops.segment`'s."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from vtcd_ops.common.errors import InputError
from vtcd_ops.segmentation.head_features import Head
from vtcd_ops.segmentation.segment import Segmentation
from vtcd_ops.storage.files import naming, write_atomic
from vtcd_ops.video.media_files import image_files

__all__ = ["expect_place", "parse_part_heads", "write_masks"]

_MOST_NUMBER = 254  # of an object in a palette of bytes, whose 255 is void


def expect_place(out: Path, overwrite: bool) -> None:
    """Raise unless masks may be written to a folder."""
    if out.is_dir() and image_files(out) and not overwrite:
        raise InputError(f"segment: {out} holds images: give another folder, or --overwrite")
    if not out.parent.is_dir():
        raise InputError(f"segment: out expected a folder in one that exists, got {out}")


def write_masks(found: Segmentation, out: Path) -> None:
    """Write the masks of all frames, in place of all images that are in the folder.

    Raises:
        InputError: an object has a number that the images cannot hold.
    """
    labels = found.labels.numpy()
    if labels.max() > _MOST_NUMBER:
        raise InputError(
            f"segment: first_mask expected numbers of objects up to {_MOST_NUMBER}, which PNGs "
            f"with a palette hold, got {labels.max()}"
        )
    before = image_files(out) if out.is_dir() else []
    with naming(out):
        out.mkdir(exist_ok=True)
    names = [f"{frame:05d}.png" for frame in range(len(labels))]
    for name, one in zip(names, labels, strict=True):
        write_atomic(out / name, palette_png(one.astype(np.uint8)))
    for path in before:
        if path.name not in names:  # of a longer video
            path.unlink()


def palette_png(labels: np.ndarray) -> bytes:
    """Return numbers of objects, uint8 [H, W], as a PNG in the colours of PASCAL VOC and DAVIS."""
    try:
        from PIL import Image
    except ImportError:
        raise InputError(
            "writing masks needs Pillow, which is not installed: pip install 'vtcd-ops[video]'"
        ) from None
    image = Image.fromarray(labels)
    image.putpalette(_palette())
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _palette() -> list[int]:
    """256 colours: the bits of a number, three at a time, are the high bits of red, green, blue.

    >>> _palette()[3:9], _palette()[-3:]
    ([128, 0, 0, 0, 128, 0], [224, 224, 192])
    """
    return [
        sum((number >> (3 * place + colour) & 1) << (7 - place) for place in range(8))
        for number in range(256)
        for colour in range(3)
    ]


def parse_part_heads(text: str) -> list[Head]:
    """Return heads given as part:layer:head with commas between.

    >>> parse_part_heads("keys:10:0, values:11:3")
    [('keys', 10, 0), ('values', 11, 3)]

    Raises:
        InputError: the text is none such.
    """
    try:
        triples = [piece.strip().split(":") for piece in text.split(",")]
        return [(part, int(layer), int(head)) for part, layer, head in triples]
    except ValueError:
        raise InputError(
            f"heads expected as part:layer:head, such as keys:10:0,keys:11:3, got {text!r}"
        ) from None
