"""The numbers of the report: what is measured of a concept and of a head.

The head map, the cards, the order of the concepts and the table of all concepts follow the two
tuples of quantities: a further number is a further entry and its value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vtcd_ops.discovery.records import HeadConcepts

Values = dict[str, float | None]  #: by the key of the quantity; None where it is undefined


@dataclass(frozen=True)
class Quantity:
    """A number that the page shows."""

    key: str
    label: str
    explanation: str
    style: str  #: how it is written: "fraction" (0.42), "percent" (12 %) or "count" (7)
    diverging: bool = False  #: coloured to both sides of zero


CONCEPT_QUANTITIES: tuple[Quantity, ...] = (  # the first one orders the concepts at the start
    Quantity(
        "videos",
        "Videos",
        "Videos in which it occurs: a concept of one video tells of that video only.",
        "count",
    ),
    Quantity(
        "silhouette",
        "Silhouette",
        "How much nearer its tubelets are to each other than to the head's next concept, −1 to 1.",
        "fraction",
    ),
    Quantity(
        "size", "Size", "Share of the video volume it covers, where it occurs at all.", "percent"
    ),
    Quantity("tubelets", "Tubelets", "Space-time segments that belong to it.", "count"),
)

HEAD_QUANTITIES: tuple[Quantity, ...] = (
    Quantity(
        "silhouette",
        "Silhouette",
        "How well the head's concepts are apart: 1 = tight and far from each other, "
        "0 = overlapping. Mean over tubelets.",
        "fraction",
    ),
    Quantity(
        "concepts", "Number of concepts", "How many concepts were found in the head.", "count"
    ),
    Quantity(
        "tubelet_size",
        "Tubelet size",
        "Share of the video volume (all pixels of all frames) that a tubelet covers, on average.",
        "percent",
    ),
    Quantity(
        "videos",
        "Videos per concept",
        "In how many videos a concept of the head occurs, on average.",
        "count",
    ),
    Quantity(
        "largest",
        "Largest concept",
        "Share of the video volume that the head's largest concept covers: near 100 %, the head "
        "sees one background and little else.",
        "percent",
    ),
)


OVERLAP = Quantity(
    "overlap",
    "Overlap with copy",
    "Largest overlap (intersection over union, mean over videos) with any concept of the weight-"
    "randomised copy: near 1, a network that has learnt nothing shows the same.",
    "fraction",
)
BEYOND = Quantity(
    "beyond",
    "Copy beyond chance",
    "Largest overlap with a concept of the copy less what supports of these sizes have at random "
    "places, so that small concepts are not called new for being small: 0 = chance, 1 = the same.",
    "fraction",
)
PLACE = Quantity(
    "place",
    "Same place",
    "How much where it lies in one video tells where it lies in the others: near 1, it is a place "
    "in the frame and need not have been learnt.",
    "fraction",
)

_MOST_CONCEPTS = 0.5  # of a head's tubelets; with more, a concept is hardly more than a tubelet
_MOST_OF_ONE_VIDEO = 0.5  # of a head's concepts


def head_warning(concepts: HeadConcepts, num_videos: int) -> str | None:
    """Say why the concepts of a head are none, or return None.

    Args:
        concepts: Concept table of the head.
        num_videos: of the run.
    """
    k, num_tubelets = concepts.k, len(concepts.concept)
    if num_tubelets and k > 1 and k > _MOST_CONCEPTS * num_tubelets:
        return f"{k} concepts from {num_tubelets} tubelets: hardly anything was grouped"
    videos = [len(np.unique(concepts.video[concepts.concept == index])) for index in range(k)]
    single = sum(count <= 1 for count in videos)
    if num_videos > 1 and single > _MOST_OF_ONE_VIDEO * k:
        return f"{single} of {k} concepts are of one video: they tell of it, not of the model"
    return None


def concept_values(concepts: HeadConcepts, volumes: Mapping[int, int]) -> list[Values]:
    """Measure every concept of a head.

    Args:
        concepts: Concept table; per tubelet video, concept, size (voxels) and silhouette [N].
        volumes: Voxels of every video's label volume.

    Returns:
        For each concept, in the order of their indices, its `CONCEPT_QUANTITIES`.
    """
    return [
        _one_concept(concepts, np.flatnonzero(concepts.concept == index), volumes)
        for index in range(concepts.k)
    ]


def _one_concept(
    concepts: HeadConcepts,
    members: npt.NDArray[np.intp],  # [N of the concept]
    volumes: Mapping[int, int],
) -> Values:
    videos = concepts.video[members]
    sizes = concepts.size[members]
    shares = sizes / _volumes_of(videos, volumes)
    num_videos = len(np.unique(videos))
    return {
        "silhouette": _mean(concepts.silhouette[members]),
        "size": float(shares.sum()) / num_videos if num_videos else 0.0,
        "videos": num_videos,
        "tubelets": len(members),
    }


def _volumes_of(
    videos: npt.NDArray[np.int32],  # [N]
    volumes: Mapping[int, int],
) -> npt.NDArray[np.float64]:
    """Voxels of the label volume of each of many videos, of which few differ."""
    known, places = np.unique(videos, return_inverse=True)
    return np.array([volumes[video] for video in known.tolist()], dtype=np.float64)[places]


def head_values(
    concepts: HeadConcepts, volumes: Mapping[int, int], of_concepts: list[Values]
) -> Values:
    """Measure a head.

    Args:
        concepts: Concept table of the head.
        volumes: Voxels of every video's label volume.
        of_concepts: What `concept_values` gave for it.

    Returns:
        Its `HEAD_QUANTITIES`.
    """
    volume = _volumes_of(concepts.video, volumes)
    return {
        "silhouette": _mean(concepts.silhouette),
        "concepts": concepts.k,
        "tubelet_size": _mean(concepts.size / volume),
        "videos": _mean([values["videos"] or 0.0 for values in of_concepts]),
        "largest": max((values["size"] or 0.0 for values in of_concepts), default=None),
    }


def _mean(values: npt.ArrayLike) -> float | None:
    """Mean of all values; None where there is none, or one of them is not defined."""
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean()) if array.size else math.nan
    return None if math.isnan(mean) else mean


def rounded(values: Values) -> Values:
    """Round to what the page can show, which keeps the file small."""
    return {key: None if value is None else round(value, 4) for key, value in values.items()}
