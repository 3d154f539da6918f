"""The tuples of concepts of several models whose supports overlap."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vtcd_ops.ops import arguments
from vtcd_ops.ops.supports import check_supports


class RosettaTuples(NamedTuple):
    """Tuples of concepts, one from each of several models.

    Args:
        tuples: int32 [Q, D], a concept of each model, counted within the model, or -1 for none.
        scores: float64 [Q].
    """

    tuples: Tensor
    scores: Tensor


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

    >>> from vtcd_ops.ops import pack_supports
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
    check_rosetta_search(supports, videos, models, delta, max_order, top, max_tuples)
    with arguments.kernel_errors("rosetta_search"):
        tuples, scores = torch.ops.vtcd.rosetta_search(
            supports, videos, models, delta, max_order=max_order, top=top, max_tuples=max_tuples
        )
    return RosettaTuples(tuples, scores)


def check_rosetta_search(
    supports: Tensor,  # [C * W]
    videos: Tensor,  # [V + 1]
    models: Tensor,  # [D + 1]
    delta: float,
    max_order: int,
    top: int,
    max_tuples: int,
) -> None:
    """Check what is known of the arguments of ``rosetta_search`` without their values."""
    op = "rosetta_search"
    check_supports(op, supports, videos, models)
    arguments.at_least(op, "max_order", max_order, 2)
    arguments.at_least(op, "top", top, 0)
    arguments.at_least(op, "max_tuples", max_tuples, 1)
    arguments.number(op, "delta", delta)
    if not 0 <= delta <= 1:
        raise ValueError(f"{op}: delta expected 0 to 1, got {delta:g}")


@torch.library.register_fake("vtcd::rosetta_search")
def _rosetta_search_fake(
    supports: Tensor,  # [C * W]
    videos: Tensor,  # [V + 1]
    models: Tensor,  # [D + 1]
    delta: float = 0.15,
    *,
    max_order: int = 8,
    top: int = 0,
    max_tuples: int = 1_000_000,
) -> tuple[Tensor, Tensor]:
    check_rosetta_search(supports, videos, models, delta, max_order, top, max_tuples)
    if type(supports) is Tensor and supports.is_meta:
        raise ValueError(
            "rosetta_search: supports expected a tensor with values, which tell how many tuples "
            "there are, got one on meta"
        )
    num_tuples = torch.library.get_ctx().new_dynamic_size()  # as many as there are
    return (
        supports.new_empty((num_tuples, models.shape[0] - 1), dtype=torch.int32),
        supports.new_empty((num_tuples,), dtype=torch.float64),
    )
