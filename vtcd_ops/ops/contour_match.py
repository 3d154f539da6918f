"""How much of the contours of two masks lies near the other one."""

from __future__ import annotations

import torch
from torch import Tensor

from vtcd_ops.ops import arguments
from vtcd_ops.ops.arguments import dtype_name


def contour_match(prediction: Tensor, truth: Tensor, radius: int) -> Tensor:
    """Count the pixels of two masks' contours that lie near the other contour.

    >>> prediction, truth = torch.zeros(2, 1, 4, 12, dtype=torch.bool)
    >>> prediction[0, :, :3] = True  # two edges straight down, five pixels apart
    >>> truth[0, :, :8] = True
    >>> contour_match(prediction, truth, radius=4).tolist()
    [[0, 4, 0, 4]]
    >>> contour_match(prediction, truth, radius=5).tolist()
    [[4, 4, 4, 4]]

    The contour of a mask are the pixels that differ from their right, lower or lower right
    neighbour; in the last row only the right one counts, in the last column only the lower one (as
    in the toolkits of DAVIS). A contour pixel is matched where the other contour has a pixel at
    most ``radius`` from it.

    Args:
        prediction: bool [T, H, W].
        truth: bool [T, H, W].
        radius: in pixels.

    Returns:
        int64 [T, 4]: pixels of the prediction's contour that are matched, all of them, and the same
        two of the truth's contour.

    Raises:
        ValueError: shapes that do not fit, a negative radius.
        TypeError: another dtype.
    """
    check_contour_match(prediction, truth, radius)
    with arguments.kernel_errors("contour_match"):
        counts: Tensor = torch.ops.vtcd.contour_match(prediction, truth, radius)
    return counts


def check_contour_match(
    prediction: Tensor,  # [T, H, W]
    truth: Tensor,  # [T, H, W]
    radius: int,
) -> None:
    """Check the arguments of ``contour_match``."""
    op = "contour_match"
    for name, mask in (("prediction", prediction), ("truth", truth)):
        arguments.tensor(op, name, mask)
        if mask.dtype != torch.bool:
            raise TypeError(f"{op}: {name} expected bool, got {dtype_name(mask)}")
        if mask.dim() != 3 or mask.shape[1] == 0 or mask.shape[2] == 0:
            raise ValueError(f"{op}: {name} expected [T, H, W] with pixels, got {list(mask.shape)}")
    arguments.on_device(op, "truth", truth, prediction.device)
    if prediction.shape != truth.shape:
        raise ValueError(
            f"{op}: truth expected {list(prediction.shape)}, as prediction, got {list(truth.shape)}"
        )
    arguments.at_least(op, "radius", radius, 0)


@torch.library.register_fake("vtcd::contour_match")
def _contour_match_fake(
    prediction: Tensor,  # [T, H, W]
    truth: Tensor,  # [T, H, W]
    radius: int,
) -> Tensor:
    check_contour_match(prediction, truth, radius)
    return prediction.new_empty((prediction.shape[0], 4), dtype=torch.int64)
