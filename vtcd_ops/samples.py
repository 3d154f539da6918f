"""Samples: the videos that a run looks at, and what is known about them.

A sample is a :class:`Sample`, a video file, a folder of frames, a uint8 array [T, H, W, 3], or a
row of a manifest (CSV or JSON lines whose columns are the fields of :class:`Sample`).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vtcd_ops._documents import parse_json
from vtcd_ops.errors import InputError

VIDEO_SUFFIXES = (".mp4", ".webm", ".mkv", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".gif", ".ogv")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MANIFEST_SUFFIXES = (".csv", ".jsonl")

Video = str | Path | np.ndarray


@dataclass(frozen=True)
class Sample:
    """One video and what is known about it.

    >>> import numpy as np
    >>> Sample(np.zeros((16, 32, 32, 3), dtype=np.uint8), label="black").name is None
    True

    Args:
        video: a video file, a folder of frames, or a uint8 array [T, H, W, 3].
        label: class of the video, a name or a number.
        text: sentence that belongs to the video (video-text models).
        query_mask: mask of the object to follow in the first frame (trackers).
        target_masks: true masks of an object (segmentation).
        name: how reports call the video; the file's name by default.
    """

    video: Video
    label: str | int | None = None
    text: str | None = None
    query_mask: Video | None = None
    target_masks: Video | None = None
    name: str | None = None


_COLUMNS = tuple(field.name for field in fields(Sample))


def read_manifest(path: str | Path) -> list[Sample]:
    """Return the samples of a manifest: CSV with a header line, or one JSON object a line.

    >>> import pathlib, tempfile
    >>> manifest = pathlib.Path(tempfile.mkdtemp()) / "videos.csv"
    >>> _ = manifest.write_text("video,label\\na.mp4,running\\n")
    >>> [sample] = read_manifest(manifest)
    >>> sample.label, pathlib.Path(sample.video).name
    ('running', 'a.mp4')

    Args:
        path: the manifest. Its columns are the fields of :class:`Sample`, ``video`` is required;
            relative paths start at the manifest's folder.

    Raises:
        InputError: it cannot be read, is empty, or has no or other columns.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        rows = (
            _json_rows(text) if path.suffix == ".jsonl" else list(csv.DictReader(text.splitlines()))
        )
    except FileNotFoundError:
        raise InputError(f"manifest {path} does not exist") from None
    except (ValueError, csv.Error) as error:
        raise InputError(f"manifest {path} cannot be read: {error}") from error
    if not rows:
        raise InputError(f"manifest {path} lists no video")
    return [_sample_of_row(path, number, row) for number, row in enumerate(rows, start=1)]


def _json_rows(text: str) -> list[dict[str, Any]]:
    return [parse_json(line) for line in text.splitlines() if line.strip()]


def _sample_of_row(path: Path, number: int, row: Any) -> Sample:
    if not isinstance(row, dict):
        raise InputError(f"manifest {path}, row {number}: expected a JSON object, got {row!r}")
    values = {key: value for key, value in row.items() if value not in (None, "")}
    unknown = sorted(str(key) for key in row if key not in _COLUMNS)
    if unknown:
        raise InputError(
            f"manifest {path}: expected the columns {', '.join(_COLUMNS)}, got {', '.join(unknown)}"
        )
    if "video" not in values:
        raise InputError(f"manifest {path}, row {number}: the column video is missing or empty")
    for key in ("video", "query_mask", "target_masks"):
        if key in values:
            values[key] = str(path.parent / str(values[key]))
    return Sample(**values)


def as_samples(samples: Any) -> Iterator[Sample]:
    """Yield a :class:`Sample` for everything that :func:`vtcd_ops.discover` accepts as samples.

    >>> import numpy as np
    >>> clip = np.zeros((16, 32, 32, 3), dtype=np.uint8)
    >>> [sample.name for sample in as_samples([clip, Sample(clip, name="mine")])]
    ['video_0', 'mine']

    Args:
        samples: one sample or an iterable of them (a DataLoader, say). An item may be a
            :class:`Sample`, a path (video file, folder of frames, folder of videos, manifest), a
            uint8 array or tensor [T, H, W, 3], a batch of them [B, T, H, W, 3], or a pair (video,
            label) of any of these.

    Raises:
        InputError: an item is none of these, there is no item at all, or a file does not exist. Of
            a list, before the first sample; of an iterator, when the item's turn comes.
    """
    items: Iterable[Any] = [samples] if _is_one(samples) else samples
    if not isinstance(items, Iterable):
        raise InputError(f"samples expected videos, got {type(samples).__name__}")
    found: Iterable[Sample] = (sample for item in items for sample in _samples_of_item(item))
    if isinstance(items, list | tuple):  # not an iterator: what is wrong shows before hours of work
        found = list(found)
        for sample in found:
            _check_exists(sample.video)
    names: dict[str, int] = {}
    index = -1
    for index, sample in enumerate(found):
        yield _named(sample, index, names)
    if index < 0:
        raise InputError("samples expected at least one video, got none")


def _check_exists(video: Video) -> None:
    if not isinstance(video, np.ndarray) and not Path(video).exists():
        raise InputError(f"{video} does not exist")


def _is_one(samples: Any) -> bool:
    return isinstance(samples, str | Path | Sample | np.ndarray | torch.Tensor)


def _named(sample: Sample, index: int, names: dict[str, int]) -> Sample:
    """Give the sample a name that no sample before it has."""
    name = sample.name
    if name is None:
        video = sample.video
        name = f"video_{index}" if isinstance(video, np.ndarray) else _name_of_path(Path(video))
    names[name] = names.get(name, 0) + 1
    if names[name] > 1:
        name = f"{name} ({names[name]})"
    return Sample(**{**{key: getattr(sample, key) for key in _COLUMNS}, "name": name})


def _name_of_path(path: Path) -> str:
    # DAVIS and others keep the frames of a sequence in SEQUENCE/frames
    return path.parent.name if path.name in ("frames", "images") else path.stem


def _samples_of_item(item: Any) -> Iterator[Sample]:
    if isinstance(item, Sample):
        yield item
    elif isinstance(item, str | Path):
        yield from _samples_of_path(Path(item))
    elif (
        isinstance(item, tuple | list) and len(item) == 2 and not isinstance(item[0], tuple | list)
    ):
        yield from _labelled(item[0], item[1])
    elif isinstance(item, np.ndarray | torch.Tensor):
        yield from _labelled(item, None)
    else:
        raise InputError(f"samples expected videos, got an item of type {type(item).__name__}")


def _samples_of_path(path: Path) -> Iterator[Sample]:
    """A file is a video or a manifest; a folder holds the frames of one video, or videos."""
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_file():
        yield from read_manifest(path) if path.suffix in MANIFEST_SUFFIXES else [Sample(str(path))]
        return
    suffixes = {entry.suffix.lower() for entry in path.iterdir() if entry.is_file()}
    if suffixes & set(IMAGE_SUFFIXES):
        yield Sample(str(path))
    elif suffixes & set(VIDEO_SUFFIXES):
        videos = (entry for entry in path.iterdir() if entry.suffix.lower() in VIDEO_SUFFIXES)
        yield from (Sample(str(entry)) for entry in sorted(videos))
    else:
        raise InputError(f"the folder {path} holds neither frames nor videos")


def _labelled(video: Any, label: Any) -> Iterator[Sample]:
    """One video with its label, or a batch of videos with a label each."""
    if isinstance(video, str | Path):
        yield from (Sample(s.video, label=_plain(label)) for s in _samples_of_path(Path(video)))
        return
    array = np.asarray(video)  # [T, H, W, 3] or [B, T, H, W, 3]
    if array.dtype != np.uint8 or array.ndim not in (4, 5) or array.shape[-1] != 3:
        raise InputError(
            "samples expected videos as uint8 [T, H, W, 3] or [B, T, H, W, 3], "
            f"got {array.dtype} {list(array.shape)}"
        )
    if array.ndim == 4:
        yield Sample(array, label=_plain(label))
        return
    labels = [None] * len(array) if label is None else list(label)
    if len(labels) != len(array):
        raise InputError(f"samples expected {len(array)} labels in a batch, got {len(labels)}")
    for one, its_label in zip(array, labels, strict=True):
        yield Sample(one, label=_plain(its_label))


def _plain(label: Any) -> str | int | None:
    """A label as JSON can hold it."""
    if label is None or isinstance(label, str | int):
        return label
    number = int(label)
    if number != label:
        raise InputError(f"samples expected labels that are names or whole numbers, got {label!r}")
    return number
