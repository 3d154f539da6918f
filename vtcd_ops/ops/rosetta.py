"""Operators on the supports of concepts of several models: which are shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vtcd_ops.ops import arguments, checks

_WORD = 64  # voxels of a word


class RosettaTuples(NamedTuple):
    """Tuples of concepts, one from each of several models.

    Args:
        tuples: int32 [Q, D], a concept of each model, counted within the model, or -1 for none.
        scores: float64 [Q].
    """

    tuples: Tensor
    scores: Tensor


def pack_supports(masks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pack supports, one bit a voxel.

    >>> supports, videos = pack_supports([torch.tensor([[True, False, True], [False] * 3])])
    >>> supports.tolist(), videos.tolist()
    ([5, 0], [0, 1])

    Args:
        masks: for each video the supports of all concepts, bool [C, voxels].

    Returns:
        The words, int64 [C * W], and where those of each video begin in a row, int64 [V + 1], as
        :func:`rosetta_search` takes them.

    Raises:
        ValueError: shapes that do not fit.
        TypeError: another dtype.
    """
    op = "pack_supports"
    if not isinstance(masks, Sequence) or isinstance(masks, str):
        raise TypeError(f"{op}: masks expected a list of tensors, got {type(masks).__name__}")
    offsets, blocks = [0], [torch.empty(0, dtype=torch.int64, device="cpu")]
    for mask in masks:
        arguments.tensor(op, "masks", mask)
        if mask.dtype != torch.bool:
            raise TypeError(f"{op}: masks expected bool, got {arguments.dtype_name(mask)}")
        arguments.on_device(op, "masks", mask, torch.device("cpu"))
        if mask.dim() != 2:
            raise ValueError(f"{op}: masks expected [C, voxels], got {list(mask.shape)}")
        if mask.shape[0] != masks[0].shape[0]:
            raise ValueError(
                f"{op}: masks expected [{masks[0].shape[0]}, voxels], got {list(mask.shape)}"
            )
        blocks.append(_words(mask))
        offsets.append(offsets[-1] + -(-mask.shape[1] // _WORD))
    return torch.cat(blocks), torch.tensor(offsets, dtype=torch.int64, device="cpu")


def _words(mask: Tensor) -> Tensor:
    """Return the rows of a mask, bool [C, voxels], one after the other: int64 [C * words]."""
    num_octets = -(-mask.shape[1] // _WORD) * 8
    bits = torch.zeros((mask.shape[0], num_octets * 8), dtype=torch.uint8, device="cpu")
    # any byte but 0 is true: a tensor of bool may be a view of others
    bits[:, : mask.shape[1]] = mask.view(torch.uint8) != 0
    places = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8, device="cpu")
    octets = (bits.unflatten(1, (num_octets, 8)) * places).sum(-1, dtype=torch.uint8)
    return octets.reshape(-1).view(torch.int64)


def rosetta_search(
    supports: Tensor,
    videos: Tensor,
    models: Tensor,
    delta: float = 0.15,
    *,
    max_order: int = 8,
    top: int = 0,
    max_tuples: int = 1_000_000,
) -> RosettaTuples:
    """Find the tuples of concepts whose supports overlap, one from each of several models.

    >>> masks = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 1]]).bool()
    >>> supports, videos = pack_supports([masks])
    >>> found = rosetta_search(supports, videos, torch.tensor([0, 2, 3]))  # 2 and 1 concepts
    >>> found.tuples.tolist(), [round(score, 3) for score in found.scores.tolist()]
    ([[1, 0], [0, 0]], [0.667, 0.25])

    The score is equation 7 of the paper: the mean over videos of |intersection| / |union| of the
    supports; a video whose union is empty does not count. All tuples of two to ``max_order``
    models that score at least ``delta`` are found, and no other: the result is that of trying
    every tuple. Tuples that score 0 are never returned.

    Args:
        supports: int64 [C * W], one bit a voxel, see :func:`pack_supports`: for each video the
            rows of all C concepts. It is read in this order, a video after the other, so it may be
            a mapped file that is larger than the memory.
        videos: int64 [V + 1]: in video v a row has ``videos[v + 1] - videos[v]`` words.
        models: int64 [D + 1]: model m has the concepts ``models[m]`` up to ``models[m + 1]``.
        delta: lowest score, from 0 to 1.
        max_order: models in a tuple, at most.
        top: above 0, only so many tuples of every order, the best; ``delta`` may then be 0.
        max_tuples: how many tuples may be held at a time; with ``top``, at most 2,048 times as many
            are tried.

    Returns:
        The tuples: pairs first, then triples, ...; of each order the best first, equal scores in
        the order of their concepts.

    Raises:
        ValueError: shapes or values that do not fit, or more than ``max_tuples`` tuples; the
            message then says which ``delta`` gives no more.
        TypeError: another dtype.
    """
    checks.check_rosetta_search(supports, videos, models, delta, max_order, top, max_tuples)
    with checks.kernel_errors("rosetta_search"):
        tuples, scores = torch.ops.vtcd.rosetta_search(
            supports, videos, models, delta, max_order=max_order, top=top, max_tuples=max_tuples
        )
    return RosettaTuples(tuples, scores)


def rosetta_ratios(supports: Tensor, videos: Tensor, models: Tensor, tuples: Tensor) -> Tensor:
    """Return |intersection| / |union| of the supports of tuples of concepts, video by video.

    >>> masks = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 1]]).bool()
    >>> supports, videos = pack_supports([masks, masks & False])
    >>> tuples = torch.tensor([[1, 0]], dtype=torch.int32)
    >>> rosetta_ratios(supports, videos, torch.tensor([0, 2, 3]), tuples).tolist()
    [[0.6666666666666666, nan]]

    Args:
        supports, videos, models: as in :func:`rosetta_search`.
        tuples: int32 [Q, D], a concept of each model or -1, at least one in a row.

    Returns:
        float64 [Q, V], NaN where the union is empty. A tuple's score is the mean of the others.

    Raises:
        ValueError: shapes that do not fit, a concept out of range.
        TypeError: another dtype.
    """
    checks.check_rosetta_ratios(supports, videos, models, tuples)
    with checks.kernel_errors("rosetta_ratios"):
        ratios: Tensor = torch.ops.vtcd.rosetta_ratios(supports, videos, models, tuples)
    return ratios
