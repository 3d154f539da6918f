"""Supervoxels of volumes whose features stand on a coarser token grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vtcd_ops.ops import arguments, volumes


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
        max_num_iter: rounds of assignment and update, at most; no more than 1,000,000.
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
    check_slic3d(
        features, size, n_segments, compactness, max_num_iter, spacing, min_size_factor,
        max_size_factor, interpolation,
    )  # fmt: skip
    volumes.warn_of_order("slic3d", features, size)
    arguments.flag("slic3d", "enforce_connectivity", enforce_connectivity)
    with arguments.kernel_errors("slic3d"):
        labels: Tensor = torch.ops.vtcd.slic3d(
            features, size, n_segments, compactness, max_num_iter=max_num_iter, spacing=spacing,
            enforce_connectivity=enforce_connectivity, min_size_factor=min_size_factor,
            max_size_factor=max_size_factor, interpolation=interpolation,
        )  # fmt: skip
    return labels


def check_slic3d(
    features: Tensor,  # [B, C, t, h, w]
    size: Sequence[int],
    n_segments: int,
    compactness: float,
    max_num_iter: int,
    spacing: Sequence[float],
    min_size_factor: float,
    max_size_factor: float,
    interpolation: str,
) -> None:
    """Check what is known of the arguments of ``slic3d`` without the values of the features."""
    op = "slic3d"
    volumes.check_features(op, features)
    arguments.list_of(op, "size", size, "integers")
    if len(size) != 3 or any(length <= 0 for length in size):
        raise ValueError(f"{op}: size expected positive numbers (T, H, W), got {list(size)}")
    if math.prod(size) >= 2**31:
        raise ValueError(f"{op}: size expected fewer than 2^31 voxels, got {list(size)}")
    arguments.at_least(op, "n_segments", n_segments, 1)
    arguments.number(op, "compactness", compactness)
    if not 0 < compactness < math.inf:
        raise ValueError(f"{op}: compactness expected finite and above 0, got {compactness:g}")
    arguments.repeats(op, "max_num_iter", max_num_iter)
    arguments.list_of(op, "spacing", spacing, "numbers")
    if len(spacing) != 3 or not all(1e-100 <= length <= 1e100 for length in spacing):
        raise ValueError(
            f"{op}: spacing expected 3 numbers from 1e-100 to 1e+100, "
            f"got {arguments.number_list(spacing)}"
        )
    arguments.number(op, "min_size_factor", min_size_factor)
    if not 0 <= min_size_factor < math.inf:
        raise ValueError(
            f"{op}: min_size_factor expected finite and at least 0, got {min_size_factor:g}"
        )
    arguments.number(op, "max_size_factor", max_size_factor)
    if not 0 < max_size_factor < math.inf:
        raise ValueError(
            f"{op}: max_size_factor expected finite and above 0, got {max_size_factor:g}"
        )
    volumes.check_interpolation(op, interpolation)


@torch.library.register_fake("vtcd::slic3d")
def _slic3d_fake(
    features: Tensor,  # [B, C, t, h, w]
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
    check_slic3d(
        features, size, n_segments, compactness, max_num_iter, spacing, min_size_factor,
        max_size_factor, interpolation,
    )  # fmt: skip
    return features.new_empty((features.shape[0], *size), dtype=torch.int32)
