"""Segment one video, or all of a folder of videos with masks: the command around `segment`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vtcd_ops.adapters import weights_sha256
from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.placement import load_on
from vtcd_ops.commands.segment import (
    expect_place,
    heads_as_json,
    parse_part_heads,
    write_masks,
    write_overlay,
)
from vtcd_ops.common.errors import InputError, counted
from vtcd_ops.segmentation.choose_heads import choose_heads
from vtcd_ops.segmentation.head_features import Head
from vtcd_ops.segmentation.labelled_videos import (
    LabelledVideo,
    find_labelled_videos,
    holds_labelled_videos,
)
from vtcd_ops.segmentation.sam import sam_refiner
from vtcd_ops.segmentation.segment import Segmentation, segment
from vtcd_ops.storage.documents import parse_json
from vtcd_ops.storage.files import naming, sha256_file, write_atomic
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import Sample
from vtcd_ops.vos_metrics import Evaluation, evaluate

__all__ = ["SegmentedVideos", "segment_videos"]

_SETTINGS, _HEADS, _SCORES = "settings.json", "heads.json", "scores.csv"


@dataclass
class SegmentedVideos:
    """What was written.

    Args:
        out: the folder.
        lines: a sentence on each video.
        scores: of all videos, where every frame has a true mask.
    """

    out: Path
    lines: list[str] = field(default_factory=list)
    scores: Evaluation | None = None


def segment_videos(
    model: Adapter | str | Path,
    video: Path,
    *,
    out: Path,
    first_mask: Path | None = None,
    split: str | None = None,
    sequences: Sequence[str] | None = None,
    train_split: str | None = None,
    heads: Sequence[Head] | None = None,
    num_heads: int = 8,
    mode: str = "better",
    sam: str | None = None,
    rule: str | None = None,
    overlay: bool = False,
    num_concepts: int = 32,
    tokens_per_tubelet: int = 16,
    memory: float = 1.0,
    n_segments: int = 12,
    compactness: float = 0.1,
    batch_size: int = 1,
    seed: int = 0,
    device: str = "auto",
    overwrite: bool = False,
) -> SegmentedVideos:
    """Follow objects from a mask of the first frame: in one video, or in all of a data set.

    Args:
        model: as of :func:`vtcd_ops.segment`.
        video: a video file, a folder of frames, or a folder of videos with masks: DAVIS 2016 or
            2017, YouTube-VOS, or VIDEO/frames with VIDEO/masks.
        out: the folder of the masks: PNGs with a palette and the names of the frames, as DAVIS has
            them; of a data set one folder a video, and what is finished there is kept.
        first_mask: of a single video: the image of its first mask.
        split: the videos of this list of DAVIS, such as val.
        sequences: these videos only.
        train_split: a list of DAVIS, such as train, on whose videos heads are chosen.
        heads: as part:layer:head with commas between, or a .json file of such; None: chosen on the
            training videos, else all of the last layers.
        num_heads: how many are chosen on the training videos.
        mode: as of :func:`vtcd_ops.segment`.
        sam: folder or name of a SAM of transformers that refines the masks.
        rule: how masks are scored: davis16, davis17 or paper; None: as the truth's labels tell.
        overlay: also write an .mp4 of each video with its objects tinted.
        num_concepts: as of :func:`vtcd_ops.segment`.
        tokens_per_tubelet: as of :func:`vtcd_ops.segment`.
        memory: as of :func:`vtcd_ops.segment`.
        n_segments: as of :func:`vtcd_ops.segment`.
        compactness: as of :func:`vtcd_ops.segment`.
        batch_size: as of :func:`vtcd_ops.segment`.
        seed: as of :func:`vtcd_ops.segment`.
        device: as of :func:`vtcd_ops.segment`.
        overwrite: replace masks that are in the folder.

    Raises:
        InputError: what :func:`vtcd_ops.segment` raises, videos or masks that are missing, or
            masks of other settings in the folder.
    """
    if train_split is not None and heads is not None:
        raise InputError("segment: expected either train_split or heads, got both")
    settings: dict[str, Any] = {
        "mode": mode, "num_concepts": num_concepts, "tokens_per_tubelet": tokens_per_tubelet,
        "memory": memory, "n_segments": n_segments, "compactness": compactness, "seed": seed,
    }  # fmt: skip
    running = {"batch_size": batch_size, "device": device}
    refine = None if sam is None else sam_refiner(sam, device=device)
    if first_mask is not None or not holds_labelled_videos(video):
        for name, given in (("split", split), ("train_split", train_split)):
            if given is not None:
                raise InputError(f"segment: {name} expected with a folder of DAVIS, got {video}")
        return _one(model, video, first_mask, out, overlay, overwrite,
                    {**settings, **running, "heads": heads, "refine": refine})  # fmt: skip
    videos = find_labelled_videos(video, split, sequences)
    adapter = load_on("segment", model, device)
    with naming(out):
        out.mkdir(parents=True, exist_ok=True)
    identity = {
        **settings, "model": adapter.name, "weights": weights_sha256(adapter.model), "sam": sam,
        "heads": heads if train_split is None else f"{num_heads} of {train_split}",
        "format": 1,
    }  # fmt: skip
    _expect_settings(out, json.loads(json.dumps(identity)), overwrite)
    if train_split is not None:
        heads = _chosen(adapter, video, train_split, num_heads, out, {**running, "seed": seed})
    made = SegmentedVideos(out)
    for one in tqdm(videos, "segment"):
        call = {**settings, **running, "heads": heads, "refine": refine}
        made.lines.append(_of_data_set(adapter, one, out, overlay, call))
    if all(one.has_all_masks for one in videos):
        made.scores = _scores(out, video, videos, rule)
    return made


def _one(
    model: Adapter | str | Path, video: Path, first_mask: Path | None, out: Path, overlay: bool,
    overwrite: bool, call: dict[str, Any],
) -> SegmentedVideos:  # fmt: skip
    """Segment a single video."""
    if first_mask is None:
        raise InputError(
            f"segment: first_mask expected with a single video, got none; {video} is no folder of "
            "videos with masks"
        )
    expect_place(out, overwrite)
    found = segment(model, video, first_mask, **call)
    write_masks(found, out)
    if overlay:
        write_overlay(out.with_name(f"{out.name}.mp4"), open_video(video), found.labels.numpy())
    return SegmentedVideos(out, [_line(str(out), found)])


def _line(name: str, found: Segmentation) -> str:
    num_seen = int(found.masks.any(dim=(1, 2)).sum())
    return f"{name}: {counted(len(found.masks), 'mask')}, an object in {num_seen} of them"


def _expect_settings(out: Path, identity: dict[str, Any], overwrite: bool) -> None:
    """Raise where the folder holds masks of other settings; say whose masks it will hold."""
    path = out / _SETTINGS
    if path.is_file() and not overwrite:
        try:
            before = parse_json(path.read_bytes())
            if not isinstance(before, dict):
                raise ValueError("expected a JSON object")
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}; --overwrite begins anew") from error
        differing = [key for key in identity if before.get(key) != identity[key]]
        if differing:
            raise InputError(
                f"segment: {out} holds masks of other settings ({', '.join(differing)}): give "
                "another folder, or --overwrite"
            )
        return
    for done in out.glob("*.json"):
        done.unlink()
    write_atomic(path, (json.dumps(identity, indent=1) + "\n").encode())


def _chosen(
    adapter: Adapter, folder: Path, split: str, number: int, out: Path, call: dict[str, Any]
) -> list[Head]:
    """The heads that fit the objects of the training videos best, chosen once for a folder."""
    if (out / _HEADS).is_file():
        return parse_part_heads(str(out / _HEADS))
    training = find_labelled_videos(folder, split)
    samples = [Sample(str(one.frames), target_masks=str(one.masks)) for one in training]
    heads = choose_heads(adapter, samples, num_heads=number, **call)
    write_atomic(out / _HEADS, heads_as_json(heads))
    return heads


def _of_data_set(
    adapter: Adapter, one: LabelledVideo, out: Path, overlay: bool, call: dict[str, Any]
) -> str:
    """Segment a video of a data set, unless that was done; a sentence on it."""
    first, done = one.first_mask(), out / f"{one.name}.json"
    source = {"first_mask": sha256_file(first), "frames": one.frame_names}
    masks = [out / one.name / f"{name}.png" for name in one.frame_names]
    if done.is_file():
        known = _object_in(done)
        is_shown = not overlay or (out / f"{one.name}.mp4").is_file()
        there = is_shown and known.get("source") == source and all(p.is_file() for p in masks)
        if there and known.get("masks") == [sha256_file(path) for path in masks]:
            return f"{one.name}: there already"
    found = segment(adapter, one.frames, first, **call)
    write_masks(found, out / one.name, one.frame_names)
    if overlay:
        write_overlay(out / f"{one.name}.mp4", open_video(one.frames), found.labels.numpy())
    record = {
        "source": source,
        "masks": [sha256_file(path) for path in masks],
        "heads": found.heads,
        "concepts": [[*one.head, one.concept, round(one.overlap, 6)] for one in found.concepts],
    }
    write_atomic(done, (json.dumps(record) + "\n").encode())
    return _line(one.name, found)


def _object_in(path: Path) -> dict[str, Any]:
    """What a file holds as a JSON object; nothing where it is damaged: it is made again."""
    with naming(path, "read"):
        content = path.read_bytes()
    try:
        found = parse_json(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _scores(
    out: Path, truth: Path, videos: list[LabelledVideo], rule: str | None
) -> Evaluation | None:
    """Score all videos by their true masks, and write the table."""
    scores = evaluate(out, truth, rule, sequences=[one.name for one in videos])
    scores.write_csv(out / _SCORES)
    return scores
