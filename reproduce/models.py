# SPDX-License-Identifier: MIT
"""The four models of the paper: which miniature stands for each, and the paper's settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Role:
    """One of the paper's models.

    Args:
        title: how tables call it.
        miniature: what `load_model` takes, where no other model is given.
        compactness: of SLIC, in the paper.
        ratio: of the units that a mask removes, in the paper.
        metric: the paper's score of the model.
        num_masks: the paper's.
        by_class: each class has a ranking of its own, on the videos of that class.
    """

    title: str
    miniature: str
    compactness: float
    ratio: float
    metric: str
    num_masks: int
    by_class: bool = False


ROLES: dict[str, Role] = {
    "tcow": Role("TCOW", "tcow:mini", 0.01, 0.5, "iou", 8_000),
    "videomae": Role("VideoMAE", "hf_videomae:mini", 0.1, 0.5, "accuracy", 4_000, by_class=True),
    "videomae_ssl": Role(
        "VideoMAE, self-supervised", "hf_videomae:mini-ssl", 0.1, 0.95, "reconstruction", 4_000
    ),
    "internvideo": Role("InternVideo", "internvideo:mini", 0.15, 0.5, "dot_product", 4_000),
}
