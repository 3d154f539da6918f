"""Samples: the videos that a run looks at, and what is known about them.

A sample is a :class:`Sample`, a video file, a folder of frames, a uint8 array [T, H, W, 3], or a
row of a manifest (CSV or JSON lines whose columns are the fields of :class:`Sample`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vtcd_ops.common.errors import InputError
from vtcd_ops.video.manifest import MANIFEST_SUFFIXES, read_manifest
from vtcd_ops.video.media_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from vtcd_ops.video.sample import FIELDS, Sample, Video
from vtcd_ops.video.sample_folders import samples_of_folder

__all__ = ["Sample", "Video", "as_samples", "read_manifest"]

_SUFFIXES = (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES, *MANIFEST_SUFFIXES)

#: Called with the name of what cannot be used, and why.
OnBad = Callable[[str, InputError], None]


def as_samples(samples: Any, on_bad: OnBad | None = None) -> Iterator[Sample]:
    """Yield a :class:`Sample` for everything that :func:`vtcd_ops.discover` accepts as samples.

    >>> import numpy as np
    >>> clip = np.zeros((16, 32, 32, 3), dtype=np.uint8)
    >>> [sample.name for sample in as_samples([clip, Sample(clip, name="mine")])]
    ['video_0', 'mine']

    Args:
        samples: one sample or an iterable of them (a DataLoader, say). An item may be a
            :class:`Sample`, a path (video file, folder of frames, folder of videos, folder of
            either, manifest), a uint8 array or tensor [T, H, W, 3], a pair (video, label), a
            mapping of the fields of a sample, or a batch of any of these: arrays [B, T, H, W, 3],
            or a list of paths, with a list of labels.
        on_bad: called for each item that cannot be used, which is then left out; by default the
            error is raised.

    Raises:
        InputError: an item is none of these, there is no item at all, or a file does not exist. Of
            a list, before the first sample; of an iterator, when the item's turn comes.
    """
    items: Iterable[Any] = [samples] if is_one(samples) else samples
    if not isinstance(items, Iterable):
        raise InputError(f"samples expected videos, got {type(samples).__name__}")
    found: Iterable[Sample] = _usable(items, on_bad)
    if isinstance(items, list | tuple):  # not an iterator: what is wrong shows before hours of work
        found = list(found)
    names: set[str] = set()
    index = -1
    for index, sample in enumerate(found):
        yield _named(sample, index, names)
    if index < 0:
        raise InputError("samples expected at least one video, got none")


def is_one(samples: Any) -> bool:
    """Whether samples are one item, not an iterable of them."""
    return isinstance(samples, str | Path | Sample | np.ndarray | torch.Tensor | Mapping)


def _usable(items: Iterable[Any], on_bad: OnBad | None) -> Iterator[Sample]:
    """The samples of all items whose files exist."""
    for item in items:
        try:
            found = list(_samples_of_item(item))
        except InputError as error:
            if on_bad is None:
                raise
            on_bad(str(item) if isinstance(item, str | Path) else type(item).__name__, error)
            continue
        for sample in found:
            try:
                _check_exists(sample)
            except InputError as error:
                if on_bad is None:
                    raise
                on_bad(_name_of(sample) or "a video", error)
            else:
                yield sample


def _check_exists(sample: Sample) -> None:
    if sample.video is None:
        raise InputError(
            f"video {sample.name} was an array in memory, which a manifest cannot bring back: "
            "give the array itself"
        )
    for path in (sample.video, sample.query_mask, sample.target_masks):
        if isinstance(path, str | Path) and not _exists(Path(path)):
            raise InputError(f"{path} does not exist")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or holds a null byte
        return False


def _named(sample: Sample, index: int, names: set[str]) -> Sample:
    """Give the sample a name that no sample before it has."""
    base = _name_of(sample) or f"video_{index}"
    name, count = base, 1
    while name in names:
        count += 1
        name = f"{base} ({count})"
    names.add(name)
    return replace(sample, name=name)


def _name_of(sample: Sample) -> str | None:
    if sample.name is not None or not isinstance(sample.video, str | Path):
        return sample.name
    path = Path(sample.video)
    # DAVIS and others keep the frames of a sequence in SEQUENCE/frames
    return path.parent.name if path.name in ("frames", "images") else path.stem


def _samples_of_item(item: Any) -> Iterator[Sample]:
    if isinstance(item, Sample):
        yield item
    elif isinstance(item, str | Path):
        yield from _samples_of_path(Path(item))
    elif isinstance(item, np.ndarray | torch.Tensor):
        yield from _of_fields({"video": item})
    elif isinstance(item, Mapping):
        unknown = [str(key) for key in item if key not in FIELDS]
        if unknown or "video" not in item:
            raise InputError(
                f"samples expected the fields {', '.join(FIELDS)}, got {', '.join(map(str, item))}"
            )
        yield from _of_fields(item)
    elif (
        isinstance(item, tuple | list) and item and all(map(_is_video, item)) and _all_videos(item)
    ):
        for video in item:
            yield from _of_fields({"video": video})
    elif isinstance(item, tuple | list) and len(item) == 2:
        yield from _of_fields({"video": item[0], "label": item[1]})
    else:
        raise InputError(f"samples expected videos, got an item of type {type(item).__name__}")


def _is_video(value: Any) -> bool:
    return isinstance(value, str | Path) or (
        isinstance(value, np.ndarray | torch.Tensor) and value.ndim >= 4
    )


def _all_videos(item: Sequence[Any]) -> bool:
    """Whether two paths are a batch of a DataLoader, and not a video with its label."""
    if len(item) != 2 or not isinstance(item[1], str):
        return True
    named_so = Path(item[1]).suffix.lower() in _SUFFIXES
    # A folder of frames has no suffix. A pair is a tuple by custom, a DataLoader's batch a list
    return named_so or (isinstance(item, list) and _exists(Path(item[1])))


def _of_fields(values: Mapping[str, Any]) -> Iterator[Sample]:
    """One video with what is known of it, or a batch of videos with a list of that each."""
    video = values["video"]
    if not _is_batch(video):
        yield from _of_one(values)
        return
    columns: dict[str, Sequence[Any]] = {}
    for field, column in values.items():
        if column is None:
            continue
        if isinstance(column, str) or not hasattr(column, "__len__") or np.ndim(column) == 0:
            raise InputError(f"samples expected a list of {field}s for a batch, got {column!r:.80}")
        if len(column) != len(video):
            raise InputError(
                f"samples expected {len(video)} {field}s in a batch, got {len(column)}"
            )
        columns[field] = column
    for row in range(len(video)):
        yield from _of_one({field: column[row] for field, column in columns.items()})


def _is_batch(video: Any) -> bool:
    if isinstance(video, list | tuple):
        return len(video) > 0 and all(map(_is_video, video))
    return isinstance(video, np.ndarray | torch.Tensor) and video.ndim == 5


def _of_one(values: Mapping[str, Any]) -> Iterator[Sample]:
    video = values["video"]
    known = {key: value for key, value in values.items() if key != "video" and value is not None}
    if isinstance(video, str | Path):
        for sample in _samples_of_path(Path(video)):
            yield replace(sample, **known)
        return
    array = np.asarray(video)  # [T, H, W, 3]
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3:
        raise InputError(
            "samples expected videos as uint8 [T, H, W, 3] or [B, T, H, W, 3], "
            f"got {array.dtype} {list(array.shape)}"
        )
    yield Sample(array, **known)


def _samples_of_path(path: Path) -> Iterator[Sample]:
    """A file is a video or a manifest; a folder holds the frames of one video, or videos."""
    if not _exists(path):
        raise InputError(f"{path} does not exist")
    if path.is_dir():
        yield from samples_of_folder(path)
    elif path.suffix.lower() in MANIFEST_SUFFIXES:
        yield from read_manifest(path)
    else:
        yield Sample(str(path))
