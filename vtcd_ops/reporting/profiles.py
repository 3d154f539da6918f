"""What a concept's tubelets are like: how strongly they belong to it, when and where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vtcd_ops.discovery.records import HeadConcepts
from vtcd_ops.discovery.run import Run

HISTOGRAM_BINS = 12
TIME_BINS = 12
_PLACE_EDGE = 16  # the frame is divided into so many rows and columns to ask where a concept is
_DRAWS = 20  # of the moments at which the videos would begin, if it had no moment


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
        place_by_chance: the same, if it were anywhere in the others with equal probability.
        moment: how many times as much it covers in its largest twelfth as on average.
        moment_by_chance: the same, mean over draws, if each video began at a moment drawn by lot.
    """

    histogram: list[int]
    others: list[int]
    time: list[float]
    place: float | None
    place_by_chance: float | None = None
    moment: float = 0.0
    moment_by_chance: float = 0.0


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


def head_profiles(
    run: Run, part: str, layer: int, head: int, videos: Sequence[int]
) -> list[Profile]:
    """Measure when and where every concept of a head is in some videos."""
    concepts = run.concepts(layer, head, part)
    k = concepts.k
    times: list[list[npt.NDArray[np.float64]]] = [[] for _ in range(k)]
    places: list[list[npt.NDArray[np.float64]]] = [[] for _ in range(k)]
    for video in videos:
        support = run.support(video, layer, head, part=part)
        rows = np.linspace(0, support.shape[1] - 1, _PLACE_EDGE).round().astype(int)
        columns = np.linspace(0, support.shape[2] - 1, _PLACE_EDGE).round().astype(int)
        small = support[:, rows[:, None], columns]
        moments = np.arange(len(small)) * TIME_BINS // len(small)
        for index in np.unique(small[small >= 0]).tolist():
            inside = small == index
            per_frame = inside.mean(axis=(1, 2))
            times[index].append(_by_moment(per_frame, moments))
            places[index].append(inside.mean(axis=0))
    counted = histograms(concepts)
    return [
        Profile(
            *counted[index],
            _mean_time(times[index]).tolist(),
            *_same_place(places[index]),
            *_moment(times[index]),
        )
        for index in range(k)
    ]


def _by_moment(per_frame: npt.NDArray[np.float64], moments: npt.NDArray[np.intp]) -> np.ndarray:
    """The mean of each twelfth of a video; a short video's frames stand for several of them."""
    if len(per_frame) < TIME_BINS:
        return per_frame[np.arange(TIME_BINS) * len(per_frame) // TIME_BINS]
    counts = np.bincount(moments, minlength=TIME_BINS)
    return np.bincount(moments, per_frame, minlength=TIME_BINS) / counts


def _mean_time(times: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    return np.mean(times, axis=0) if times else np.zeros(TIME_BINS)


def _moment(times: list[npt.NDArray[np.float64]]) -> tuple[float, float]:
    """How far the largest moment stands out, and by chance where videos begin anywhere."""
    if not times:
        return 0.0, 0.0
    stacked = np.stack(times)  # [V, moments]
    mean = max(float(stacked.mean()), 1e-12)
    starts = np.random.default_rng(0).integers(TIME_BINS, size=(_DRAWS, len(times), 1))
    at = (np.arange(TIME_BINS) + starts) % TIME_BINS  # [draws, V, moments]
    drawn = np.take_along_axis(stacked[None], at, axis=2).mean(axis=1)
    return float(stacked.mean(axis=0).max()) / mean, float(drawn.max(axis=1).mean()) / mean


def _same_place(maps: list[npt.NDArray[np.float64]]) -> tuple[float | None, float | None]:
    """How much where a concept is in one video tells of where it is in the others."""
    if len(maps) < 2:
        return None, None
    stacked = np.stack(maps)
    others = (stacked.sum(axis=0) - stacked) / (len(maps) - 1)
    anywhere = np.broadcast_to(others.mean(axis=(1, 2), keepdims=True), others.shape)
    return _overlap(stacked, others), _overlap(stacked, anywhere)


def _overlap(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """What both cover over what any of them covers, mean over videos."""
    shared = np.minimum(one, other).sum(axis=(1, 2))
    any_of_both = np.maximum(one, other).sum(axis=(1, 2))
    return float(np.mean(shared / np.maximum(any_of_both, 1e-12)))
