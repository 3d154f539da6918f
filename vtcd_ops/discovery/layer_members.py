"""The tubelets of a layer in all videos, as many heads at a time as fit into the memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from vtcd_ops.discovery.records import LayerTubelets

_JOINED = 256  # videos whose tubelets are put together, since small arrays cost more than they hold
_COPIES = 8  # of its means that finding the concepts of a head takes: factorisation in float64


@dataclass
class HeadMembers:
    """The tubelets of one head in all videos.

    Args:
        columns: for each video, or for many in the first entries, arrays of as many rows as
            tubelets: video, label (int32), size (int64) and means (float32 [N, C]).
    """

    columns: dict[str, list[np.ndarray]] = field(
        default_factory=lambda: {name: [] for name in ("video", "label", "size", "means")}
    )

    def add(self, video: int, tubelets: LayerTubelets, row: int) -> int:
        """Add those of one more video, and return how many bytes their means take."""
        label = np.flatnonzero(tubelets.sizes[row]).astype(np.int32)
        means = tubelets.means[row, label]
        self.columns["video"].append(np.full(len(label), video, dtype=np.int32))
        self.columns["label"].append(label)
        self.columns["size"].append(tubelets.sizes[row, label])
        self.columns["means"].append(means)
        return means.nbytes

    def join(self) -> dict[str, np.ndarray]:
        """Put the arrays of all videos together."""
        for name, arrays in self.columns.items():
            self.columns[name] = [np.concatenate(arrays)]
        return {name: arrays[0] for name, arrays in self.columns.items()}

    def join_last(self) -> None:
        """Put the arrays of the last videos together."""
        for arrays in self.columns.values():
            if len(arrays) > _JOINED:
                arrays[-_JOINED:] = [np.concatenate(arrays[-_JOINED:])]


def gather(
    videos: Iterable[tuple[int, LayerTubelets, str]], rows: range, max_memory: int
) -> tuple[list[dict[str, np.ndarray]], list[str]]:
    """Return the tubelets of as many heads as fit into the memory, and the hashes of all files.

    Args:
        videos: for each video its number, the tubelets of the layer and the hash of their file.
        rows: of the heads that are wanted; the first of them, at least one, come back.
        max_memory: bytes that their tubelets, and finding their concepts, may take.

    Returns:
        For each head video, label, size [N] and mean [N, C] of its tubelets; the hashes.
    """
    heads = [HeadMembers() for _ in rows]
    taken = [0 for _ in rows]
    sources = []
    for count, (video, tubelets, sha256) in enumerate(videos, start=1):
        sources.append(sha256)
        for number, head in enumerate(heads):
            taken[number] += head.add(video, tubelets, rows[number])
            if count % _JOINED == 0:
                head.join_last()
        while len(heads) > 1 and _COPIES * sum(taken) > max_memory:
            del heads[-1], taken[-1]
    return [head.join() for head in heads], sources
