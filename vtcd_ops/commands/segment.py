"""Masks and overlays of a video's objects as files, and heads given as text or in a file."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtcd_ops.common.errors import InputError
from vtcd_ops.segmentation.head_features import Head
from vtcd_ops.segmentation.segment import Segmentation
from vtcd_ops.storage.documents import parse_json
from vtcd_ops.storage.files import naming, write_atomic
from vtcd_ops.video.media_files import image_files
from vtcd_ops.video.readers import VideoSource

__all__ = ["expect_place", "heads_as_json", "parse_part_heads", "write_masks", "write_overlay"]

_MOST_NUMBER = 254  # of an object in a palette of bytes, whose 255 is void


def expect_place(out: Path, overwrite: bool) -> None:
    """Raise unless masks may be written to a folder."""
    if out.is_dir() and image_files(out) and not overwrite:
        raise InputError(f"segment: {out} holds images: give another folder, or --overwrite")
    if not out.parent.is_dir():
        raise InputError(f"segment: out expected a folder in one that exists, got {out}")


def write_masks(found: Segmentation, out: Path, names: Sequence[str] | None = None) -> None:
    """Write the masks of all frames, in place of all images that are in the folder.

    Args:
        found: the masks.
        out: the folder.
        names: of the frames; by default 00000, 00001 and so on.

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
    stems = [f"{frame:05d}" for frame in range(len(labels))] if names is None else names
    files = [f"{stem}.png" for stem in stems]
    for name, one in zip(files, labels, strict=True):
        write_atomic(out / name, palette_png(one.astype(np.uint8)))
    for path in before:
        if path.name not in files:  # of a longer video
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


def write_overlay(path: Path, source: VideoSource, labels: np.ndarray) -> None:
    """Write a video as H.264 in which objects have the colours of their masks.

    Args:
        path: the .mp4 file.
        source: the video.
        labels: number of the object at every pixel, int [T, H, W].
    """
    try:
        import av
    except ImportError:
        raise InputError(
            "an overlay needs PyAV, which is not installed: pip install 'vtcd-ops[video]'"
        ) from None
    colours = np.array(_palette(), dtype=np.float32).reshape(256, 3)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=round(source.fps) or 1)
        height, width = source.frame_size
        stream.height, stream.width = height // 2 * 2, width // 2 * 2  # yuv420p halves them
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "20"}
        for frame, numbers in zip(source.frames(range(len(labels))), labels, strict=True):
            tinted = (frame + colours[numbers & 255]) / 2
            shown = np.where(numbers[..., None] > 0, tinted, frame).astype(np.uint8)
            even = np.ascontiguousarray(shown[: stream.height, : stream.width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())
    write_atomic(path, file.getvalue())


def heads_as_json(heads: Sequence[Head]) -> bytes:
    """Return heads as a file that `parse_part_heads` reads."""
    return (json.dumps([list(head) for head in heads]) + "\n").encode()


def _heads_of_file(path: Path) -> list[Head]:
    try:
        found = parse_json(path.read_bytes())
        return [(str(part), int(layer), int(head)) for part, layer, head in found]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f'{path} expected to hold heads such as [["keys", 11, 3], ["keys", 11, 4]]: {error}'
        ) from error


def parse_part_heads(text: str) -> list[Head]:
    """Return heads given as part:layer:head with commas between, or in a .json file.

    >>> parse_part_heads("keys:10:0, values:11:3")
    [('keys', 10, 0), ('values', 11, 3)]

    Raises:
        InputError: the text is none such.
    """
    if text.endswith(".json"):
        return _heads_of_file(Path(text))
    try:
        triples = [piece.strip().split(":") for piece in text.split(",")]
        return [(part, int(layer), int(head)) for part, layer, head in triples]
    except ValueError:
        raise InputError(
            "heads expected as part:layer:head, such as keys:10:0,keys:11:3, or as a .json file, "
            f"got {text!r}"
        ) from None
