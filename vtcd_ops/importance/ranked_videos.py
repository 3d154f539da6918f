"""The videos of a ranking: those of the run, found again by their content, or new ones assigned."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from natsort import natsorted

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.keeping import CONCEPTS, TOKENS
from vtcd_ops.discovery.own_samples import own_samples
from vtcd_ops.discovery.records import VideoRecord
from vtcd_ops.discovery.run import Run
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.importance.units import TokenUnits, Units, run_tokens
from vtcd_ops.storage.files import sha256_file
from vtcd_ops.video.clips import VideoClip, choose_clip
from vtcd_ops.video.media_files import visible_entries
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import Sample, Video, as_samples

__all__ = ["RankedVideo", "find_videos"]


@dataclass(frozen=True)
class RankedVideo:
    """A video whose answers are scored.

    Args:
        sample: the video and what is known of it.
        clip: its frames that the model looks at.
        sha256: of its content.
        run: whose concepts are looked for.
        index: its number in the run; None: the run's concepts are assigned to it.
        max_memory: bytes that reading its frames may take.
    """

    sample: Sample
    clip: VideoClip[Adapter]
    sha256: str
    run: Run
    index: int | None
    max_memory: int

    def identity(self) -> dict[str, Any]:
        """What a ranking depends on, as JSON holds it."""
        return {
            "name": self.sample.name,
            "sha256": self.sha256,
            "frame_indices": list(self.clip.indices),
            "label": self.sample.label,
            "text": self.sample.text,
            "query_mask": _fingerprint(self.sample.query_mask),
            "target_masks": _fingerprint(self.sample.target_masks),
            "assigned": self.index is None,
        }

    def grid(self, units: Units) -> tuple[int, int, int]:
        """The token grid of the whole video."""
        if self.index is not None and self.run.kind == "discovery":
            return self.run.tubelets(self.index, units.layers[0], self.run.parts[0]).grid
        return (self.clip.num_steps, *self.clip.adapter.token_grid[1:])

    def tokens(self, units: Units, stored: dict[str, np.ndarray]) -> TokenUnits:
        """Return the unit of every token.

        Args:
            units: the units.
            stored: what :meth:`assigned` gave, for a new video.
        """
        grid = self.grid(units)
        if self.index is not None:
            concepts = run_tokens(self.run, self.index, units.part, grid)
        else:
            concepts = self._read(stored)
        return units.of_tokens(self.clip.adapter, grid, concepts)

    def is_new(self, units: Units) -> bool:
        """Whether the run's concepts are to be looked for; whole heads lie everywhere."""
        return self.index is None and units.kind == "concepts"

    def assigned(self, units: Units) -> dict[str, np.ndarray]:
        """Find the run's concepts in a new video: int16 [A, t*h*w] for each layer."""
        found = self.run.assign(self.sample, self.clip.adapter, max_memory=self.max_memory)
        return {
            f"tokens-{layer:02d}": found.tokens(layer, units.part).astype(np.int16)
            for layer in units.layers
        }

    def _read(self, stored: dict[str, np.ndarray]) -> Callable[[int], dict[int, np.ndarray]]:
        def concepts(layer: int) -> dict[int, np.ndarray]:
            rows = stored[f"tokens-{layer:02d}"].astype(np.int32)
            return dict(zip(self.run.heads, rows, strict=True))

        return concepts


def find_videos(
    run: Run,
    adapter: Adapter,
    samples: Any,
    *,
    classes: Sequence[str] | str | None = None,
    assign: bool = False,
    max_memory: int = 10**9,
    caller: str = "rank",
) -> tuple[list[RankedVideo], list[str] | None]:
    """Return the videos to score, and the classes to average over, if any.

    Args:
        run: the run.
        adapter: the model.
        samples: videos, as for `discover`; None: those of the run, from where they were.
        classes: labels whose videos to take, or "all" labels; None: all videos as one class.
        assign: look for the run's concepts in videos that are not in it.
        max_memory: bytes; videos with frames so large that reading them takes more are refused.
        caller: of whom an error speaks.

    Raises:
        InputError: the run keeps no tokens and they may not be assigned; a video is not in the run,
            or is gone; a class has no video.
    """
    if not assign:
        run.expect_kept(caller, TOKENS, ", or look for them again with assign=True (--assign)")
    known: dict[str, list[VideoRecord]] = {}
    for record in run.videos:
        known.setdefault(record.sha256, []).append(record)
    found = []
    for sample in own_samples("rank", run) if samples is None else as_samples(samples):
        try:
            asked = None if samples is None else assign
            found.append(_find(run, adapter, sample, known, asked, max_memory))
        except InputError as error:
            raise InputError(f"video {sample.name}: {error}") from error
    if classes is None:
        return found, None
    labels = [str(video.sample.label) for video in found if video.sample.label is not None]
    wanted = natsorted(sorted(set(labels))) if classes == "all" else _as_list(classes)
    for label in wanted:
        if label not in labels:
            known_labels = ", ".join(natsorted(set(labels))) or "none"
            raise InputError(f"rank: no video has the class {label!r} (classes: {known_labels})")
    if not wanted:
        raise InputError("rank: classes expected labelled videos, no video has a label")
    return [video for video in found if str(video.sample.label) in wanted], wanted


def _as_list(classes: Sequence[str] | str) -> list[str]:
    return [classes] if isinstance(classes, str) else [str(label) for label in classes]


def _find(
    run: Run,
    adapter: Adapter,
    sample: Sample,
    known: dict[str, list[VideoRecord]],
    assign: bool | None,
    max_memory: int,
) -> RankedVideo:
    """Find one video in the run, or else assign; None: it is one of the run's own."""
    choose = partial(choose_clip, adapter, max_memory=max_memory)
    source = open_video(sample.video)
    sha256 = source.sha256()
    records = known.get(sha256, [])
    for record in records:
        completed = _completed(sample, record)
        clip = choose(source, len(record.frame_indices), sample=completed)
        clip = replace(clip, indices=list(record.frame_indices))
        if run.kind != "discovery" or clip.inputs_sha256() == record.inputs_sha256:
            index = None if run.keep == CONCEPTS else record.index
            return RankedVideo(completed, clip, sha256, run, index, max_memory)
    if records:
        what = f"the run {run.path} saw it with another query mask or other inputs"
    elif assign is None:
        what = f"it is no longer the video that the run {run.path} saw"
    else:
        what = f"it is not in the run {run.path}"
    if assign is None:
        raise InputError(what)
    if not assign:
        raise InputError(
            f"{what}; with assign=True (--assign) the run's concepts are looked for in it"
        )
    if run.kind != "discovery":
        raise InputError(
            f"{what}, whose concepts were made elsewhere, so that they cannot be assigned"
        )
    settings = Settings.from_json(run.settings)
    clip = choose(source, settings.num_frames, settings.sampling_rate, sample)
    return RankedVideo(sample, clip, sha256, run, None, max_memory)


def _completed(sample: Sample, record: VideoRecord) -> Sample:
    """The sample, with what it leaves out from the run's record."""
    missing = {
        field: getattr(record, field)
        for field in ("label", "text", "query_mask", "target_masks")
        if getattr(sample, field) is None
    }
    return replace(sample, **missing)


def _fingerprint(masks: Video | None) -> str | None:
    """A hash of the content of masks, wherever they lie."""
    if masks is None:
        return None
    digest = hashlib.sha256()
    if isinstance(masks, np.ndarray):
        digest.update(f"{masks.dtype} {masks.shape}".encode())
        digest.update(np.ascontiguousarray(masks).data)
    else:
        path = Path(masks)
        for file in filter(Path.is_file, visible_entries(path)) if path.is_dir() else [path]:
            digest.update(sha256_file(file).encode())
    return digest.hexdigest()
