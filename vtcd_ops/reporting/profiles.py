"""What a concept's tubelets are like: how strongly they belong to it, when and where they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vtcd_ops.discovery.records import HeadConcepts
from vtcd_ops.discovery.run import Run

HISTOGRAM_BINS = 12
TIME_BINS = 12
_PLACE_EDGE = 16  # the frame is divided into so many rows and columns to ask where a concept is
_SAME_PLACE = 0.5  # mean overlap of a video's support with where it is in the other videos
_EVENT = 2.0  # its largest moment covers so many times as much as its average moment
_WHOLE = 0.75  # of the frame: a background


@dataclass(frozen=True)
class Profile:
    """What the card of a concept shows beside its clips.

    Args:
        histogram: how many of its tubelets have an encoding in each of equal steps from 0 to the
            head's largest.
        others: how many tubelets of the head's other concepts have so much of this concept.
        time: share of the frame that it covers in each twelfth of a video, mean over the videos
            in which it occurs.
        place: mean over its videos of the overlap of where it is there, averaged over time, with
            where it is in the others; None in fewer than two videos.
    """

    histogram: list[int]
    others: list[int]
    time: list[float]
    place: float | None


def histograms(concepts: HeadConcepts) -> list[tuple[list[int], list[int]]]:
    """Count encodings of every concept of a head, of its own tubelets and of all others."""
    top = max(float(concepts.encodings.max(initial=0.0)), 1e-9)
    found = []
    for index in range(concepts.k):
        own = concepts.concept == index
        counts = [
            np.histogram(concepts.encodings[which, index], HISTOGRAM_BINS, (0.0, top))[0].tolist()
            for which in (own, ~own)
        ]
        found.append((counts[0], counts[1]))
    return found


def head_profiles(run: Run, part: str, layer: int, head: int) -> list[Profile]:
    """Measure when and where every concept of a head is."""
    concepts = run.concepts(layer, head, part)
    k = concepts.k
    time = np.zeros((k, TIME_BINS))
    places: list[list[npt.NDArray[np.float64]]] = [[] for _ in range(k)]
    for video in range(len(run.videos)):
        support = run.support(video, layer, head, part=part)
        rows = np.linspace(0, support.shape[1] - 1, _PLACE_EDGE).round().astype(int)
        columns = np.linspace(0, support.shape[2] - 1, _PLACE_EDGE).round().astype(int)
        small = support[:, rows[:, None], columns]
        moments = np.arange(len(small)) * TIME_BINS // len(small)
        for index in np.unique(small[small >= 0]).tolist():
            inside = small == index
            per_frame = inside.mean(axis=(1, 2))
            time[index] += _by_moment(per_frame, moments)
            places[index].append(inside.mean(axis=0))
    counted = histograms(concepts)
    return [
        Profile(
            *counted[index],
            (time[index] / max(len(places[index]), 1)).tolist(),
            _same_place(places[index]),
        )
        for index in range(k)
    ]


def _by_moment(per_frame: npt.NDArray[np.float64], moments: npt.NDArray[np.intp]) -> np.ndarray:
    """The mean of each twelfth of a video; a short video's frames stand for several of them."""
    if len(per_frame) < TIME_BINS:
        return per_frame[np.arange(TIME_BINS) * len(per_frame) // TIME_BINS]
    counts = np.bincount(moments, minlength=TIME_BINS)
    return np.bincount(moments, per_frame, minlength=TIME_BINS) / counts


def _same_place(maps: list[npt.NDArray[np.float64]]) -> float | None:
    """How much where a concept is in one video tells of where it is in the others."""
    if len(maps) < 2:
        return None
    stacked = np.stack(maps)
    others = (stacked.sum(axis=0) - stacked) / (len(maps) - 1)
    shared = np.minimum(stacked, others).sum(axis=(1, 2))
    any_of_both = np.maximum(stacked, others).sum(axis=(1, 2))
    return float(np.mean(shared / np.maximum(any_of_both, 1e-12)))


def tags(profile: Profile, size: float | None) -> list[str]:
    """Say in words what the simplest measures suggest; a hint, not a name.

    >>> steady = Profile([], [], [0.1] * 12, 0.7)
    >>> tags(steady, 0.1), tags(Profile([], [], [0.0] * 11 + [0.4], 0.1), 0.05)
    (['place'], ['event'])
    """
    found = []
    if profile.place is not None and profile.place > _SAME_PLACE:
        found.append("place")
    if size is not None and size > _WHOLE:
        found.append("background")
    mean = float(np.mean(profile.time)) if profile.time else 0.0
    if mean > 0 and max(profile.time) > _EVENT * mean:
        found.append("event")
    return found
