"""Read videos: files through PyAV, folders of frames, arrays; a few frames at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vtcd_ops.errors import InputError
from vtcd_ops.samples import IMAGE_SUFFIXES, Video

_FOLDER_FPS = 24.0  # a folder of frames does not say; DAVIS and film are 24


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

    def frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the frames [H, W, 3] uint8 at ascending indices."""
        ...

    def sha256(self) -> str:
        """Return a fingerprint of the content, wherever it lies and whatever it is called."""
        ...


def open_video(video: Video) -> VideoSource:
    """Return the source of a video file, a folder of frames, or an array [T, H, W, 3].

    >>> import numpy as np
    >>> source = open_video(np.zeros((4, 8, 8, 3), dtype=np.uint8))
    >>> source.num_frames, next(source.frames([3])).shape
    (4, (8, 8, 3))

    Raises:
        InputError: there is no such file, it is no video, or PyAV is missing.
    """
    if isinstance(video, np.ndarray):
        return ArraySource(video)
    path = Path(video)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    return FolderSource(path) if path.is_dir() else FileSource(path)


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

    def __init__(self, frames: np.ndarray) -> None:
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise InputError(
                f"video expected uint8 [T, H, W, 3], got {frames.dtype} {list(frames.shape)}"
            )
        self._frames = frames
        self.num_frames = len(frames)
        self.fps = _FOLDER_FPS
        self.frame_size: tuple[int, int] = (frames.shape[1], frames.shape[2])

    def frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the frames [H, W, 3] uint8 at ascending indices."""
        return (self._frames[index] for index in indices)

    def sha256(self) -> str:
        """Return the hash of shape and pixels."""
        digest = hashlib.sha256(repr(self._frames.shape).encode())
        digest.update(np.ascontiguousarray(self._frames).data)
        return digest.hexdigest()


class FolderSource:
    """A folder whose images, sorted by name, are the frames."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files = sorted(f for f in path.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES)
        if not self._files:
            raise InputError(f"the folder {path} holds no frames")
        self.num_frames = len(self._files)
        self.fps = _FOLDER_FPS

    @cached_property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the first image."""
        height, width, _ = next(_decode(self._files[0])).shape
        return height, width

    def frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the frames [H, W, 3] uint8 at ascending indices."""
        size: tuple[int, ...] | None = None
        for index in indices:
            frame = next(_decode(self._files[index]))
            size = _same_size(self._files[index], frame, size)
            yield frame

    def sha256(self) -> str:
        """Return the hash of the files' bytes in order."""
        digest = hashlib.sha256()
        for file in self._files:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()


class FileSource:
    """A video file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _counted(self) -> tuple[int, float, tuple[int, int]]:
        # Headers often lie about the number of frames, so they are counted
        return _count_frames(self._path)

    @property
    def num_frames(self) -> int:
        """Frames that can be decoded."""
        return self._counted[0]

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self._counted[1]

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the first frame, upright."""
        return self._counted[2]

    def frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """Yield the frames [H, W, 3] uint8 at ascending indices."""
        size: tuple[int, ...] | None = None
        for frame in _decode(self._path, indices):
            size = _same_size(self._path, frame, size)
            yield frame

    def sha256(self) -> str:
        """Return the hash of the file's bytes."""
        digest = hashlib.sha256()
        with self._path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()


def _same_size(path: Path, frame: np.ndarray, size: tuple[int, ...] | None) -> tuple[int, ...]:
    if size is not None and frame.shape != size:
        raise InputError(
            f"{path}: frames of different sizes, {size[1]}x{size[0]} and "
            f"{frame.shape[1]}x{frame.shape[0]}"
        )
    return frame.shape


def _import_av() -> Any:
    try:
        import av
    except ImportError:
        raise InputError(
            "reading videos needs PyAV, which is not installed: pip install 'vtcd-ops[video]'"
        ) from None
    return av


def _open_stream(av: Any, path: Path) -> tuple[Any, Any]:
    container = av.open(str(path))
    if not container.streams.video:
        raise InputError(f"{path} is not a video: it has no picture stream")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    return container, stream


def _count_frames(path: Path) -> tuple[int, float, tuple[int, int]]:
    """Return the number of frames, frames per second, and height and width of the first frame."""
    av = _import_av()
    try:
        container, stream = _open_stream(av, path)
        with container:
            rate = stream.average_rate
            frames = container.decode(stream)
            first = next(frames, None)
            count = 1 + sum(1 for _ in frames)
    except av.FFmpegError as error:
        raise InputError(f"{path} is not a video that can be read: {error.strerror}") from error
    if first is None:
        raise InputError(f"{path} is not a video: it has no frame")
    size = (first.height, first.width)
    return count, float(rate) if rate else _FOLDER_FPS, size[:: -1 if _turns(first) % 2 else 1]


def _decode(path: Path, indices: Sequence[int] = (0,)) -> Iterator[np.ndarray]:
    """Yield the frames at ascending indices of a video or image as RGB, upright."""
    av = _import_av()
    wanted = iter(indices)
    target = next(wanted, None)
    try:
        container, stream = _open_stream(av, path)
        with container:
            for number, frame in enumerate(container.decode(stream)):
                while number == target:
                    yield _upright(frame)
                    target = next(wanted, None)
                if target is None:
                    return
    except av.FFmpegError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    raise InputError(f"{path} ends before its frame {target}")


def _upright(frame: Any) -> np.ndarray:
    """RGB pixels, turned as the file's rotation says (videos of telephones)."""
    pixels = frame.to_ndarray(format="rgb24")
    quarter_turns = _turns(frame)
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns)) if quarter_turns else pixels


def _turns(frame: Any) -> int:
    """Quarter turns that bring a frame upright."""
    return round(getattr(frame, "rotation", 0) / 90)
