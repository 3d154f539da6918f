"""Which frames of a video a model looks at, and in which windows.

A video longer than the model's clip is seen in windows. The frames are padded to a multiple of the
tubelet length by repeating the last one; windows follow each other, and the last one is moved back
to end at the end, with the tokens that were covered already dropped. So every token of the joined
feature map stands at its true time.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.common.errors import InputError, counted, warn
from vtcd_ops.video.readers import VideoSource
from vtcd_ops.video.samples import Sample

Frame = TypeVar("Frame", np.ndarray, Tensor)

IMAGE_MODEL_FRAMES = 16  # frames of a video that an image model looks at by default

_BYTES_PER_PIXEL = 16  # what decoding and resizing a frame takes, decoder's frames included

_AHEAD_BYTES = 64 << 20  # of windows that are read before a video's turn


def frame_indices(
    num_video_frames: int,
    num_frames: int | str,
    sampling_rate: int | None = None,
    *,
    from_first: bool = False,
) -> list[int]:
    """Return which frames of a video are looked at, ascending.

    >>> frame_indices(20, 4)  # the middles of four equal parts
    [2, 7, 12, 17]
    >>> frame_indices(20, 4, sampling_rate=2)  # every second frame, around the middle
    [6, 8, 10, 12]
    >>> frame_indices(20, 4, from_first=True)  # the beginnings of four equal parts
    [0, 5, 10, 15]
    >>> frame_indices(5, "all")
    [0, 1, 2, 3, 4]

    Args:
        num_video_frames: how many frames the video has.
        num_frames: how many to take, or ``"all"``.
        sampling_rate: step in frames between two taken; the largest that fits where the video is
            too short for it. None: evenly spaced over the whole video.
        from_first: begin at the first frame, for a model that is shown there what to follow.

    Raises:
        InputError: the video has fewer frames than asked for.
    """
    if num_frames == "all":
        return list(range(0, num_video_frames, sampling_rate or 1))
    count = int(num_frames)
    if num_video_frames < count:
        raise InputError(
            f"expected a video of at least {counted(count, 'frame')}, got {num_video_frames}"
        )
    if sampling_rate is None:
        shift = 0 if from_first else 1
        return [(2 * i + shift) * num_video_frames // (2 * count) for i in range(count)]
    step = min(sampling_rate, (num_video_frames - 1) // max(count - 1, 1)) or 1
    start = 0 if from_first else (num_video_frames - (count - 1) * step - 1) // 2
    return list(range(start, start + (count - 1) * step + 1, step))


@dataclass(frozen=True)
class Window:
    """One clip of a longer video, in frames of the padded video and its tokens along time."""

    start: int  #: first frame of the clip
    first_token: int  #: where the clip's new tokens begin in the joined feature map
    skip: int  #: how many of the clip's first tokens were covered by the window before


def plan_windows(num_frames: int, clip_frames: int, tubelet_size: int) -> list[Window]:
    """Return the windows that cover a video, each token exactly once.

    >>> [(w.start, w.first_token, w.skip) for w in plan_windows(19, 16, 2)]
    [(0, 0, 0), (4, 8, 6)]

    Args:
        num_frames: frames looked at, at least ``clip_frames``.
        clip_frames: frames of one clip of the model.
        tubelet_size: frames that one token spans.

    Raises:
        InputError: fewer frames than a clip.
    """
    if num_frames < clip_frames:
        raise InputError(
            f"expected a video of at least {counted(clip_frames, 'frame')}, got {num_frames}"
        )
    padded = padded_length(num_frames, tubelet_size)
    windows = []
    for begin in range(0, padded, clip_frames):
        start = min(begin, padded - clip_frames)
        windows.append(Window(start, begin // tubelet_size, (begin - start) // tubelet_size))
    return windows


def padded_length(num_frames: int, tubelet_size: int) -> int:
    """Return the number of frames after padding to a multiple of the tubelet length."""
    return -(-num_frames // tubelet_size) * tubelet_size


def window_clips(
    frames: Iterable[Frame], windows: Sequence[Window], clip_frames: int
) -> Iterator[list[Frame]]:
    """Yield each window's frames, holding one window in memory.

    The last frame is repeated where a window reaches past the end of ``frames``.
    """
    stream = iter(frames)
    held: deque[Frame] = deque(maxlen=clip_frames)
    num_read = 0
    for window in windows:
        while num_read < window.start + clip_frames:
            held.append(next(stream, held[-1]) if held else next(stream))
            num_read += 1
        yield list(held)


class Watcher(Protocol):
    """As much of a model's adapter as choosing and reading its frames takes."""

    name: str
    num_frames: int
    tubelet_size: int
    sample_fields: tuple[str, ...]
    sampling_rate: int | None

    def preprocess(self, frames: np.ndarray) -> Tensor:
        """Turn frames, uint8 [T, H, W, 3], into the model's input, float32 [T, 3, H', W']."""
        ...

    def inputs(self, sample: Sample, clip: VideoClip[Any], start: int) -> dict[str, Tensor]:
        """Return what the model needs beside the window that begins at a looked-at frame."""
        ...


Model = TypeVar("Model", bound=Watcher)


@dataclass(frozen=True)
class VideoClip(Generic[Model]):
    """The frames of one video that an adapter's model looks at."""

    adapter: Model
    source: VideoSource
    indices: list[int]  #: frames of the video, ascending
    sample: Sample | None = None  #: what else is known of the video
    first: tuple[Tensor, ...] = ()  #: windows [T, 3, H', W'] that are in memory already

    @property
    def windows(self) -> list[Window]:
        """The windows in which the model sees the frames."""
        return plan_windows(len(self.indices), self.adapter.num_frames, self.adapter.tubelet_size)

    @property
    def num_steps(self) -> int:
        """Tokens along time of the joined feature map."""
        return (
            padded_length(len(self.indices), self.adapter.tubelet_size) // self.adapter.tubelet_size
        )

    def clips(self) -> Iterator[Tensor]:
        """Yield each window as the model wants it, float [T, 3, H', W']."""
        yield from self.first
        windows = self.windows[len(self.first) :]
        if not windows:
            return
        begin = windows[0].start
        windows = [replace(window, start=window.start - begin) for window in windows]
        frames = self.source.frames(self.indices[begin:])
        adapter, length = self.adapter, self.adapter.num_frames
        if frame_by_frame(adapter):  # no more than one frame at its full size is held
            small = (adapter.preprocess(frame[None])[0] for frame in frames)
            yield from map(torch.stack, window_clips(small, windows, length))
        else:
            for clip in window_clips(frames, windows, length):
                yield adapter.preprocess(np.stack(clip))

    def read_ahead(self, *, pinned: bool = False) -> VideoClip[Model]:
        """Return this with the first windows in memory: all of them, or a bounded number.

        Args:
            pinned: in pages that a device reads by itself.
        """
        first: list[Tensor] = []
        size = 0
        for clip in self.clips():
            first.append(clip.pin_memory() if pinned else clip)
            size += clip.nbytes
            if size >= _AHEAD_BYTES:
                break
        return replace(self, first=tuple(first))

    def inputs_sha256(self) -> str | None:
        """Return the hash of what the model needs beside the frames of all windows, if anything."""
        digest = hashlib.sha256()
        given = False
        for window in self.windows:
            for name, tensor in sorted(self.inputs(window).items()):
                digest.update(name.encode())
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
                given = True
        return digest.hexdigest() if given else None

    def inputs(self, window: Window) -> dict[str, Tensor]:
        """Return what the model needs beside the frames of a window, without the batch axis."""
        return {} if self.sample is None else self.adapter.inputs(self.sample, self, window.start)


def frame_by_frame(adapter: Watcher) -> bool:
    """Whether an adapter's `preprocess` treats each frame alone, as far as it says."""
    return bool(getattr(adapter, "frame_by_frame", False))


def choose_clip(
    adapter: Model,
    source: VideoSource,
    num_frames: int | str | None = None,
    sampling_rate: int | None = None,
    sample: Sample | None = None,
    *,
    max_memory: int | None = None,
) -> VideoClip[Model]:
    """Choose the frames of a video that the model looks at.

    Args:
        adapter: the model.
        source: the video.
        num_frames: how many, or ``"all"``; None: one clip of the model (16 of an image model, or
            all of a video that has fewer).
        sampling_rate: step in frames; None: the model's own, else evenly spaced.
        sample: what else is known of the video, for a model that needs more than frames.
        max_memory: refuse frames so large that reading them takes more bytes; None: read any.

    Raises:
        InputError: too few or too large frames, or a field of the sample that the model needs is
            missing.
    """
    for field in adapter.sample_fields:
        if getattr(sample, field, None) is None and field != "video":
            raise InputError(f"{adapter.name} needs the {field} of every video, got none")
    if max_memory is not None:
        _check_memory(adapter, source, max_memory)
    clip_frames = adapter.num_frames
    name = "" if sample is None or sample.name is None else f"video {sample.name}: "
    if num_frames is None:
        num_frames = clip_frames
        if clip_frames == 1:
            num_frames = min(IMAGE_MODEL_FRAMES, source.num_frames)
            if num_frames < IMAGE_MODEL_FRAMES:
                warn(
                    f"{name}it has {counted(num_frames, 'frame')}, fewer than "
                    f"{IMAGE_MODEL_FRAMES}: all are looked at"
                )
    rate = sampling_rate if sampling_rate is not None else adapter.sampling_rate
    follows = "query_mask" in adapter.sample_fields
    try:
        indices = frame_indices(source.num_frames, num_frames, rate, from_first=follows)
        if len(indices) < clip_frames:
            raise InputError(
                f"expected a video of at least {counted(clip_frames, 'frame')}, got {len(indices)}"
            )
    except InputError as error:
        reason = "" if source.cut is None else f" (it seems to be cut off: {source.cut})"
        raise InputError(f"{error}{reason}") from None
    if rate is not None and len(indices) > 1 and indices[1] - indices[0] < rate:
        warn(
            f"{name}{source.num_frames} frames are too few for {len(indices)} with a step of "
            f"{rate}: the step is {indices[1] - indices[0]}"
        )
    return VideoClip(adapter, source, indices, sample)


def _check_memory(adapter: Watcher, source: VideoSource, max_memory: int) -> None:
    """Refuse frames that would take more memory than allowed, before one is decoded."""
    height, width = source.header_size
    frames_held = 1 if frame_by_frame(adapter) else adapter.num_frames
    needed = height * width * (_BYTES_PER_PIXEL + 6 * (frames_held - 1))
    if needed > max(max_memory, _AHEAD_BYTES):
        raise InputError(
            f"reading its frames of {width}x{height} pixels takes about {needed / 1e9:.2f} GB, "
            f"more than max_memory, {max_memory / 1e9:.2f} GB: give more, or a smaller video"
        )
