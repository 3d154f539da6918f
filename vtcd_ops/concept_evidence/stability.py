"""Whether the concepts of a head come back: from other starts, and from half of the videos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vtcd_ops.common.errors import InputError
from vtcd_ops.concept_evidence.per_video import PerVideo
from vtcd_ops.discovery.concepts import encode
from vtcd_ops.discovery.records import HeadConcepts
from vtcd_ops.discovery.run import Run
from vtcd_ops.estimates.chance_overlap import expected_overlap
from vtcd_ops.ops import cnmf


@dataclass(frozen=True, eq=False)
class Stability:
    """How much every concept overlaps with its best match in another clustering.

    Args:
        per_video: intersection over union of the voxels, mean over clusterings, [U, V].
        expected: what supports of these sizes at random places would overlap, float64 [U].
    """

    per_video: PerVideo
    expected: np.ndarray


def stability(run: Run, part: str, *, starts: int, seed: int = 0) -> dict[str, Stability]:
    """Return how stable the concepts of a run are.

    ``"starts"``: the tubelets of all videos are factorised again, into as many concepts, from other
    random starts. ``"halves"``: the tubelets of one half of the videos are; those of the other half
    get the concepts found (equation 3), and are compared there.

    Args:
        run: a run that was discovered.
        part: of its parts.
        starts: how many other starts, and how many divisions into halves.
        seed: of the starts and the halves.
    """
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"starts": [], "halves": []}
    for layer in run.layers:
        volumes = np.array(
            [np.prod(run.tubelets(v, layer, part).shape) for v in range(len(run.videos))]
        )
        means = _means_of_layer(run, layer, part)
        for row, head in enumerate(run.heads):
            one = _Head(run.concepts(layer, head, part), means[row], volumes)
            found["starts"].append(one.restarted(starts, seed))
            found["halves"].append(one.halved(starts, seed))
    return {
        kind: Stability(
            PerVideo.mean_of(np.concatenate([ratios for ratios, _ in heads])),
            PerVideo.mean_of(np.concatenate([expected for _, expected in heads])).values(),
        )
        for kind, heads in found.items()
    }


def _means_of_layer(run: Run, layer: int, part: str) -> list[np.ndarray]:
    """For each head the mean feature of every tubelet, in the order of its concept table."""
    tables = [run.concepts(layer, head, part) for head in run.heads]
    means = [np.zeros((len(t.video), t.centers.shape[1]), dtype=np.float32) for t in tables]
    for video in range(len(run.videos)):
        of_video = run.tubelets(video, layer, part).means
        for row, table in enumerate(tables):
            mine = table.video == video
            means[row][mine] = of_video[row, table.label[mine]]
    return means


class _Head:
    """One head: its tubelets, and clusterings of them."""

    def __init__(self, concepts: HeadConcepts, means: np.ndarray, volumes: np.ndarray) -> None:
        self._concepts = concepts
        self._means = means
        self._volumes = volumes

    def restarted(self, starts: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        every = np.ones(len(self._volumes), dtype=bool)
        again = [self._cluster(every, seed + 1 + start) for start in range(starts)]
        return _mean([self._compare(concept, every) for concept in again], self._nothing())

    def halved(self, times: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        compared = []
        for time in range(times):
            order = np.random.default_rng([seed, time]).permutation(len(self._volumes))
            first = np.zeros(len(order), dtype=bool)
            first[order[: len(order) // 2]] = True
            for half in (first, ~first):
                concept = self._cluster(half, seed)
                if concept is not None:
                    compared.append(self._compare(concept, ~half))
        return _mean(compared, self._nothing())

    def _nothing(self) -> np.ndarray:
        return np.full((self._concepts.k, len(self._volumes)), np.nan)

    def _cluster(self, videos: np.ndarray, seed: int) -> np.ndarray | None:
        """The concept [N] of every tubelet where those of some videos are factorised."""
        data = self._means[videos[self._concepts.video]]
        if len(data) < 2 or not videos.any():
            return None
        k = min(self._concepts.k, len(data))
        found = cnmf(torch.from_numpy(data), k, seed=seed)
        try:
            return encode(self._means, found.centers.numpy()).argmax(axis=1)
        except InputError:  # concepts nearly equal: this clustering does not count
            return None

    def _compare(
        self, concept: np.ndarray | None, videos: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Overlaps [K, V] with the best match by the videos compared, and those expected."""
        if concept is None or not videos.any():
            return self._nothing(), self._nothing()
        mine, k = self._concepts, int(concept.max()) + 1
        shape = (mine.k, k, len(videos))
        both = np.zeros(shape)
        np.add.at(both, (mine.concept, concept, mine.video), mine.size)
        one, other = both.sum(axis=1), both.sum(axis=0)  # [K, V], [k, V]
        either = one[:, None] + other[None] - both
        ratio = np.where(either > 0, both, np.nan) / np.where(either > 0, either, 1.0)
        ratio[:, :, ~videos] = np.nan
        counted = (~np.isnan(ratio)).sum(axis=2)
        best = (np.nansum(ratio, axis=2) / np.maximum(counted, 1)).argmax(axis=1)
        rows = np.arange(mine.k)
        sizes = np.stack([one, other[best]], axis=-1)
        expected = np.where(videos, expected_overlap(sizes, self._volumes), np.nan)
        return _where_present(ratio[rows, best], one, videos), expected


def _where_present(ratio: np.ndarray, sizes: np.ndarray, videos: np.ndarray) -> np.ndarray:
    """The overlaps [K, V]; none of a concept that is in no video compared."""
    absent = sizes[:, videos].sum(axis=1) == 0
    return np.where(absent[:, None], np.nan, ratio)


def _mean(
    compared: list[tuple[np.ndarray, np.ndarray]], nothing: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Means of what is known, over clusterings."""
    if not compared:
        return nothing, nothing
    ratios, expected = (np.stack(each) for each in zip(*compared, strict=True))
    return PerVideo.mean_of(_last(ratios)).values().reshape(nothing.shape), (
        PerVideo.mean_of(_last(expected)).values().reshape(nothing.shape)
    )


def _last(stacked: np.ndarray) -> np.ndarray:
    """Clusterings [R, K, V] as the last axis of [K·V, R]."""
    return stacked.reshape(len(stacked), -1).T
