# SPDX-License-Identifier: MIT
"""Follow a mask by the similarity of features alone, as DINO's authors evaluate them on DAVIS."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import vtcd_ops
from vtcd_ops.segmentation.head_features import head_features, last_keys, whole_video
from vtcd_ops.segmentation.view import View, coverage, scores_at_frame
from vtcd_ops.video.readers import open_video
from vtcd_ops.video.samples import Sample

CONTEXT = 7  # earlier frames, beside the first
NEIGHBOURS = 5  # whose labels are averaged
RADIUS = 12  # tokens to every side that are looked at
TEMPERATURE = 0.1


def by_label_propagation(
    adapter: vtcd_ops.Adapter, video: np.ndarray, first: np.ndarray
) -> np.ndarray:
    """Return the masks, bool [T, H, W], of an object in a video by its mask in the first frame.

    The features are those that concepts are made of: the keys of all heads of the last two layers.
    """
    source = open_video(video)
    heads = last_keys(adapter, 2)
    clip = whole_video("label propagation", adapter, source, Sample(video, query_mask=first))
    features = torch.cat(list(head_features(clip, heads).values()))  # [C, t, h, w]
    steps, plane = features.shape[1], (features.shape[2], features.shape[3])
    rows = functional.normalize(features.flatten(2).permute(1, 2, 0), dim=-1)  # [t, h*w, C]
    begin = torch.from_numpy(coverage(adapter, first, plane)).flatten().to(rows)
    labels = propagate(rows, begin, plane).reshape(1, steps, *plane)
    view = View.of(adapter, source.frame_size)
    frames = [
        view.scores_of_pixels(scores_at_frame(labels, frame, adapter.tubelet_size))[0] > 0.5
        for frame in range(len(video))
    ]
    return torch.stack(frames).numpy()


def propagate(rows: Tensor, first: Tensor, plane: tuple[int, int]) -> Tensor:
    """Return the label of every token, [t, N]: a mean over the most similar ones before it.

    >>> rows = torch.eye(4).expand(3, 4, 4)  # every token is like itself
    >>> propagate(rows, torch.tensor([0.0, 1.0, 0.0, 0.0]), (2, 2))[2].argmax()
    tensor(1)

    Args:
        rows: of unit length, [t, N, C].
        first: the labels of the first step, [N].
        plane: (h, w), h * w = N.
    """
    place = torch.cartesian_prod(torch.arange(plane[0]), torch.arange(plane[1]))
    near = (place[:, None] - place).abs().amax(dim=-1) <= RADIUS
    labels = torch.zeros(rows.shape[:2])
    labels[0] = first
    for step in range(1, len(rows)):
        known = [0, *range(max(1, step - CONTEXT), step)]
        alike = torch.cat(
            [(rows[step] @ rows[one].T / TEMPERATURE).exp() * near for one in known], 1
        )
        weight, which = alike.topk(min(NEIGHBOURS, alike.shape[1]), dim=1)
        weight = weight / weight.sum(dim=1, keepdim=True)
        labels[step] = (torch.cat([labels[one] for one in known])[which] * weight).sum(dim=1)
    return labels
