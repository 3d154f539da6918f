"""Read videos: files through PyAV, folders of frames, arrays; a few frames at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from vtcd_ops.common.errors import InputError, warn
from vtcd_ops.common.untrusted import expect_regular_file
from vtcd_ops.video.decoding import (
    DEFAULT_FPS,
    Scan,
    decode,
    decode_image,
    demux,
    header_size,
    image_size,
    scan,
)
from vtcd_ops.video.media_files import image_files
from vtcd_ops.video.packet_index import (
    ContradictionError,
    PacketIndex,
    decode_listed,
    list_frames,
)
from vtcd_ops.video.sample import Video


class VideoSource(Protocol):
    """A video whose frames can be read in order, any number of times."""

    @property
    def num_frames(self) -> int:
        """How many frames the video has."""
        ...

    @property
    def fps(self) -> float:
        """Frames per second."""
        ...

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of its frames."""
        ...

    @property
    def header_size(self) -> tuple[int, int]:
        """Height and width as a header says, known before a frame is decoded."""
        ...

    @property
    def cut(self) -> str | None:
        """What shows that the video's end is missing."""
        ...

    def frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the frames [H, W, 3] uint8 at ascending indices."""
        ...

    def times(self, indices: Sequence[int]) -> list[float]:
        """Return when frames are shown, in seconds from the first frame."""
        ...

    def sha256(self) -> str:
        """Return a fingerprint of the content, wherever it lies and whatever it is called."""
        ...


def open_video(video: Video | None) -> VideoSource:
    """Return the source of a video file, a folder of frames, or an array [T, H, W, 3].

    >>> import numpy as np
    >>> source = open_video(np.zeros((4, 8, 8, 3), dtype=np.uint8))
    >>> source.num_frames, next(source.frames([3])).shape
    (4, (8, 8, 3))

    Raises:
        InputError: there is no such file, it is no video, or PyAV is missing.
    """
    if video is None:
        raise InputError("it was an array in memory: give the array itself")
    if isinstance(video, np.ndarray):
        return ArraySource(video)
    path = Path(video)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_dir():
        return FolderSource(path)
    expect_regular_file(path)
    return FileSource(path)


def open_video_quickly(video: Video | None) -> VideoSource:
    """Return what `open_video` does; of a video file the frames are guessed from its packets."""
    source = open_video(video)
    return _DemuxedSource(source.path) if isinstance(source, FileSource) else source


def read_video(video: Video) -> tuple[np.ndarray, float]:
    """Return all frames of a video, uint8 [T, H, W, 3], and its frames per second.

    >>> import numpy as np
    >>> frames, fps = read_video(np.zeros((4, 8, 8, 3), dtype=np.uint8))
    >>> frames.shape
    (4, 8, 8, 3)
    """
    source = open_video(video)
    return np.stack(list(source.frames(range(source.num_frames)))), source.fps


class ArraySource:
    """A video held in memory."""

    cut: str | None = None

    def __init__(self, frames: np.ndarray) -> None:
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise InputError(
                f"video expected uint8 [T, H, W, 3], got {frames.dtype} {list(frames.shape)}"
            )
        self._frames = frames
        self.num_frames = len(frames)
        self.fps = DEFAULT_FPS
        self.frame_size: tuple[int, int] = (frames.shape[1], frames.shape[2])
        self.header_size = self.frame_size

    def frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the frames [H, W, 3] uint8 at ascending indices."""
        return (self._frames[index] for index in indices)

    def times(self, indices: Sequence[int]) -> list[float]:
        """Return when frames are shown, in seconds from the first frame."""
        return [round(index / self.fps, 6) for index in indices]

    def sha256(self) -> str:
        """Return the hash of shape and pixels."""
        digest = hashlib.sha256(repr(self._frames.shape).encode())
        digest.update(np.ascontiguousarray(self._frames).data)
        return digest.hexdigest()


class FolderSource:
    """A folder whose images, in natural order of their names, are the frames."""

    cut: str | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files = image_files(path)
        if not self._files:
            raise InputError(f"the folder {path} holds no frames")
        self.num_frames = len(self._files)
        self.fps = DEFAULT_FPS

    @cached_property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the first image."""
        return image_size(self._files[0])

    @property
    def header_size(self) -> tuple[int, int]:
        """Height and width of the first image."""
        return self.frame_size

    def frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the frames [H, W, 3] uint8 at ascending indices."""
        size = None
        for index in indices:
            file = self._files[index]
            size = _same_size(self._path, image_size(file), size)  # before a pixel is decoded
            yield decode_image(file)

    def times(self, indices: Sequence[int]) -> list[float]:
        """Return when frames are shown, in seconds from the first frame."""
        return [round(index / self.fps, 6) for index in indices]

    def sha256(self) -> str:
        """Return the hash of the files' bytes in order."""
        digest = hashlib.sha256()
        for file in self._files:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()


class FileSource:
    """A video file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _listed(self) -> tuple[Scan, PacketIndex] | None:
        return list_frames(self.path)

    @cached_property
    def _scan(self) -> Scan:
        if self._listed is not None:
            return self._listed[0]
        # Headers often lie about the number of frames, so they are counted
        found = scan(self.path)
        if found.cut is not None:
            warn(
                f"{self.path} seems to be cut off: {found.cut}; its first {len(found.times)} "
                "frames are used"
            )
        return found

    @property
    def num_frames(self) -> int:
        """Frames that can be decoded."""
        return len(self._scan.times)

    @property
    def fps(self) -> float:
        """Frames per second, on average."""
        return self._scan.fps

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the first frame, upright."""
        return self._scan.frame_size

    @cached_property
    def header_size(self) -> tuple[int, int]:
        """Height and width that the header names."""
        return header_size(self.path)

    @property
    def cut(self) -> str | None:
        """What shows that the end of the file is missing."""
        return self._scan.cut

    def frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the frames [H, W, 3] uint8 at ascending indices."""
        size, done = None, 0
        try:
            for frame in self._decode(indices):
                size = _same_size(self.path, (frame.shape[0], frame.shape[1]), size)
                yield frame
                done += 1
        except ContradictionError:
            self._count_what_was_listed()
            for frame in self._decode(indices[done:]):
                size = _same_size(self.path, (frame.shape[0], frame.shape[1]), size)
                yield frame

    def _decode(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        if self._listed is not None:
            return decode_listed(self.path, self._listed[1], indices)
        return decode(self.path, indices, self._scan.threads)

    def _count_what_was_listed(self) -> None:
        """Go on without the list of packets, where as many frames can be decoded as it said."""
        listed = self._scan.times
        found = scan(self.path)
        if len(found.times) != len(listed):
            raise InputError(
                f"{self.path} lists {len(listed)} frames and {len(found.times)} can be decoded: "
                "it is damaged; write it anew, for example with ffmpeg"
            )
        self._listed, self._scan = None, found

    def times(self, indices: Sequence[int]) -> list[float]:
        """Return when frames are shown, in seconds from the first frame."""
        return [self._scan.times[index] for index in indices]

    def sha256(self) -> str:
        """Return the hash of the file's bytes."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()


class _DemuxedSource(FileSource):
    """A video file of which next to nothing was decoded."""

    @cached_property
    def _scan(self) -> Scan:
        return demux(self.path) if self._listed is None else self._listed[0]


def _same_size(
    path: Path, size: tuple[int, int], before: tuple[int, int] | None
) -> tuple[int, int]:
    if before is not None and size != before:
        raise InputError(
            f"{path}: frames of different sizes, {before[1]}x{before[0]} and {size[1]}x{size[0]}"
        )
    return size
