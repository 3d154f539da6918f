"""Operators on feature volumes: dividing them into tubelets, pooling over tubelets."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from vtcd_ops.ops import arguments, checks


def _warn_of_order(op: str, features: Tensor, size: Sequence[int]) -> None:
    if (
        torch.compiler.is_compiling()
    ):  # sizes may be symbols, and whoever compiles has called before
        return
    tokens = tuple(features.shape[2:])
    more = any(n > m for n, m in zip(tokens, size, strict=True))
    fewer = any(n < m for n, m in zip(tokens, size, strict=True))
    if more and fewer:
        warnings.warn(
            f"{op}: features [B, C, t, h, w] have {tokens} tokens for {tuple(size)} voxels: more "
            "along one axis and fewer along another. Are their channels last?",
            stacklevel=3,
        )


def slic3d(
    features: Tensor,
    size: Sequence[int],
    n_segments: int = 12,
    compactness: float = 0.1,
    *,
    max_num_iter: int = 10,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    enforce_connectivity: bool = True,
    min_size_factor: float = 0.5,
    max_size_factor: float = 3.0,
    interpolation: str = "trilinear",
) -> Tensor:
    """Divide volumes into supervoxels by features that stand on a coarser token grid.

    >>> features = torch.zeros(1, 2, 1, 2, 4)
    >>> features[:, 0, :, :, 2:] = 1.0  # the left half is one thing, the right half another
    >>> labels = slic3d(features, (1, 4, 8), n_segments=2)
    >>> labels[0, 0, 0].tolist()
    [0, 0, 0, 0, 1, 1, 1, 1]

    The labels are those of scikit-image's ``slic(volume, start_label=0, channel_axis=-1,
    convert2lab=False, ...)`` in float64 on the interpolated volume (equation 1 of the paper), which
    is never made: interpolation is linear, so a voxel's product with a cluster's centre is the
    interpolation of the tokens' products with it. Where a voxel of interpolated features is equally
    near to two clusters within rounding, the first one has it; without interpolation rounding
    decides as in scikit-image.

    A grid of more tokens than voxels along an axis and of fewer along another is likely to be in
    another order of axes, such as channels last: then there is a warning.

    Args:
        features: floating [B, C, t, h, w]; half and bfloat16 are taken as float32.
        size: (T, H, W) of the labels; ``(t, h, w)``: no interpolation.
        n_segments: supervoxels asked for; seeds stand on a regular grid of about that many.
        compactness: weight of the distance in space, after the features were scaled to [0, 1];
            below 1e-150 it counts as 1e-150.
        max_num_iter: rounds of assignment and update, at most.
        spacing: size of a voxel along each axis, 1e-100 to 1e100, for the distance in space.
        enforce_connectivity: merge fragments that are too small and cut those that are too large.
        min_size_factor: fragments below this share of the mean segment are merged.
        max_size_factor: fragments of this many times the mean segment are cut.
        interpolation: ``"trilinear"``, corners aligned; ``"nearest"``, of token floor(x t / T).

    Returns:
        Labels int32 [B, T, H, W], from 0 in each volume.

    Raises:
        ValueError: shapes or parameters that do not fit, NaN or Inf.
        TypeError: another dtype.
    """
    checks.check_slic3d(
        features, size, n_segments, compactness, max_num_iter, spacing, min_size_factor,
        max_size_factor, interpolation,
    )  # fmt: skip
    _warn_of_order("slic3d", features, size)
    arguments.flag("slic3d", "enforce_connectivity", enforce_connectivity)
    with checks.kernel_errors("slic3d"):
        labels: Tensor = torch.ops.vtcd.slic3d(
            features, size, n_segments, compactness, max_num_iter=max_num_iter, spacing=spacing,
            enforce_connectivity=enforce_connectivity, min_size_factor=min_size_factor,
            max_size_factor=max_size_factor, interpolation=interpolation,
        )  # fmt: skip
    return labels


def tubelet_pool(
    features: Tensor,
    labels: Tensor,
    num_tubelets: int,
    interpolation: str = "trilinear",
) -> tuple[Tensor, Tensor]:
    """Average interpolated features over each label of a volume (equation 1 of the paper).

    >>> features = torch.tensor([0.0, 1.0, 2.0]).reshape(1, 1, 1, 1, 3)
    >>> labels = torch.tensor([0, 0, 1, 1, -1]).reshape(1, 1, 1, 5)
    >>> means, counts = tubelet_pool(features, labels, 3)
    >>> means.flatten().tolist(), counts.flatten().tolist()
    ([0.25, 1.25, 0.0], [2, 2, 0])

    The interpolated volume is never made: the voxels' interpolation weights are added up on the
    token grid, then multiplied with the features. Differentiable in the features, twice. NaN and
    infinity reach the means of those tubelets alone that have a voxel on their token.

    Args:
        features: floating [B, C, t, h, w].
        labels: int32 or int64 [B, T, H, W], below ``num_tubelets``; -1 belongs to no tubelet.
        num_tubelets: S, how many labels there are at most.
        interpolation: ``"trilinear"`` or ``"nearest"``, as in :func:`slic3d`.

    Returns:
        Means [B, S, C] in the dtype of the features, 0 for a label that does not occur, and the
        number of voxels of each label, int64 [B, S].

    Raises:
        ValueError: shapes that do not fit, a label out of range.
        TypeError: another dtype.
    """
    checks.check_tubelet_pool(features, labels, num_tubelets, interpolation)
    _warn_of_order("tubelet_pool", features, labels.shape[1:])
    with checks.kernel_errors("tubelet_pool"):
        means, counts = torch.ops.vtcd.tubelet_pool(features, labels, num_tubelets, interpolation)
    return means, counts
