"""Supports of the concepts of several runs, bit-packed on grids that the runs share."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from vtcd_ops.common.errors import InputError
from vtcd_ops.discovery.run import Run
from vtcd_ops.rosetta_concepts.common_grid import CommonGrid, LabelGrid, common_grid, nearest_voxels

_WORD = 64  # voxels of a word


@dataclass(frozen=True)
class Candidates:
    """The concepts of one run that are compared with those of others.

    Args:
        run: the run.
        name: how messages and reports call it.
        part: of whose heads the concepts are.
        units: (layer, head, concept) of each, int64 [C, 3].
        videos: which video of the run each common video is.
        epsilon: the share of the run's concepts that these are, its most important; None: all.
    """

    run: Run
    name: str
    part: str
    units: np.ndarray
    videos: tuple[int, ...]
    epsilon: float | None = None


@dataclass(frozen=True)
class PackedSupports:
    """What ``rosetta_search`` takes; see there.

    Args:
        words: int64 [C * W].
        videos: int64 [V + 1].
        models: int64 [D + 1].
    """

    words: Tensor
    videos: Tensor
    models: Tensor

    def on(self, device: torch.device) -> PackedSupports:
        """Return the supports on a device; where rows begin is read in main memory anyway."""
        return replace(self, words=self.words.to(device))


def video_grids(candidates: Sequence[Candidates]) -> list[CommonGrid]:
    """Return the common grid of every video.

    Raises:
        InputError: there is a video of which two runs saw different parts.
    """
    grids = []
    for video in range(len(candidates[0].videos)):
        views = []
        for each in candidates:
            index = each.videos[video]
            tubelets = each.run.tubelets(index, each.run.layers[0], each.part)
            views.append((each.run.videos[index], LabelGrid.of(tubelets)))
        grids.append(common_grid(views, [each.name for each in candidates]))
    return grids


def pack(
    candidates: Sequence[Candidates],
    grids: Sequence[CommonGrid],
    *,
    max_memory: int,
    progress: bool = False,
) -> PackedSupports:
    """Bring the supports of all candidates to the common grids and pack them, one bit a voxel.

    Args:
        candidates: of each run.
        grids: of each video.
        max_memory: bytes; more than that lies in a temporary file, which the search reads video by
            video.
        progress: show a progress bar.
    """
    models = np.cumsum([0] + [len(each.units) for each in candidates])
    lengths = [-(-int(np.prod(grid.size)) // _WORD) for grid in grids]
    videos = np.cumsum([0, *lengths])
    words = _allocate(int(models[-1]) * int(videos[-1]), max_memory)
    for video, grid in enumerate(tqdm(grids, desc="supports", unit="video", disable=not progress)):
        begin = int(models[-1] * videos[video])
        block = words[begin : begin + int(models[-1]) * lengths[video]]
        rows = block.reshape(int(models[-1]), lengths[video])
        for each, first in zip(candidates, models[:-1].tolist(), strict=True):
            _fill(rows[first : first + len(each.units)], each, video, grid)
    return PackedSupports(
        torch.from_numpy(words),
        torch.from_numpy(videos.astype(np.int64)),
        torch.from_numpy(models.astype(np.int64)),
    )


def _allocate(num_words: int, max_memory: int) -> np.ndarray:
    """Words in memory, or in a file that has no name any more and goes with the array."""
    if num_words * 8 <= max_memory:
        return np.zeros(num_words, dtype=np.int64)
    with tempfile.TemporaryFile(prefix="vtcd-rosetta-") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, num_words * 8)  # a full disk is told here
            return np.memmap(file, dtype=np.int64, mode="r+", shape=(num_words,))
        except OSError as error:
            raise InputError(
                f"rosetta: the supports take {num_words * 8 / 1e9:.1f} GB, more than max_memory, "
                f"and {tempfile.gettempdir()} does not hold them ({error.strerror}); set TMPDIR"
            ) from error


def _fill(rows: np.ndarray, each: Candidates, video: int, grid: CommonGrid) -> None:
    """Write the supports of a run's candidates in one video into rows [C, words]."""
    of_head: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for row, (layer, head, concept) in enumerate(each.units.tolist()):
        of_head[layer, head].append((row, concept))
    for (layer, head), wanted in of_head.items():
        volume = support_on_grid(each, video, grid, layer, head)
        for row, concept in wanted:
            octets = np.packbits(volume.reshape(-1) == concept, bitorder="little")
            rows[row].view(np.uint8)[: len(octets)] = octets


def support_on_grid(
    each: Candidates, video: int, grid: CommonGrid, layer: int, head: int
) -> np.ndarray:
    """Return the concept of every common voxel in one head, int16 [T, H, W]; -1: none."""
    index = each.videos[video]
    labels = LabelGrid.of(each.run.tubelets(index, layer, each.part))
    voxels = nearest_voxels(grid, each.run.videos[index], labels)
    volume: np.ndarray = each.run.support(index, layer, head, each.part)[np.ix_(*voxels)]
    return volume
