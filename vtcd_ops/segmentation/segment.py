"""Follow objects through a video, from a mask of its first frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.adapters.adapter import Adapter
from vtcd_ops.adapters.placement import load_on
from vtcd_ops.common.errors import InputError, counted
from vtcd_ops.common.settings import expect, expect_count, expect_one_of, is_real
from vtcd_ops.common.tabular import Row, Tabular
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.segmentation.concept_supports import concept_supports, expect_settings, overlaps
from vtcd_ops.segmentation.first_mask import FirstMask, read_objects
from vtcd_ops.segmentation.head_features import (
    Head,
    check_heads,
    head_features,
    last_keys,
    whole_video,
)
from vtcd_ops.segmentation.log_odds import (
    TokenConcepts,
    best_threshold,
    followed_scores,
    token_scores,
)
from vtcd_ops.segmentation.refinement import Refine, refine_labels
from vtcd_ops.segmentation.view import View, coverage, scores_at_frame
from vtcd_ops.video.clips import VideoClip
from vtcd_ops.video.readers import VideoSource, open_video
from vtcd_ops.video.samples import Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MODES = ("better", "paper")
_PIXELS = 1 << 23  # whose scores are in memory together


@dataclass(frozen=True)
class ChosenConcept:
    """The concept that stands for an object in paper mode.

    Args:
        head: (part, layer, head).
        concept: its number in the head.
        overlap: IoU of its support and the object in the first frame.
    """

    head: Head
    concept: int
    overlap: float


@dataclass(frozen=True, repr=False, eq=False)
class Segmentation(Tabular):
    """Objects of a video. Iterated over, it is a row for each object.

    Args:
        labels: int32 [T, H, W], the number that each pixel's object has in the first mask, 0 for
            none. The first frame is what was found, not the mask that was given.
        heads: what was looked at, (part, layer, head) each.
        scores: of mode "better", float32 [objects, t, h, w]: each token's log-odds to be the
            object, less the threshold found on the first frame; objects by ascending number.
        concepts: of mode "paper", the concept of each object, by ascending number.
    """

    labels: Tensor
    heads: tuple[Head, ...]
    scores: Tensor | None = None
    concepts: tuple[ChosenConcept, ...] = ()

    def __repr__(self) -> str:
        frames, height, width = self.labels.shape
        return (
            f"Segmentation({counted(len(self), 'object')} in {counted(frames, 'frame')} of "
            f"{height}x{width}, {counted(len(self.heads), 'head')})"
        )

    def _rows(self) -> list[Row]:
        rows = []
        for number in self.labels.unique().tolist():
            area = (self.labels == number).double().mean(dim=(1, 2))
            if number:
                rows.append(
                    {
                        "object": number,
                        "frames": int((area > 0).sum()),
                        "first_frame": int((area > 0).nonzero()[0]),
                        "mean_area": float(area.mean()),
                    }
                )
        return rows

    def _draw(self, ax: Axes) -> None:
        for row in self:
            area = (self.labels == row["object"]).double().mean(dim=(1, 2))
            ax.plot(100 * area.cpu().numpy(), label=f"object {row['object']}")
        ax.set(xlabel="frame", ylabel="area, % of the frame", ylim=(0, None))
        ax.legend()

    @property
    def masks(self) -> Tensor:
        """Where any object is, bool [T, H, W]."""
        return self.labels > 0


def segment(
    model: Adapter | str | Path,
    video: Any,
    first_mask: FirstMask,
    *,
    heads: Sequence[Head] | None = None,
    mode: str = "better",
    refine: Refine | None = None,
    num_concepts: int = 32,
    tokens_per_tubelet: int = 16,
    memory: float = 1.0,
    n_segments: int = 12,
    compactness: float = 0.1,
    batch_size: int = 1,
    seed: int = 0,
    device: str = "auto",
) -> Segmentation:
    """Segment objects in every frame of a video, from a mask of the first frame and concepts alone.

    The model sees all frames in windows of its clip length that do not overlap; the features of
    each head are joined in time. Nothing is trained.

    >>> import numpy as np
    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> video = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3)).astype(np.uint8)
    >>> mask = np.zeros((32, 32), dtype=bool)
    >>> mask[8:24, 8:24] = True
    >>> vtcd_ops.segment(example_adapter(), video, mask).masks.shape
    torch.Size([6, 32, 32])

    Args:
        model: an adapter, or what :func:`vtcd_ops.load_model` takes.
        video: a video file, a folder of frames, or uint8 [T, H, W, 3].
        first_mask: where the object is in the first frame: an image, or [H, W] of the video's size;
            numbers 1, 2, ... are several objects.
        heads: (part, layer, head) each, as :func:`vtcd_ops.choose_heads` gives them (to a command
            as keys:10:0,keys:11:3); None: the keys of all heads of the last two layers, or, of mode
            "paper", of the last.
        mode: "better": each token has a concept in every head, each concept log-odds to be the
            object by the first frame; their mean over all heads is interpolated to pixels and cut
            where that agrees best with the first mask. "paper": the one concept of any head that
            overlaps the first mask most, as the tubelets that it is made of.
        refine: called as refine(frame, box, points) for every mask that is not empty, with uint8
            [H, W, 3], a box (x0, y0, x1, y1) and points (x, y): the centroid and two drawn around
            it. Of the masks bool [M, H, W] that it returns the one that overlaps most is taken.
        num_concepts: of a head, in mode "better"; mode "paper" chooses by the elbow.
        tokens_per_tubelet: of the fine tubelets of mode "better", of which a video has at most
            2048.
        memory: in mode "better": a concept of fewer tokens in the first frame than this share of
            a concept's mean is told by the frames before the present one too; 0: by the first
            frame alone.
        n_segments: tubelets of a video in mode "paper".
        compactness: weight of space and time against features in SLIC.
        batch_size: windows in one forward of the model.
        seed: of k-means and of drawn points.
        device: where the model and the operators run: "cpu", "cuda", "cuda:1", ...; an adapter's
            model is moved there. "auto": "cuda" where torch sees one and the model's package can;
            an adapter stays where it is.

    Returns:
        Masks and labels of the video's size.

    Raises:
        InputError: no frames or too few, a mask of another size or without an object, a head that
            the model has not, or a setting out of range.
    """
    expect_one_of("segment", "mode", mode, MODES)
    expect_count("segment", "num_concepts", num_concepts)
    expect_count("segment", "tokens_per_tubelet", tokens_per_tubelet)
    expect(is_real(memory, 0) or memory == 0, "segment", "memory", "a number from 0 on", memory)
    settings = expect_settings(
        "segment", n_segments=n_segments, compactness=compactness, batch_size=batch_size, seed=seed
    )
    adapter = load_on("segment", model, device)
    if heads is None:
        heads = last_keys(adapter, 2 if mode == "better" else 1)
    chosen = check_heads("segment", adapter, heads)
    source = open_video(Sample(video).video)
    objects = read_objects(first_mask, source.frame_size)
    clip = whole_video("segment", adapter, source, Sample(video, query_mask=objects > 0))
    view = View.of(adapter, source.frame_size)
    features = list(head_features(clip, chosen, batch_size).values())
    if mode == "paper":
        found = _by_one_concept(clip, view, features, chosen, objects, settings)
    else:
        making = TokenConcepts(num_concepts, tokens_per_tubelet, compactness, seed)
        found = segment_by_log_odds(clip, view, features, chosen, objects, making, memory)
    if refine is not None:
        _refine_all(source, found.labels, refine, seed)
    return found


def _numbers(objects: np.ndarray) -> np.ndarray:
    numbers: np.ndarray = np.unique(objects[objects > 0])
    return numbers


def segment_by_log_odds(
    clip: VideoClip[Adapter],
    view: View,
    features: list[Tensor],
    heads: list[Head],
    objects: np.ndarray,
    making: TokenConcepts,
    memory: float,
) -> Segmentation:
    """Mode "better" from features: the mean over all heads of how likely a concept is the object.

    Args:
        clip: the video and the model.
        view: what the model sees of it.
        features: of each head, [C, t, h, w].
        heads: whose features they are.
        objects: int32 [H, W] of the first frame.
        making: how concepts are made.
        memory: as of :func:`segment`.
    """
    adapter, numbers = clip.adapter, _numbers(objects)
    grid = (features[0].shape[1], features[0].shape[2], features[0].shape[3])
    covered = np.stack([coverage(adapter, objects == one, grid[1:]).ravel() for one in numbers])
    if not covered.any():
        raise InputError("segment: first_mask expected an object that the model sees, got it cut")
    concepts, counts = making.find(torch.stack(features))
    scores = token_scores(concepts, counts, covered, grid)
    first = view.scores_of_pixels(scores_at_frame(scores, 0, adapter.tubelet_size)).cpu().numpy()
    thresholds = np.array(
        [best_threshold(its, objects == one) for its, one in zip(first, numbers, strict=True)]
    )
    if memory > 0:
        scores = followed_scores(concepts, counts, covered, grid, thresholds, memory)
    scores -= torch.from_numpy(thresholds).to(scores).reshape(-1, 1, 1, 1)
    labels = _labels_of(scores, numbers, view, len(clip.indices), adapter.tubelet_size)
    return Segmentation(labels, tuple(heads), scores=scores.cpu())


def _labels_of(
    scores: Tensor, numbers: np.ndarray, view: View, num_frames: int, tubelet_size: int
) -> Tensor:
    """The object at every pixel, int32 [T, H, W], by the scores [O, t, h, w] over thresholds."""
    labels = torch.zeros((num_frames, *view.frame_size), dtype=torch.int32)
    together = max(_PIXELS // (len(scores) * view.frame_size[0] * view.frame_size[1]), 1)
    for first in range(0, num_frames, together):  # threads divide the frames between them
        frames = range(first, min(first + together, num_frames))
        tokens = [scores_at_frame(scores, frame, tubelet_size) for frame in frames]
        pixels = view.scores_of_pixels(torch.cat(tokens))
        pixels = pixels.unflatten(0, (len(frames), len(scores)))  # [F, O, H, W]
        for its_labels, its_pixels in zip(labels[first : first + together], pixels, strict=True):
            if len(scores) == 1:
                its_labels.copy_((its_pixels[0] > 0).to(torch.int32) * int(numbers[0]))
                continue
            values = its_pixels.cpu().numpy()
            best = np.where(values.max(axis=0) > 0, numbers[values.argmax(axis=0)], 0)
            its_labels.copy_(torch.from_numpy(best))
    return labels


def _by_one_concept(
    clip: VideoClip[Adapter],
    view: View,
    features: list[Tensor],
    heads: list[Head],
    objects: np.ndarray,
    settings: Settings,
) -> Segmentation:
    """Mode "paper": for each object the concept that overlaps it most in the first frame."""
    num_frames, numbers = len(clip.indices), _numbers(objects)
    tubelet_size = clip.adapter.tubelet_size
    supports = [concept_supports(one, tubelet_size, num_frames, settings) for one in features]
    firsts = [view.labels_of_pixels(one.concept[0])[None] for one in supports]
    chosen: list[ChosenConcept] = []
    places = []
    for number in numbers:
        agreement = [
            overlaps(first, (objects == number)[None], one.num_concepts)[0]
            for first, one in zip(firsts, supports, strict=True)
        ]
        head = int(np.argmax([its.max(initial=-1.0) for its in agreement]))
        concept = int(agreement[head].argmax())
        places.append((head, concept))
        chosen.append(ChosenConcept(heads[head], concept, float(agreement[head][concept])))
    order = np.argsort([-one.overlap for one in chosen], kind="stable")
    labels = np.zeros((num_frames, *view.frame_size), dtype=np.int32)
    for frame, its_labels in enumerate(labels):
        for row in order[::-1]:  # what fits its object better lies above
            head, concept = places[row]
            found = view.labels_of_pixels(supports[head].concept[frame])
            its_labels[found == concept] = numbers[row]
    return Segmentation(torch.from_numpy(labels), tuple(heads), concepts=tuple(chosen))


def _refine_all(source: VideoSource, labels: Tensor, refine: Refine, seed: int) -> None:
    """Refine the labels [T, H, W] of all frames, in place."""
    for number, frame in enumerate(source.frames(range(source.num_frames))):
        refined = refine_labels(frame, labels[number].numpy(), refine, number, seed)
        labels[number] = torch.from_numpy(refined)
