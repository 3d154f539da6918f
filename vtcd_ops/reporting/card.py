"""One concept as an animation: its best clips, and the copy's best match below them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

from vtcd_ops.common.errors import InputError
from vtcd_ops.common.settings import expect_count
from vtcd_ops.discovery.run import Run, load
from vtcd_ops.reporting import palette
from vtcd_ops.reporting.clips import rank_videos
from vtcd_ops.reporting.contents import FRAMES_PER_SECOND
from vtcd_ops.reporting.measured_videos import measured_videos
from vtcd_ops.reporting.overlaps import overlaps
from vtcd_ops.reporting.supports import sample_frames
from vtcd_ops.storage.files import write_atomic

__all__ = ["card", "parse_address"]

_ADDRESS = re.compile(r"(?P<part>\w+)-L(?P<layer>\d+)-H(?P<head>\d+)-C(?P<concept>\d+)")
_DIMMED = 0.55  # brightness outside of the concept
_GAP, _TITLE = 8, 22  # pixels
_PAPER, _INK, _MUTED = (252, 252, 251), (27, 31, 36), (86, 94, 104)
_FRAMES = 24

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Place:
    """Which concept of a run."""

    part: str
    layer: int
    head: int
    concept: int

    def __str__(self) -> str:
        return f"layer {self.layer} · head {self.head} · concept {self.concept}"


def parse_address(address: str) -> Place:
    """Read the address of a concept, as the report has it.

    >>> parse_address("#keys-L11-H2-C0")
    Place(part='keys', layer=11, head=2, concept=0)

    Raises:
        InputError: it is none.
    """
    match = _ADDRESS.fullmatch(address.lstrip("#"))
    if match is None:
        raise InputError(f"card: concept expected an address such as keys-L3-H1-C0, got {address}")
    numbers = (int(match[name]) for name in ("layer", "head", "concept"))
    return Place(match["part"], *numbers)


def card(
    run: Run | str | os.PathLike[str],
    concept: str,
    out: str | os.PathLike[str],
    *,
    clips: int = 3,
    control: bool = True,
    width: int = 960,
    name: str | None = None,
) -> Path:
    """Write one concept as an animation: its best clips, outside of it dimmed and grey.

    >>> import tempfile
    >>> import numpy as np
    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> videos = np.random.default_rng(0).integers(0, 255, (3, 4, 32, 32, 3)).astype(np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = vtcd_ops.discover(example_adapter(), videos, out=folder, progress=False)
    ...     vtcd_ops.card(run, "keys-L2-H1-C0", f"{folder}/card.gif", clips=2).name
    'card.gif'

    Args:
        run: A run of `discover`, or its directory.
        concept: Its address, as the report shows it: part, layer, head, concept.
        out: File to write: .gif, .webp, .mp4 (needs the extra `video`), or .png (one frame, that of
            which the concept covers most).
        clips: Its best clips, side by side, each from another video.
        control: With a second row: the concept of the randomised copy that overlaps it most, in the
            same videos, where the run has such a copy.
        width: Of the picture, in pixels.
        name: What to call it; by default its address in words.

    Returns:
        The file written. The same run and arguments give the same picture.

    Raises:
        InputError: If there is no such concept, or the file's name has another ending.
        ImportError: If Pillow (or, for .mp4, PyAV) is missing.
    """
    expect_count("card", "clips", clips)
    expect_count("card", "width", width)
    opened = run if isinstance(run, Run) else load(Path(run))
    opened.expect_kept("card")
    place = parse_address(concept)
    target = Path(out)
    if target.suffix.lower() not in _WRITERS:
        raise InputError(f"card: out expected {', '.join(_WRITERS)}, got {target.name}")
    if place.concept >= opened.concepts(place.layer, place.head, place.part).k:
        raise InputError(f"card: concept expected one of the run's, got {concept}")
    ranked = rank_videos(opened.concepts(place.layer, place.head, place.part), place.concept)
    videos = ranked[:clips]
    edge = (width - _GAP * (len(videos) - 1)) // len(videos)
    rows = [(name or str(place), clip_row(opened, place, videos, edge))]
    copy = opened.sanity if control else None
    if copy is not None:
        matched, ratio = best_match(opened, copy, place)
        title = f"randomised copy, best match: {matched}, overlap {ratio:.2f}"
        rows.append((title, clip_row(copy, matched, videos, edge)))
    write_animation(target, stack_rows(rows))
    return target


def best_match(run: Run, other: Run, place: Place) -> tuple[Place, float]:
    """Return the concept of another run of the same videos that overlaps one most."""
    found = overlaps(run, other, place.part, measured_videos(run))
    row = found.rows.index((place.layer, place.head, place.concept))
    best = int(found.ratio[row].argmax())
    return Place(place.part, *found.columns[best]), float(found.ratio[row, best])


def clip_row(run: Run, place: Place, videos: Sequence[int], edge: int) -> list[list[Pixels]]:
    """Return the frames of several clips, each ``edge`` pixels wide and of its true aspect."""
    return [dimmed_clip(run, place, video, edge) for video in videos]


def dimmed_clip(run: Run, place: Place, video: int, width: int) -> list[Pixels]:
    """Return the frames of a clip, grey and darker outside of a concept, which is outlined.

    It starts at the frame of which the concept covers most.
    """
    from PIL import Image

    preview = run.preview(video)
    support = run.support(video, place.layer, place.head, part=place.part)
    steps = sample_frames(len(preview), _FRAMES)
    _, _, rows, columns = run.videos[video].crop
    size = (width, max(1, round(width * rows / columns)))
    colour = palette.CONCEPTS[place.concept % len(palette.CONCEPTS)]
    line = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)
    covered = [(support[step * len(support) // len(preview)] == place.concept) for step in steps]
    frames = []
    for step, inside in zip(steps, covered, strict=True):
        picture = Image.fromarray(np.ascontiguousarray(preview[step]))
        pixels = np.asarray(picture.resize(size, Image.Resampling.BICUBIC))
        mask = Image.fromarray((255 * inside).astype(np.uint8))
        frames.append(dim_outside(pixels, np.asarray(mask.resize(size)) > 127, line))
    peak = int(np.argmax([inside.mean() for inside in covered]))
    return frames[peak:] + frames[:peak]


def dim_outside(pixels: Pixels, inside: npt.NDArray[np.bool_], line: Pixels) -> Pixels:
    """Grey and darken what is outside, and draw the edge.

    >>> dim_outside(np.full((1, 2, 3), 200, np.uint8), np.zeros((1, 2), bool), np.zeros(3, "u1"))
    array([[[110, 110, 110],
            [110, 110, 110]]], dtype=uint8)
    """
    grey = pixels @ np.array([0.299, 0.587, 0.114]) * _DIMMED
    shown = np.where(inside[..., None], pixels, grey.round().astype(np.uint8)[..., None])
    edge = inside & ~scipy.ndimage.binary_erosion(inside, iterations=2, border_value=1)
    shown[edge] = line
    return shown


def stack_rows(rows: Sequence[tuple[str, list[list[Pixels]]]]) -> list[Pixels]:
    """Put rows of clips below each other, each under its title; clips that end start again."""
    from PIL import Image, ImageDraw

    length = max(len(clip) for _, clips in rows for clip in clips)
    width = max(sum(clip[0].shape[1] + _GAP for clip in clips) - _GAP for _, clips in rows)
    heights = [max(clip[0].shape[0] for clip in clips) for _, clips in rows]
    frames = []
    for step in range(length):
        sheet = Image.new("RGB", (width, sum(heights) + len(rows) * (_TITLE + _GAP)), _PAPER)
        draw = ImageDraw.Draw(sheet)
        top = 0
        for index, ((title, clips), height) in enumerate(zip(rows, heights, strict=True)):
            draw.text((2, top + 4), title, _MUTED if index else _INK, font_size=13)
            left = 0
            for clip in clips:
                sheet.paste(Image.fromarray(clip[step % len(clip)]), (left, top + _TITLE))
                left += clip[0].shape[1] + _GAP
            top += _TITLE + height + _GAP
        frames.append(np.asarray(sheet))
    return frames


def write_animation(target: Path, frames: Sequence[Pixels]) -> None:
    """Write frames as the file's name says."""
    write_atomic(target, _WRITERS[target.suffix.lower()](frames))


def _png(frames: Sequence[Pixels]) -> bytes:
    from PIL import Image

    buffer = BytesIO()
    Image.fromarray(frames[0]).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _gif(frames: Sequence[Pixels]) -> bytes:
    """A GIF: one palette for all frames, so that what does not move stays as it is."""
    from PIL import Image

    pictures = [Image.fromarray(frame) for frame in frames]
    together = Image.fromarray(np.concatenate([frame[::4, ::4] for frame in frames]))
    colours = together.quantize(256, method=Image.Quantize.MEDIANCUT)
    flat = [picture.quantize(palette=colours, dither=Image.Dither.NONE) for picture in pictures]
    return _animation(flat, "GIF", optimize=False)


def _webp(frames: Sequence[Pixels]) -> bytes:
    from PIL import Image

    pictures = [Image.fromarray(frame) for frame in frames]
    return _animation(pictures, "WEBP", quality=70, method=4)


def _animation(pictures: Sequence[Any], kind: str, **options: Any) -> bytes:
    """Pillow's pictures as one file that plays without end."""
    buffer = BytesIO()
    pictures[0].save(
        buffer,
        kind,
        save_all=True,
        append_images=pictures[1:],
        duration=1000 // FRAMES_PER_SECOND,
        loop=0,
        **options,
    )
    return buffer.getvalue()


def _mp4(frames: Sequence[Pixels]) -> bytes:
    import av

    height, width = (length // 2 * 2 for length in frames[0].shape[:2])
    buffer = BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]))
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return buffer.getvalue()


_WRITERS = {".gif": _gif, ".webp": _webp, ".mp4": _mp4, ".png": _png}
