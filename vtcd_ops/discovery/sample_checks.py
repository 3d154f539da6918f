"""Look all samples through before hours of work begin, and leave out bad ones where asked to."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.common.errors import InputError, InputWarning, warn
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.video.clips import VideoClip, choose_clip
from vtcd_ops.video.readers import VideoSource, open_video, open_video_quickly
from vtcd_ops.video.samples import Sample, as_samples, is_one


@dataclass(frozen=True)
class ClipChoice:
    """How a discovery chooses what the model looks at in a video."""

    adapter: Adapter
    settings: Settings
    max_memory: int

    def __call__(self, sample: Sample, source: VideoSource) -> VideoClip[Adapter]:
        """Choose the frames of one video."""
        return choose_clip(
            self.adapter,
            source,
            self.settings.num_frames,
            self.settings.sampling_rate,
            sample,
            max_memory=self.max_memory,
        )


def check_samples(samples: Any, choose: ClipChoice, *, skip_bad: bool = False) -> Any:
    """Return the samples, as :func:`as_samples` takes them, once they were looked at.

    A list, a path or an array is looked through now: fields, files, numbers of frames by what the
    containers list (nothing is decoded), masks. An iterator or a DataLoader can only be looked at
    in its turns.

    Args:
        samples: videos.
        choose: how a clip is chosen from them.
        skip_bad: decode what the model will see of every video, and leave out what cannot be, with
            a warning for each.

    Raises:
        InputError: a sample cannot be used, and bad ones are not left out.
    """
    if skip_bad:
        kept = _GoodSamples(samples, choose)
        if isinstance(samples, Iterator):
            return iter(kept)
        return list(kept) if _at_hand(samples) else kept
    if not _at_hand(samples):
        return samples
    found = list(as_samples(samples))
    for sample in found:
        with naming(sample):
            _check(sample, choose)
    return found


def _at_hand(samples: Any) -> bool:
    return is_one(samples) or isinstance(samples, list | tuple)


@contextmanager
def naming(sample: Sample) -> Iterator[None]:
    """Name the video in what is said about it."""
    try:
        yield
    except ValueError as error:
        raise InputError(f"video {sample.name}: {error}") from error


def _check(sample: Sample, choose: ClipChoice) -> None:
    """Find what is wrong with a sample without decoding it, unless something seems wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)
            choose(sample, open_video_quickly(sample.video)).inputs_sha256()
    except InputError:  # packets are not quite frames: only what holds for those counts
        choose(sample, open_video(sample.video)).inputs_sha256()


@dataclass
class _GoodSamples:
    """The samples that can be used; of each other one a warning, once."""

    samples: Any
    choose: ClipChoice
    told: set[str] = field(default_factory=set)

    def __iter__(self) -> Iterator[Sample]:
        for sample in as_samples(self.samples, self._tell):
            try:
                clip = self.choose(sample, open_video(sample.video))
                clip.inputs_sha256()
                for _ in clip.source.frames(clip.indices):
                    pass
            except ValueError as error:
                self._tell(str(sample.name), error)
            else:
                yield sample

    def _tell(self, name: str, error: ValueError) -> None:
        if name not in self.told:
            self.told.add(name)
            warn(f"left out {name}: {error}")
