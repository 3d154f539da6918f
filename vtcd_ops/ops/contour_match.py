"""Operator on the contours of masks: how much of two contours lies near the other."""

from __future__ import annotations

import torch
from torch import Tensor


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
    counts: Tensor = torch.ops.vtcd.contour_match(prediction, truth, radius)
    return counts


def check_contour_match(prediction: Tensor, truth: Tensor, radius: int) -> None:
    """Check the arguments of ``contour_match``, in the words of the C++ kernel."""
    op = "contour_match"
    for name, mask in (("prediction", prediction), ("truth", truth)):
        if mask.dtype != torch.bool:
            got = str(mask.dtype).removeprefix("torch.")
            raise TypeError(f"{op}: {name} expected bool, got {got}")
        if mask.dim() != 3 or mask.shape[1] == 0 or mask.shape[2] == 0:
            raise ValueError(f"{op}: {name} expected [T, H, W] with pixels, got {list(mask.shape)}")
    if truth.device != prediction.device:
        raise ValueError(f"{op}: truth expected on {prediction.device}, got {truth.device}")
    if prediction.shape != truth.shape:
        raise ValueError(
            f"{op}: truth expected {list(prediction.shape)}, as prediction, got {list(truth.shape)}"
        )
    if radius < 0:
        raise ValueError(f"{op}: radius expected at least 0, got {radius}")


@torch.library.register_fake("vtcd::contour_match")
def _contour_match_fake(
    prediction: Tensor,  # [T, H, W]
    truth: Tensor,  # [T, H, W]
    radius: int,
) -> Tensor:
    check_contour_match(prediction, truth, radius)
    return prediction.new_empty((prediction.shape[0], 4), dtype=torch.int64)
