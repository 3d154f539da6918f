"""Which heads have concepts of objects, by videos whose masks are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtcd_ops.adapters.adapter import Adapter, heads_without_weights
from vtcd_ops.adapters.placement import load_on
from vtcd_ops.adapters.requests import check_request
from vtcd_ops.common.errors import InputError
from vtcd_ops.common.settings import expect_count
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.discovery.video_divider import plan_groups
from vtcd_ops.segmentation.concept_supports import concept_supports, expect_settings, overlaps
from vtcd_ops.segmentation.head_features import Head, head_features, whole_video
from vtcd_ops.segmentation.view import View
from vtcd_ops.video.clips import VideoClip
from vtcd_ops.video.masks import read_masks
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import Sample, as_samples

_FEATURE_BYTES = 1 << 30  # of the heads whose features are in memory together


def choose_heads(
    model: Adapter | str | Path,
    samples: Any,
    *,
    parts: Sequence[str] = ("keys",),
    layers: Sequence[int] | None = None,
    num_heads: int | None = 8,
    n_segments: int = 12,
    compactness: float = 0.1,
    batch_size: int = 1,
    seed: int = 0,
    device: str = "auto",
) -> list[Head]:
    """Choose the heads whose concepts fit the objects of training videos best, best first.

    For each head and video: the IoU of every concept with the object, meant over all frames; of
    these the best. Heads are ranked by the mean over the videos. Score no video with heads that
    were chosen on it.

    >>> import numpy as np
    >>> from vtcd_ops import Sample
    >>> from vtcd_ops.adapters import example_adapter
    >>> video = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3)).astype(np.uint8)
    >>> masks = np.zeros((6, 32, 32), dtype=bool)
    >>> masks[:, 8:24, 8:24] = True
    >>> heads = choose_heads(example_adapter(), Sample(video, target_masks=masks), num_heads=2)
    >>> len(heads), len(heads[0])  # (part, layer, head)
    (2, 3)

    Args:
        model: an adapter, or what :func:`vtcd_ops.load_model` takes.
        samples: videos with their `target_masks`, or a folder of DAVIS.
        parts: of "queries", "keys", "values", "outputs".
        layers: of the model; None: all.
        num_heads: how many to return; None: all.
        n_segments: tubelets of a video.
        compactness: weight of space and time against features in SLIC.
        batch_size: windows in one forward of the model.
        seed: of k-means.
        device: as of :func:`vtcd_ops.segment`.

    Returns:
        (part, layer, head) of each.

    Raises:
        InputError: a video without masks or frames, or a part or layer that the model has not.
    """
    if num_heads is not None:
        expect_count("choose_heads", "num_heads", num_heads)
    settings = expect_settings(
        "choose_heads", n_segments=n_segments, compactness=compactness, batch_size=batch_size,
        seed=seed,
    )  # fmt: skip
    adapter = load_on("choose_heads", model, device)
    numbers, names = check_request("choose_heads", adapter, layers, parts)
    heads = [(part, layer, head) for part in names for layer in numbers
             for head in range(adapter.num_heads)
             if (layer, head) not in heads_without_weights(adapter)]  # fmt: skip
    total, num_videos = np.zeros(len(heads)), 0
    for sample in as_samples(samples):
        total += _best_overlaps(adapter, sample, heads, settings, batch_size)
        num_videos += 1
    order = np.argsort(-total / num_videos, kind="stable")
    return [heads[place] for place in order[:num_heads]]


def _best_overlaps(
    adapter: Adapter, sample: Sample, heads: list[Head], settings: Settings, batch_size: int
) -> np.ndarray:
    """How well the best concept of each head fits the object of one video, float64 [heads]."""
    if sample.target_masks is None:
        raise InputError(f"choose_heads: video {sample.name} expected target_masks, got none")
    source = open_video(sample.video)
    clip = whole_video("choose_heads", adapter, source, sample)
    truth = read_masks(sample.target_masks, clip.indices).numpy()
    if truth.shape[1:] != source.frame_size:
        raise InputError(
            f"choose_heads: video {sample.name} expected masks of {list(source.frame_size)}, as "
            f"its frames, got {list(truth.shape[1:])}"
        )
    view = View.of(adapter, source.frame_size)
    found: dict[Head, float] = {}
    for group in _groups(clip, heads):
        features = head_features(clip, group, batch_size)
        for head in group:
            one = concept_supports(
                features.pop(head), adapter.tubelet_size, len(clip.indices), settings
            )
            masks = view.masks_of_voxels(truth, (one.concept.shape[1], one.concept.shape[2]))
            mean = overlaps(one.concept, masks, one.num_concepts).mean(axis=0)
            found[head] = float(mean.max(initial=0.0))
    return np.array([found[head] for head in heads])


def _groups(clip: VideoClip[Adapter], heads: list[Head]) -> list[list[Head]]:
    """Heads whose features fit into the memory together, for one forward of the model each."""
    _, h, w = clip.adapter.token_grid
    each = 4 * clip.adapter.head_dim * clip.num_steps * h * w
    groups = []
    for part in dict.fromkeys(part for part, _, _ in heads):
        layers = list(dict.fromkeys(layer for one, layer, _ in heads if one == part))
        planned = plan_groups(
            layers, list(range(clip.adapter.num_heads)), each, max(_FEATURE_BYTES, each)
        )
        groups += [
            [(part, layer, head) for layer in one.layers for head in one.heads] for one in planned
        ]
    return groups
