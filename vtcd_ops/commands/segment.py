"""Write the masks of a video's objects: the command around `vtcd_ops.segment`."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vtcd_ops.common.errors import InputError, counted
from vtcd_ops.segmentation.head_features import Head
from vtcd_ops.segmentation.segment import segment
from vtcd_ops.storage.files import naming, write_atomic
from vtcd_ops.video.media_files import image_files

__all__ = ["SegmentedVideo", "parse_part_heads", "segment_video"]

_MOST_NUMBER = 254  # of an object in a palette of bytes, whose 255 is void


@dataclass(frozen=True)
class SegmentedVideo:
    """The masks of a video that were written.

    Attributes:
        folder: where they are, 00000.png and so on.
        num_frames: how many there are.
        num_seen: in how many of them an object was found.
    """

    folder: Path
    num_frames: int
    num_seen: int

    def __str__(self) -> str:
        masks = counted(self.num_frames, "mask")
        return f"{self.folder}: {masks}, an object in {self.num_seen} of them"


def segment_video(
    model: str,
    video: Path,
    *,
    first_mask: Path,
    out: Path,
    heads: list[Head] | None = None,
    mode: str = "better",
    num_concepts: int = 32,
    tokens_per_tubelet: int = 16,
    n_segments: int = 12,
    compactness: float = 0.1,
    batch_size: int = 1,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
) -> SegmentedVideo:
    """Segment objects in every frame of a video, from a mask of the first frame and concepts alone.

    Args:
        model: what :func:`vtcd_ops.load_model` takes.
        video: a video file, or a folder of frames.
        first_mask: an image of the video's size: where the object is in the first frame; numbers 1,
            2, ... are several objects.
        out: the folder of the masks: PNGs with a palette, 00000.png and so on, as DAVIS has them.
        heads: as part:layer:head, such as keys:10:0,keys:11:3; None: the keys of all heads of the
            last two layers, or, of mode "paper", of the last.
        mode: "better": the log-odds of all heads' concepts. "paper": the one concept that overlaps
            the first mask most.
        num_concepts, tokens_per_tubelet, n_segments, compactness, batch_size, seed, device: see
            :func:`vtcd_ops.segment`.
        overwrite: replace masks that are in the folder.

    Raises:
        InputError: the video or the mask cannot be used, or the folder holds images.
    """
    before = image_files(out) if out.is_dir() else []
    if before and not overwrite:
        raise InputError(f"segment: {out} holds images: give another folder, or --overwrite")
    if not out.parent.is_dir():
        raise InputError(f"segment: out expected a folder in one that exists, got {out}")
    found = segment(
        model, video, first_mask, heads=heads, mode=mode, num_concepts=num_concepts,
        tokens_per_tubelet=tokens_per_tubelet, n_segments=n_segments, compactness=compactness,
        batch_size=batch_size, seed=seed, device=device,
    )  # fmt: skip
    labels = found.labels.numpy()
    if labels.max() > _MOST_NUMBER:
        raise InputError(
            f"segment: first_mask expected numbers of objects up to {_MOST_NUMBER}, which PNGs "
            f"with a palette hold, got {labels.max()}"
        )
    with naming(out):
        out.mkdir(exist_ok=True)
    names = [f"{frame:05d}.png" for frame in range(len(labels))]
    for name, one in zip(names, labels, strict=True):
        write_atomic(out / name, palette_png(one.astype(np.uint8)))
    for path in before:
        if path.name not in names:  # of a longer video
            path.unlink()
    return SegmentedVideo(out, len(labels), int(labels.any(axis=(1, 2)).sum()))


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
