# SPDX-License-Identifier: MIT
"""The numbers of the report: one table of quantities, for concepts and for heads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from vtcd_ops.store import HeadConcepts


@dataclass(frozen=True)
class ConceptNumbers:
    """What the report says of one concept."""

    size: float  #: share of the video volume, mean over the videos in which the concept occurs
    silhouette: float | None  #: mean over its tubelets; None where it is undefined (k = 1)
    num_videos: int  #: videos in which it occurs
    num_tubelets: int  #: tubelets that belong to it


@dataclass(frozen=True)
class Quantity:
    """Something the head map can be coloured by; a further one is a further entry of a tuple."""

    key: str
    label: str
    explanation: str
    style: str  #: how the page writes it: "fraction" (0.42), "percent" (12 %) or "count" (7)
    of_head: Callable[[list[ConceptNumbers]], float | None]
    diverging: bool = False  #: coloured to both sides of zero


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _mean_silhouette(concepts: list[ConceptNumbers]) -> float | None:
    """Mean over the head's tubelets, as for the number of concepts (equations 3)."""
    defined = [concept for concept in concepts if concept.silhouette is not None]
    tubelets = sum(concept.num_tubelets for concept in defined)
    if not tubelets:
        return None
    return sum((c.silhouette or 0.0) * c.num_tubelets for c in defined) / tubelets


def _mean_tubelet_size(concepts: list[ConceptNumbers]) -> float | None:
    tubelets = sum(concept.num_tubelets for concept in concepts)
    volume = sum(concept.size * concept.num_videos for concept in concepts)
    return volume / tubelets if tubelets else None


QUANTITIES: tuple[Quantity, ...] = (
    Quantity(
        "silhouette",
        "Silhouette",
        "How well the head's concepts are apart: 1 = tight and far from each other, "
        "0 = overlapping. Mean over tubelets.",
        "fraction",
        _mean_silhouette,
    ),
    Quantity(
        "concepts",
        "Number of concepts",
        "How many concepts were found in the head.",
        "count",
        lambda concepts: float(len(concepts)),
    ),
    Quantity(
        "tubelet_size",
        "Mean tubelet size",
        "Share of the video volume (all pixels of all frames) that one tubelet covers, on average.",
        "percent",
        _mean_tubelet_size,
    ),
    Quantity(
        "videos",
        "Videos per concept",
        "In how many videos a concept of the head occurs, on average.",
        "fraction",
        lambda concepts: _mean([float(concept.num_videos) for concept in concepts]),
    ),
    Quantity(
        "largest",
        "Largest concept",
        "Share of the video volume covered by the head's largest concept: near 100 % the head "
        "sees one background and little else.",
        "percent",
        lambda concepts: max((concept.size for concept in concepts), default=None),
    ),
)


def concept_numbers(concepts: HeadConcepts, volumes: Mapping[int, int]) -> list[ConceptNumbers]:
    """Measure every concept of a head.

    Args:
        concepts: Concept table; per tubelet video, concept, size (voxels) and silhouette [N].
        volumes: Voxels of every video's label volume.

    Returns:
        One entry a concept, in the order of the concept indices.
    """
    return [
        _one_concept(concepts, np.flatnonzero(concepts.concept == index), volumes)
        for index in range(concepts.k)
    ]


def _one_concept(
    concepts: HeadConcepts, members: npt.NDArray[np.intp], volumes: Mapping[int, int]
) -> ConceptNumbers:
    videos = concepts.video[members]
    shares = [
        size / volumes[int(video)]
        for video, size in zip(videos, concepts.size[members], strict=True)
    ]
    num_videos = len(set(videos.tolist()))
    silhouette = float(concepts.silhouette[members].mean()) if members.size else math.nan
    return ConceptNumbers(
        size=float(sum(shares)) / num_videos if num_videos else 0.0,
        silhouette=None if math.isnan(silhouette) else silhouette,
        num_videos=num_videos,
        num_tubelets=int(members.size),
    )


def head_values(concepts: list[ConceptNumbers]) -> dict[str, float | None]:
    """Evaluate every quantity of the head map for one head, rounded to four digits."""
    values = {quantity.key: quantity.of_head(concepts) for quantity in QUANTITIES}
    return {key: None if value is None else round(value, 4) for key, value in values.items()}
