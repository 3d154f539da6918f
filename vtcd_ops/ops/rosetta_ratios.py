"""Intersection over union of tuples of concepts, video by video."""

from __future__ import annotations

import torch
from torch import Tensor

from vtcd_ops.ops import arguments
from vtcd_ops.ops.arguments import dtype_name
from vtcd_ops.ops.supports import check_supports


def rosetta_ratios(supports: Tensor, videos: Tensor, models: Tensor, tuples: Tensor) -> Tensor:
    """Return |intersection| / |union| of the supports of tuples of concepts, video by video.

    >>> from vtcd_ops.ops import pack_supports
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
    check_rosetta_ratios(supports, videos, models, tuples)
    with arguments.kernel_errors("rosetta_ratios"):
        ratios: Tensor = torch.ops.vtcd.rosetta_ratios(supports, videos, models, tuples)
    return ratios


def check_rosetta_ratios(
    supports: Tensor,  # [C * W]
    videos: Tensor,  # [V + 1]
    models: Tensor,  # [D + 1]
    tuples: Tensor,  # [Q, D]
) -> None:
    """Check what is known of the arguments of ``rosetta_ratios`` without their values."""
    op = "rosetta_ratios"
    check_supports(op, supports, videos, models)
    arguments.tensor(op, "tuples", tuples)
    if tuples.dtype != torch.int32:
        raise TypeError(f"{op}: tuples expected int32, got {dtype_name(tuples)}")
    arguments.on_device(op, "tuples", tuples, supports.device)
    num_models = models.shape[0] - 1
    if tuples.dim() != 2 or tuples.shape[1] != num_models:
        raise ValueError(
            f"{op}: tuples expected [Q, {num_models}], one concept of each model or -1, "
            f"got {list(tuples.shape)}"
        )


@torch.library.register_fake("vtcd::rosetta_ratios")
def _rosetta_ratios_fake(
    supports: Tensor,  # [C * W]
    videos: Tensor,  # [V + 1]
    models: Tensor,  # [D + 1]
    tuples: Tensor,  # [Q, D]
) -> Tensor:
    check_rosetta_ratios(supports, videos, models, tuples)
    return supports.new_empty((tuples.shape[0], videos.shape[0] - 1), dtype=torch.float64)
