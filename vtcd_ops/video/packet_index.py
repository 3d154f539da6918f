"""Find single frames of a video file without decoding the others.

A container lists when each packet is shown and where decoding can begin. In the formats below every
packet is one frame, so the list numbers the frames; every stretch that is decoded is held against
it, and a file that contradicts its list is read as one without.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from vtcd_ops.video.decoding import (
    DEFAULT_FPS,
    MAX_THREADS,
    Scan,
    cut_of,
    declared_seconds,
    import_av,
    open_stream,
    pixels_of,
    size_of,
)

# Formats of which every packet is one frame. VP8 and MPEG-4 have packets that show nothing, AVI
# does not say when a packet is shown, and MPEG's streams cannot be entered at a named place.
_CODECS = {
    "h264", "hevc", "av1", "libdav1d", "libaom-av1", "vp9", "prores", "mjpeg", "png", "ffv1",
    "dnxhd", "huffyuv",
}  # fmt: skip
_CONTAINERS = {"mov", "matroska"}

_PROBED = 8  # frames at the beginning that must be as listed


class ContradictionError(Exception):
    """What was decoded is not what the packets list."""


@dataclass(frozen=True)
class PacketIndex:
    """When every frame of a file is shown, and where decoding can begin."""

    shown: tuple[int, ...]  #: ascending, in the stream's unit of time
    keys: tuple[int, ...]  #: numbers of the frames that are the first of a key, ascending
    entries: tuple[int, ...]  #: when the keys themselves would be shown, which finds them

    def key_of(self, number: int) -> int:
        """Return the place of the last key from which a frame can be decoded."""
        return bisect_right(self.keys, number) - 1


def list_frames(path: Path) -> tuple[Scan, PacketIndex] | None:
    """Return when the frames of a file are shown, from its packets and its first frames alone.

    Returns:
        None where they do not tell: another format, a file that is damaged or cut, or one whose
        first frames are not as listed.
    """
    av = import_av()
    with open_stream(path) as (container, stream):
        names = set(container.format.name.split(","))
        if stream.codec_context.name not in _CODECS or not names & _CONTAINERS:
            return None
        try:
            packets = [packet for packet in container.demux(stream) if packet.size]
        except av.FFmpegError:
            return None
        index = _index(packets)
        if index is None:
            return None
        fps = float(stream.average_rate) if stream.average_rate else DEFAULT_FPS
        unit = float(stream.time_base)
        times = [round((shown - index.shown[0]) * unit, 6) for shown in index.shown]
        duration = max(packets, key=lambda packet: packet.pts).duration
        end = times[-1] + (duration * unit if duration else 1 / fps)
        if cut_of(path, declared_seconds(container, stream), end, fps) is not None:
            return None
    try:
        first = [frame for _, frame in islice(_decode(path, index, MAX_THREADS), _PROBED)]
    except ContradictionError:
        return None
    return Scan(fps, size_of(first[0]), times, MAX_THREADS, None), index


def _index(packets: Sequence[Any]) -> PacketIndex | None:
    """Number the frames of packets by when they are shown."""
    if any(packet.is_corrupt or packet.pts is None for packet in packets):
        return None
    shown = sorted(packet.pts for packet in packets if not packet.is_discard)
    if not shown or any(a == b for a, b in pairwise(shown)):
        return None
    keys: dict[int, int] = {}
    for packet in packets:
        if packet.is_keyframe:
            # Of two keys before one frame, the first of them not shown, the later remains
            keys[bisect_left(shown, packet.pts)] = packet.pts
    keys.pop(len(shown), None)
    if 0 not in keys:  # frames come before the first key: whether they can be decoded is not listed
        return None
    numbers = sorted(keys)
    return PacketIndex(tuple(shown), tuple(numbers), tuple(keys[number] for number in numbers))


def decode_listed(path: Path, index: PacketIndex, numbers: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the frames of ascending numbers as RGB [H, W, 3], upright; others are not decoded.

    Raises:
        ContradictionError: the file is not as its packets say.
    """
    frames: Iterator[tuple[int, Any]] = iter(())
    at, frame, key = -1, None, -1
    for number in numbers:
        # A key that lies between is not decoded to, but entered
        if frame is None or index.key_of(number) > max(key, index.key_of(at)):
            key = index.key_of(number)
            frames = _decode(path, index, MAX_THREADS, key)
            at = -1
        while at < number:
            at, frame = next(frames, (-1, None))
            if frame is None:
                raise ContradictionError
        yield pixels_of(frame)


def _decode(
    path: Path, index: PacketIndex, threads: int, key: int = 0
) -> Iterator[tuple[int, Any]]:
    """Yield number and frame from a key on."""
    av = import_av()
    with open_stream(path, threads) as (container, stream):
        try:
            if key > 0:
                container.seek(index.entries[key], stream=stream)
            expected = None
            for packet in container.demux(stream):
                if expected is None:
                    entered = packet.pts
                    expected = bisect_left(index.shown, entered)
                    if not packet.is_keyframe or expected > index.keys[key]:
                        raise ContradictionError
                for frame in packet.decode():
                    if frame.pts is not None and frame.pts < entered:
                        continue  # it refers to frames before the key
                    if frame.is_corrupt or frame.pts != index.shown[expected]:
                        raise ContradictionError
                    yield expected, frame
                    expected += 1
        except (av.FFmpegError, IndexError) as error:
            raise ContradictionError from error
