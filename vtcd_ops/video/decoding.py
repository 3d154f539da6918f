"""Decode videos and images through PyAV: which stream, upright, and what a cut file leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np

from vtcd_ops.common.errors import InputError
from vtcd_ops.common.untrusted import expect_regular_file

DEFAULT_FPS = 24.0  # a folder of frames does not say; DAVIS and film are 24

MAX_THREADS = 4  # each holds frames of its own
_LISTS = ("concat", "hls", "dash", "imf")  # formats that name other files, or addresses
_ORIENTATION, _TIFF_WIDTH, _TIFF_HEIGHT = 0x0112, 0x0100, 0x0101  # tags of EXIF and TIFF
#: EXIF orientation: quarter turns against the clock, then whether it is mirrored left to right.
_EXIF = {1: (0, 0), 2: (0, 1), 3: (2, 0), 4: (2, 1), 5: (3, 1), 6: (3, 0), 7: (1, 1), 8: (1, 0)}


@dataclass(frozen=True)
class Scan:
    """What is known of a video file, once all of it was decoded or its packets were listed."""

    fps: float
    frame_size: tuple[int, int]  #: height and width of the first frame, upright
    times: list[float]  #: of every frame, in seconds from the first
    threads: int  #: with how many it was decoded, where that matters
    cut: str | None  #: what shows that the end of the file is missing


@dataclass
class _Damage:
    """What went wrong while a file was decoded."""

    first: str | None = None  #: the first error's words
    frame: int = 0  #: how many frames came before it
    corrupt: bool = False  #: there is a packet that is not whole
    goes_on: bool = False  #: there are good packets after an error

    def note(self, error: Any, frame: int) -> None:
        """Keep the first error."""
        if self.first is None:
            self.first, self.frame = error.strerror, frame


def import_av() -> Any:
    """Return PyAV, or say how to install it."""
    try:
        import av
    except ImportError:
        raise InputError(
            "reading videos needs PyAV, which is not installed: pip install 'vtcd-ops[video]'"
        ) from None
    return av


@contextmanager
def open_stream(path: Path, threads: int = MAX_THREADS) -> Iterator[tuple[Any, Any]]:
    """Open a file's best picture stream."""
    av = import_av()
    try:
        # An absolute path is never taken for a protocol (`a:b.mp4`)
        container = av.open(
            str(path.absolute()), container_options={"protocol_whitelist": "file,crypto,data"}
        )
    except av.FFmpegError as error:
        raise InputError(f"{path} is not a video that can be read: {error.strerror}") from error
    with container:
        if any(name in _LISTS for name in container.format.name.split(",")):
            raise InputError(f"{path} is not a video: it is a list of other files")
        stream = _best_stream(av, path, container)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min(threads, os.cpu_count() or 1)
        yield container, stream


def _best_stream(av: Any, path: Path, container: Any) -> Any:
    """The stream that ffmpeg would play, never the picture of a cover."""
    streams = container.streams.video
    cover = av.stream.Disposition.attached_pic
    videos = [stream for stream in streams if not stream.disposition & cover]
    if not videos:
        what = "no picture stream but its cover" if len(streams) else "no picture stream"
        raise InputError(f"{path} is not a video: it has {what}")
    best = container.streams.best("video")
    if best is not None and any(stream.index == best.index for stream in videos):
        return best
    return max(videos, key=lambda stream: stream.width * stream.height)


def header_size(path: Path) -> tuple[int, int]:
    """Return height and width that a video's header names, without decoding a frame."""
    with open_stream(path) as (_, stream):
        return stream.height, stream.width


def demux(path: Path) -> Scan:
    """Guess what `scan` would find from a file's packets, without decoding one."""
    av = import_av()
    with open_stream(path) as (container, stream):
        fps = float(stream.average_rate) if stream.average_rate else DEFAULT_FPS
        count = 0
        try:
            count = sum(1 for packet in container.demux(stream) if packet.size)
        except av.FFmpegError as error:
            raise InputError(f"{path} cannot be read to its end: {error.strerror}") from error
        size = (stream.height, stream.width)
    return Scan(fps, size, [number / fps for number in range(count)], MAX_THREADS, None)


def scan(path: Path) -> Scan:
    """Decode a video file once, to know how many frames can be had and when each is shown.

    A file that lacks its end keeps what comes before it; one with damage in its middle is refused.

    Raises:
        InputError: it is no video, or damaged.
    """
    found, damage = _scan(path, MAX_THREADS)
    if damage.first is not None:  # which frames threads lose at an error is a matter of luck
        found, damage = _scan(path, 1)
    if damage.goes_on:
        raise InputError(f"{path} is damaged near its frame {damage.frame}: {damage.first}")
    return found


def _scan(path: Path, threads: int) -> tuple[Scan, _Damage]:
    damage = _Damage()
    times: list[float | None] = []
    size, duration = (0, 0), 0.0
    with open_stream(path, threads) as (container, stream):
        rate = stream.average_rate
        fps = float(rate) if rate else DEFAULT_FPS
        declared = declared_seconds(container, stream)
        for frame in _frames(container, stream, damage):
            if not times:
                size = size_of(frame)
            times.append(frame.time)
            duration = float(frame.duration * frame.time_base) if frame.duration else 1 / fps
    if not times:
        reason = f": {damage.first}" if damage.first else ": it has no frame"
        raise InputError(f"{path} is not a video that can be read{reason}")
    seconds = _times(times, fps)
    end = seconds[-1] + duration
    cut = None
    if damage.first is not None or damage.corrupt:
        cut = "its last packet is not whole"
    else:
        cut = cut_of(path, declared, end, fps)
    return Scan(fps, size, seconds, threads if damage.first else MAX_THREADS, cut), damage


def cut_of(path: Path, declared: float | None, end: float, fps: float) -> str | None:
    """What shows that the end of a file is missing, beside packets that are not whole."""
    if declared is not None and declared - end > max(3 / fps, 0.05 * declared):
        return f"it says that it lasts {declared:.2f} s, {end:.2f} s can be read"
    return "its last bytes are missing" if _ends_inside(path) else None


def _frames(container: Any, stream: Any, damage: _Damage) -> Iterator[Any]:
    """Yield the frames of a stream, over errors, which are noted."""
    av = import_av()
    packets, number = container.demux(stream), 0
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:  # the file ends inside of something
            damage.note(error, number)
            packet = None
        frames: list[Any] = []
        try:
            frames = stream.decode(packet)
        except av.EOFError:  # the decoder was emptied already
            return
        except av.FFmpegError as error:
            damage.note(error, number)
        else:
            if packet is not None and packet.size:
                damage.goes_on |= damage.first is not None
                damage.corrupt |= packet.is_corrupt
        yield from frames
        number += len(frames)
        if packet is None:
            return


def _times(times: list[float | None], fps: float) -> list[float]:
    """Seconds from the first frame; by number where the file does not say, or not in order."""
    known = [time for time in times if time is not None]
    if len(known) < len(times) or any(b <= a for a, b in pairwise(known)):
        return [round(number / fps, 6) for number in range(len(times))]
    return [round(time - known[0], 6) for time in known]


def declared_seconds(container: Any, stream: Any) -> float | None:
    """How long a file's header says that its pictures last."""
    if (tag := stream.metadata.get("DURATION")) is not None:  # Matroska: 00:00:12.000000000
        try:
            hours, minutes, seconds = tag.split(":")
            end = 3600 * float(hours) + 60 * float(minutes) + float(seconds)
            return end - float((stream.start_time or 0) * stream.time_base)
        except ValueError:
            pass
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1  # else it may be the sound that lasts longer
    return container.duration / 1e6 if alone and container.duration is not None else None


def _ends_inside(path: Path) -> bool:
    """Whether a file of a format that tells its length piecewise ends inside of a piece."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        if start[:6] in (b"GIF87a", b"GIF89a"):
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b";"
        if start[4:8] in (b"ftyp", b"styp", b"moov", b"wide"):  # MP4 and MOV: boxes
            return _box_ends_behind(file, size)
    is_transport_stream = path.suffix.lower() == ".ts" and start[:1] == b"G"
    return is_transport_stream and size % 188 != 0


def _box_ends_behind(file: IO[bytes], size: int) -> bool:
    position = 0
    while position + 8 <= size:
        file.seek(position)
        length = int.from_bytes(file.read(4), "big")
        if length == 1:  # the real one follows, in 64 bits
            file.seek(position + 8)
            length = int.from_bytes(file.read(8), "big")
        if length < 8:  # 0: up to the end
            return False
        position += length
    return position != size


def decode(path: Path, indices: Sequence[int], threads: int = MAX_THREADS) -> Iterator[np.ndarray]:
    """Yield the frames at ascending indices of a video as RGB [H, W, 3], upright.

    Raises:
        InputError: it has fewer frames.
    """
    wanted = iter(indices)
    target = next(wanted, None)
    with open_stream(path, threads) as (container, stream):
        for number, frame in enumerate(_frames(container, stream, _Damage())):
            while number == target:
                yield pixels_of(frame)
                target = next(wanted, None)
            if target is None:
                return
    raise InputError(f"{path} ends before its frame {target}")


def image_size(path: Path) -> tuple[int, int]:
    """Return height and width of an image, upright, from its header."""
    width, height, turns, _ = _image_header(path)
    return (width, height) if turns % 2 else (height, width)


def decode_image(path: Path) -> np.ndarray:
    """Return an image as RGB [H, W, 3], upright as its EXIF orientation says."""
    av = import_av()
    *_, turns, mirrored = _image_header(path)
    try:
        # As a file object: ffmpeg sees the content, never a pattern in the name
        with path.open("rb") as file, av.open(file) as container:
            frame = next(container.decode(container.streams.video[0]))
            return _upright(frame.to_ndarray(format="rgb24"), turns, mirrored)
    except (av.FFmpegError, OSError, StopIteration, IndexError) as error:
        raise InputError(
            f"{path} cannot be read: {getattr(error, 'strerror', 'it has no picture')}"
        ) from error


def _image_header(path: Path) -> tuple[int, int, int, int]:
    """Width, height, quarter turns, and whether it is mirrored; no pixel is decoded."""
    with open_image(path) as image:
        turns, mirrored = _EXIF.get(image.getexif().get(_ORIENTATION, 1), (0, 0))
        width, height = image.size
        if image.format == "TIFF":  # Pillow's size of these is the upright one, in some versions
            width, height = image.tag_v2[_TIFF_WIDTH], image.tag_v2[_TIFF_HEIGHT]
        return width, height, turns, mirrored


@contextmanager
def open_image(path: Path) -> Iterator[Any]:
    """Open an image with Pillow, which reads its header alone."""
    try:
        from PIL import Image
    except ImportError:
        raise InputError(
            "reading images needs Pillow, which is not installed: pip install 'vtcd-ops[video]'"
        ) from None
    try:
        expect_regular_file(path)
        with Image.open(path) as image:
            yield image
    except (Image.DecompressionBombError, OSError, ValueError, SyntaxError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as an image: {error}") from error
    except MemoryError as error:  # Pillow asks for as much as a chunk says that it holds
        raise InputError(
            f"{path} cannot be read as an image: what it says that it holds does not fit into the "
            "memory"
        ) from error


def pixels_of(frame: Any) -> np.ndarray:
    """Return a decoded frame as RGB [H, W, 3], upright."""
    return _upright(frame.to_ndarray(format="rgb24"), *_orientation(frame))


def size_of(frame: Any) -> tuple[int, int]:
    """Return height and width of a decoded frame, upright."""
    turned = _orientation(frame)[0] % 2
    return (frame.width, frame.height) if turned else (frame.height, frame.width)


def _upright(pixels: np.ndarray, quarter_turns: int, mirrored: int) -> np.ndarray:
    if not quarter_turns and not mirrored:
        return pixels
    turned = np.rot90(pixels, quarter_turns)
    return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)


def _orientation(frame: Any) -> tuple[int, int]:
    """Quarter turns against the clock that bring a frame upright, then whether to mirror it."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:  # side data that this PyAV does not know
        matrix = None
    if matrix is None:
        return round(getattr(frame, "rotation", 0) / 90) % 4, 0
    (a, b), (c, d) = np.frombuffer(bytes(matrix), np.int32).reshape(3, 3)[:2, :2].astype(np.int64)
    turns = round(frame.rotation / 90) % 4
    # a*d - b*c < 0: mirrored. ffmpeg's matrix maps (x, y) to (a x + c y, b x + d y)
    if a * d - b * c >= 0:
        return turns, 0
    if abs(a) >= abs(b):
        return (0, 1) if a < 0 else (2, 1)
    return (3, 1) if b > 0 else (1, 1)
