"""Argument checks of the operators, in the same words as the C++ kernels.

Every message reads ``operator: argument expected ..., got ...``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from vtcd_ops.ops import arguments
from vtcd_ops.ops.arguments import dtype_name as _dtype


@contextmanager
def kernel_errors(op: str, caller: str | None = None) -> Iterator[None]:
    """Raise what a kernel says about the values of its arguments as ValueError.

    Shapes and dtypes are checked in Python before; NaN, or a label out of range, only the kernel
    sees, and the dispatcher makes a RuntimeError of its words.

    Args:
        op: the operator called.
        caller: the name to put in its place, for a function that calls it inside.
    """
    try:
        yield
    except RuntimeError as error:
        message = str(error)
        if not message.startswith(f"{op}: "):
            raise
        raise ValueError((caller or op) + message.removeprefix(op)) from None


def _check_ragged(op: str, data: Tensor, offsets: Tensor) -> None:
    arguments.tensor(op, "data", data)
    arguments.tensor(op, "offsets", offsets)
    if data.dim() != 2:
        raise ValueError(f"{op}: data expected [N, C], got {list(data.shape)}")
    if data.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{op}: data expected float32 or float64, got {_dtype(data)}")
    if data.shape[1] == 0:
        raise ValueError(f"{op}: data expected at least 1 channel, got {list(data.shape)}")
    if offsets.dtype != torch.int64:
        raise TypeError(f"{op}: offsets expected int64, got {_dtype(offsets)}")
    arguments.beside(op, "offsets", offsets, data.device)
    if offsets.dim() != 1 or offsets.shape[0] == 0:
        raise ValueError(f"{op}: offsets expected [P + 1], got {list(offsets.shape)}")


def _check_k(op: str, data: Tensor, offsets: Tensor, k: Tensor) -> None:
    arguments.tensor(op, "k", k)
    if k.dtype != torch.int64:
        raise TypeError(f"{op}: k expected int64, got {_dtype(k)}")
    arguments.beside(op, "k", k, data.device)
    count = offsets.shape[0] - 1
    if k.dim() != 1 or k.shape[0] != count:
        raise ValueError(f"{op}: k expected [{count}], one per problem, got {list(k.shape)}")


def _check_labels(op: str, argument: str, data: Tensor, labels: Tensor) -> None:
    arguments.tensor(op, argument, labels)
    if labels.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"{op}: {argument} expected int32 or int64, got {_dtype(labels)}")
    arguments.on_device(op, argument, labels, data.device)
    if labels.dim() != 1 or labels.shape[0] != data.shape[0]:
        raise ValueError(
            f"{op}: {argument} expected [{data.shape[0]}], one per row of data, "
            f"got {list(labels.shape)}"
        )


def _check_iterations(op: str, max_num_iter: int, tol: float) -> None:
    arguments.at_least(op, "max_num_iter", max_num_iter, 1)
    arguments.number(op, "tol", tol)
    if not 0 <= tol < math.inf:
        raise ValueError(f"{op}: tol expected finite and at least 0, got {tol:g}")


def check_cnmf(
    data: Tensor,  # [ΣN, C]
    offsets: Tensor,  # [P + 1]
    k: Tensor,  # [P]
    init: Tensor | None,  # [ΣN]
    solver: str,
    max_num_iter: int,
    tol: float,
) -> None:
    """Check what is known of the arguments of ``cnmf`` without their values."""
    _check_ragged("cnmf", data, offsets)
    _check_k("cnmf", data, offsets, k)
    if init is not None:
        _check_labels("cnmf", "init", data, init)
    arguments.choice("cnmf", "solver", solver, ("cd", "mu"))
    _check_iterations("cnmf", max_num_iter, tol)


def check_kmeans(
    data: Tensor,  # [ΣN, C]
    offsets: Tensor,  # [P + 1]
    k: Tensor,  # [P]
    num_restarts: int,
    max_num_iter: int,
    tol: float,
) -> None:
    """Check what is known of the arguments of ``kmeans`` without their values."""
    _check_ragged("kmeans", data, offsets)
    _check_k("kmeans", data, offsets, k)
    arguments.at_least("kmeans", "num_restarts", num_restarts, 1)
    _check_iterations("kmeans", max_num_iter, tol)


def check_silhouette(
    data: Tensor,  # [ΣN, C]
    offsets: Tensor,  # [P + 1]
    labels: Tensor,  # [ΣN]
) -> None:
    """Check what is known of the arguments of ``silhouette`` without their values."""
    _check_ragged("silhouette", data, offsets)
    _check_labels("silhouette", "labels", data, labels)


def check_num_concepts(data: Tensor, offsets: Tensor, num_restarts: int) -> None:
    """Check the arguments of ``choose_num_concepts``, its matrices one below the other."""
    op = "choose_num_concepts"
    _check_ragged(op, data, offsets)
    if data.is_meta:
        raise ValueError(f"{op}: data expected on a device that holds values, got meta")
    arguments.at_least(op, "num_restarts", num_restarts, 1)


def _check_features(op: str, features: Tensor) -> None:
    arguments.tensor(op, "features", features)
    if features.dim() != 5:
        raise ValueError(f"{op}: features expected [B, C, t, h, w], got {list(features.shape)}")
    if features.dtype not in arguments.FLOATING:
        raise TypeError(f"{op}: features expected a floating dtype, got {_dtype(features)}")
    if any(length == 0 for length in features.shape[1:]):
        raise ValueError(f"{op}: features expected channels and tokens, got {list(features.shape)}")


def _check_interpolation(op: str, interpolation: str) -> None:
    arguments.choice(op, "interpolation", interpolation, ("trilinear", "nearest"))


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
    _check_features(op, features)
    arguments.list_of(op, "size", size, "integers")
    if len(size) != 3 or any(length <= 0 for length in size):
        raise ValueError(f"{op}: size expected positive numbers (T, H, W), got {list(size)}")
    if math.prod(size) >= 2**31:
        raise ValueError(f"{op}: size expected fewer than 2^31 voxels, got {list(size)}")
    arguments.at_least(op, "n_segments", n_segments, 1)
    arguments.number(op, "compactness", compactness)
    if not 0 < compactness < math.inf:
        raise ValueError(f"{op}: compactness expected finite and above 0, got {compactness:g}")
    arguments.at_least(op, "max_num_iter", max_num_iter, 1)
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
    _check_interpolation(op, interpolation)


def _check_volume_labels(op: str, labels: Tensor, batch: int, device: torch.device) -> None:
    arguments.tensor(op, "labels", labels)
    if labels.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"{op}: labels expected int32 or int64, got {_dtype(labels)}")
    arguments.on_device(op, "labels", labels, device)
    if labels.dim() != 4 or labels.shape[0] != batch:
        raise ValueError(f"{op}: labels expected [{batch}, T, H, W], got {list(labels.shape)}")
    if any(length == 0 for length in labels.shape[1:]):
        raise ValueError(f"{op}: labels expected voxels, got {list(labels.shape)}")


def check_tubelet_pool(
    features: Tensor,  # [B, C, t, h, w]
    labels: Tensor,  # [B, T, H, W]
    num_tubelets: int,
    interpolation: str,
) -> None:
    """Check what is known of the arguments of ``tubelet_pool`` without the values of the labels."""
    op = "tubelet_pool"
    _check_features(op, features)
    _check_volume_labels(op, labels, features.shape[0], features.device)
    arguments.at_least(op, "num_tubelets", num_tubelets, 0)
    shape = (features.shape[0], num_tubelets, features.shape[1])
    arguments.output(op, "num_tubelets", shape, features.element_size())
    _check_interpolation(op, interpolation)


def check_tubelet_pool_backward(
    grad_means: Tensor,  # [B, S, C]
    labels: Tensor,  # [B, T, H, W]
    counts: Tensor,  # [B, S]
    grid: Sequence[int],
    interpolation: str,
) -> None:
    """Check what is known of the arguments of the derivative of ``tubelet_pool``."""
    op = "_tubelet_pool_backward"
    if grad_means.dim() != 3 or grad_means.dtype not in arguments.FLOATING:
        raise ValueError(
            f"{op}: grad_means expected floating [B, S, C], "
            f"got {_dtype(grad_means)} {list(grad_means.shape)}"
        )
    batch, num_tubelets = grad_means.shape[:2]
    _check_volume_labels(op, labels, batch, grad_means.device)
    if counts.dtype != torch.int64 or counts.shape != (batch, num_tubelets):
        raise ValueError(
            f"{op}: counts expected int64 [{batch}, {num_tubelets}], "
            f"got {_dtype(counts)} {list(counts.shape)}"
        )
    arguments.on_device(op, "counts", counts, grad_means.device)
    if len(grid) != 3 or any(length <= 0 for length in grid):
        raise ValueError(f"{op}: grid expected positive numbers (t, h, w), got {list(grid)}")
    shape = (batch, grad_means.shape[2], *grid)
    arguments.output(op, "grid", shape, grad_means.element_size())
    _check_interpolation(op, interpolation)


def _check_offsets(op: str, argument: str, shape: str, offsets: Tensor) -> None:
    arguments.tensor(op, argument, offsets)
    if offsets.dtype != torch.int64:
        raise TypeError(f"{op}: {argument} expected int64, got {_dtype(offsets)}")
    if offsets.dim() != 1 or offsets.shape[0] == 0:
        raise ValueError(f"{op}: {argument} expected {shape}, got {list(offsets.shape)}")


def _check_supports(op: str, supports: Tensor, videos: Tensor, models: Tensor) -> None:
    arguments.tensor(op, "supports", supports)
    if supports.dtype != torch.int64:
        raise TypeError(f"{op}: supports expected int64, got {_dtype(supports)}")
    if supports.dim() != 1:
        raise ValueError(f"{op}: supports expected [C * W], got {list(supports.shape)}")
    _check_offsets(op, "videos", "[V + 1]", videos)
    _check_offsets(op, "models", "[D + 1]", models)
    arguments.beside(op, "videos", videos, supports.device)
    arguments.beside(op, "models", models, supports.device)
    if models.shape[0] - 1 > 64:
        raise ValueError(f"{op}: models expected at most 64, got {models.shape[0] - 1}")


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
    _check_supports(op, supports, videos, models)
    arguments.at_least(op, "max_order", max_order, 2)
    arguments.at_least(op, "top", top, 0)
    arguments.at_least(op, "max_tuples", max_tuples, 1)
    arguments.number(op, "delta", delta)
    if not 0 <= delta <= 1:
        raise ValueError(f"{op}: delta expected 0 to 1, got {delta:g}")


def check_rosetta_ratios(
    supports: Tensor,  # [C * W]
    videos: Tensor,  # [V + 1]
    models: Tensor,  # [D + 1]
    tuples: Tensor,  # [Q, D]
) -> None:
    """Check what is known of the arguments of ``rosetta_ratios`` without their values."""
    op = "rosetta_ratios"
    _check_supports(op, supports, videos, models)
    arguments.tensor(op, "tuples", tuples)
    if tuples.dtype != torch.int32:
        raise TypeError(f"{op}: tuples expected int32, got {_dtype(tuples)}")
    arguments.on_device(op, "tuples", tuples, supports.device)
    num_models = models.shape[0] - 1
    if tuples.dim() != 2 or tuples.shape[1] != num_models:
        raise ValueError(
            f"{op}: tuples expected [Q, {num_models}], one concept of each model or -1, "
            f"got {list(tuples.shape)}"
        )
