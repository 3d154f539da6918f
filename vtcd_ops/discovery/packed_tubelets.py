"""Tubelets as they are stored: compressed as they come, since label volumes are large."""

from __future__ import annotations

from typing import Any

import numpy as np

from vtcd_ops.common.token_grid import token_voxels
from vtcd_ops.discovery.keeping import CONCEPTS, EVERYTHING, TOKENS
from vtcd_ops.discovery.records import LayerTubelets
from vtcd_ops.storage.codec import pack_labels


def repacked(tubelets: LayerTubelets, keep: str) -> PackedTubelets:
    """Return tubelets of which everything was kept, as they are stored where less is kept."""
    packed = PackedTubelets(tubelets.grid, tubelets.padded_size, keep)
    for row in range(len(tubelets.sizes)):
        packed.add(tubelets.labels(row), tubelets.means[row], tubelets.sizes[row])
    return packed


class PackedTubelets:
    """The tubelets of the heads of one layer of one video, compressed as they come.

    Args:
        grid: token grid (t, h, w).
        padded_size: label grid (T, H, W) with the frames that were padded.
        keep: "everything": label volumes; "tokens": the labels at the tokens alone; "concepts":
            none.
    """

    def __init__(
        self,
        grid: tuple[int, int, int],
        padded_size: tuple[int, int, int],
        keep: str = EVERYTHING,
    ) -> None:
        self._info: dict[str, Any] = {"grid": list(grid), "padded_size": list(padded_size)}
        if keep != EVERYTHING:
            self._info["keep"] = keep
        self._keep = keep
        self._grid, self._padded_size = grid, padded_size
        self._blobs: list[bytes] = []
        self._dtypes: list[str] = []
        self._means: list[np.ndarray] = []
        self._sizes: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._blobs)

    def add(self, labels: np.ndarray, means: np.ndarray, sizes: np.ndarray) -> None:
        """Add the next head: labels [T, H, W], means [S, C], sizes [S]."""
        blob, dtype = self._packed(labels)
        num_labels = int(np.flatnonzero(sizes).max(initial=-1)) + 1
        self._blobs.append(blob)
        self._dtypes.append(dtype)
        self._means.append(means[:num_labels])
        self._sizes.append(sizes[:num_labels])
        self._info["shape"] = list(labels.shape)

    def _packed(self, labels: np.ndarray) -> tuple[bytes, str]:
        """What is kept of a label volume, compressed."""
        if self._keep == CONCEPTS:
            return b"", "uint8"
        if self._keep == TOKENS:
            axes = token_voxels(self._grid, self._padded_size, labels.shape[0])
            labels = labels[np.ix_(*axes)]
        return pack_labels(labels)

    def contents(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the information that the file holds."""
        num_labels = max(len(sizes) for sizes in self._sizes)
        pad = [num_labels - len(sizes) for sizes in self._sizes]
        rows = list(zip(self._means, self._sizes, pad, strict=True))
        tensors: dict[str, np.ndarray] = {
            "labels": np.frombuffer(b"".join(self._blobs), dtype=np.uint8),
            "ends": np.cumsum([len(blob) for blob in self._blobs], dtype=np.int64),
            "means": np.stack([np.pad(means, ((0, n), (0, 0))) for means, _, n in rows]),
            "sizes": np.stack([np.pad(sizes, (0, n)) for _, sizes, n in rows]),
        }
        return tensors, {**self._info, "dtypes": self._dtypes}
