"""Videos with their frames' numbers burned in, in many codecs and containers."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

HEIGHT, WIDTH = 64, 128
BITS = 8


def numbered(number: int) -> np.ndarray:
    """A frame whose number stands in it as eight black or white bars, uint8 [H, W, 3]."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            frame[:, bit * WIDTH // BITS : (bit + 1) * WIDTH // BITS] = 255
    return frame


def number_in(frame: np.ndarray) -> int:
    """Read the number burned into a frame."""
    bars = frame.mean(axis=(0, 2)).reshape(BITS, -1)[:, 4:-4].mean(axis=1) > 127
    return int((bars << np.arange(BITS)).sum())


def write_numbered(
    path: Path,
    codec: str = "libx264",
    num_frames: int = 60,
    *,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    times: list[int] | None = None,
    cover: bool = False,
) -> Path:
    """Write a video of 10 frames a second, or with frames at given times in hundredths."""
    import av

    with av.open(str(path.absolute()), "w", options=container or {}) as file:
        if cover:
            picture = file.add_stream("mjpeg", rate=1)
            picture.height, picture.width, picture.pix_fmt = 256, 256, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
        rate = 100 if times else 25 if codec.startswith("mpeg") else 10
        stream = file.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, pix_fmt
        if times:
            stream.codec_context.time_base = Fraction(1, 100)
        if cover:
            art = av.VideoFrame.from_ndarray(np.full((256, 256, 3), 99, np.uint8), format="rgb24")
            art.pts = 0
            file.mux([*picture.encode(art), *picture.encode()])
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 100)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def cut_off(path: Path, share: float) -> Path:
    """Write the beginning of a file beside it."""
    content = path.read_bytes()
    cut = path.with_name(f"cut-{path.name}")
    cut.write_bytes(content[: int(share * len(content))])
    return cut


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write the matrix of the track header of an MP4 file: (x, y) goes to (ax + cy, bx + dy)."""
    content = bytearray(path.read_bytes())
    begin = content.find(b"tkhd") + 4
    begin += 40 if content[begin] == 0 else 52  # to the matrix, by the header's version
    numbers = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    content[begin : begin + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in numbers)
    path.write_bytes(bytes(content))
    return path
