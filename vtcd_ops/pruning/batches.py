"""Labelled clips in batches, to train a model with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.memory import parse_bytes
from vtcd_ops.video.clips import VideoClip, choose_clip
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import Sample, as_samples

__all__ = ["ClipBatch", "ClipBatches"]


@dataclass(frozen=True)
class ClipBatch:
    """Some clips, as a model takes them.

    Attributes:
        clips: [B, T, 3, H', W'].
        labels: class of each, int64 [B]; None where videos have no labels.
        inputs: what else the model's forward takes, with a batch axis.
    """

    clips: Tensor
    labels: Tensor | None
    inputs: dict[str, Tensor]


class ClipBatches:
    """Batches of the clips of some videos, in another order each time, as a `DataLoader`'s are.

    The order is drawn from torch's global generator when a pass begins. A video longer than a clip
    gives a clip for each of its windows. Clips are kept in memory as long as they fit.

    Args:
        adapter: the model.
        samples: videos, see :func:`vtcd_ops.video.samples.as_samples`; labels are class indices or
            names, of all of them or of none.
        batch_size: clips of a batch; the last one of a pass may have fewer.
        max_memory: bytes of clips to keep.

    Raises:
        InputError: no video, a label that is none of the model's classes, or videos with and
            without a label.
    """

    def __init__(
        self, adapter: Adapter, samples: Any, batch_size: int = 8, max_memory: int | str = "1GB"
    ) -> None:
        self._adapter = adapter
        self._batch_size = batch_size
        self._memory = parse_bytes(max_memory)
        self._kept: dict[int, tuple[Tensor, dict[str, Tensor]]] = {}
        self._places: list[tuple[VideoClip[Adapter], int]] = []
        labels = []
        for sample in as_samples(samples):
            clip = choose_clip(adapter, open_video(sample.video), sample=sample)
            for window in range(len(clip.windows)):
                self._places.append((clip, window))
                labels.append(_class_of(adapter, sample))
        if not self._places:
            raise InputError("finetune: samples expected at least one video, got none")
        if None in labels and any(label is not None for label in labels):
            raise InputError("finetune: samples expected a label for every video, or for none")
        self._labels = None if None in labels else torch.tensor(labels)

    def __len__(self) -> int:
        return -(-len(self._places) // self._batch_size)

    def __iter__(self) -> Iterator[ClipBatch]:
        for rows in torch.randperm(len(self._places)).split(self._batch_size):
            items = [self._item(row) for row in rows.tolist()]
            names = items[0][1]
            yield ClipBatch(
                torch.stack([clip for clip, _ in items]),
                None if self._labels is None else self._labels[rows],
                {name: torch.stack([inputs[name] for _, inputs in items]) for name in names},
            )

    def _item(self, row: int) -> tuple[Tensor, dict[str, Tensor]]:
        """A clip, and what the model needs beside it."""
        if row in self._kept:
            return self._kept[row]
        clip, number = self._places[row]
        frames = next(one for place, one in enumerate(clip.clips()) if place == number)
        item = frames, clip.inputs(clip.windows[number])
        if (len(self._kept) + 1) * frames.nbytes <= self._memory:
            self._kept[row] = item
        return item


def _class_of(adapter: Adapter, sample: Sample) -> int | None:
    """The class that a label names."""
    names = getattr(adapter, "class_names", None) or ()
    if sample.label is None:
        return None
    if str(sample.label) in names:
        return list(names).index(str(sample.label))
    if str(sample.label).isdecimal() and (not names or int(sample.label) < len(names)):
        return int(sample.label)
    known = ", ".join(names[:20]) or "the numbers of classes"
    raise InputError(f"finetune: label expected one of {known}, got {sample.label!r}")
