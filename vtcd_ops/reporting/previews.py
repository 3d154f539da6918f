"""Preview frames of a video as one WebP contact sheet."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_QUALITY = 72  # of 100; at this size, blocks become visible below 60


@dataclass(frozen=True)
class ContactSheet:
    """All preview frames of one video in one picture, row by row."""

    columns: int  #: frames side by side
    width: int  #: of one frame, in pixels
    height: int  #: of one frame, in pixels
    webp: str  #: base64 of the WebP file


def contact_sheet(
    frames: npt.NDArray[np.uint8],  # [T, H, W, 3]
    max_edge: int,
    aspect: float | None = None,
) -> ContactSheet:
    """Shrink frames to ``max_edge`` pixels and lay them out in a near-square sheet.

    >>> sheet = contact_sheet(np.zeros((5, 32, 64, 3), np.uint8), max_edge=32)
    >>> sheet.columns, sheet.width, sheet.height
    (2, 32, 16)

    Args:
        frames: uint8 [T, H, W, 3], T >= 1.
        max_edge: Longest edge of a frame in the sheet, in pixels; small frames are not enlarged.
        aspect: width over height of what the frames show, where not that of their pixels.

    Returns:
        The sheet. The same frames give the same bytes.
    """
    from PIL import Image

    num_frames, height, width = frames.shape[:3]
    if aspect is not None:  # undo the stretching of a model that sees all videos in one shape
        width, height = _of_aspect(width, height, aspect)
    scale = min(1.0, max_edge / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # Wide frames stack higher than they stand side by side, so that the sheet is near square:
    # browsers limit the edge of a picture, not only its area.
    columns = min(num_frames, max(1, round(math.sqrt(num_frames * size[1] / size[0]))))
    rows = -(-num_frames // columns)
    sheet = Image.new("RGB", (columns * size[0], rows * size[1]))
    for index, frame in enumerate(frames):
        picture = Image.fromarray(np.ascontiguousarray(frame))
        if picture.size != size:
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        sheet.paste(picture, (index % columns * size[0], index // columns * size[1]))
    buffer = io.BytesIO()
    sheet.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return ContactSheet(columns, *size, base64.b64encode(buffer.getvalue()).decode("ascii"))


def _of_aspect(width: int, height: int, aspect: float) -> tuple[int, int]:
    """A size of an aspect ratio, which makes one edge longer and none shorter.

    >>> _of_aspect(224, 224, 854 / 480)
    (399, 224)
    """
    if aspect >= width / height:
        return max(1, round(height * aspect)), height
    return width, max(1, round(width / aspect))
