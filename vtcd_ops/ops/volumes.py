"""Volumes of features on a token grid: what the operators on them check and say."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from vtcd_ops.ops import arguments
from vtcd_ops.ops.arguments import FLOATING, dtype_name


def check_features(op: str, features: Tensor) -> None:
    """Refuse what are no features on a token grid."""
    arguments.tensor(op, "features", features)
    if features.dim() != 5:
        raise ValueError(f"{op}: features expected [B, C, t, h, w], got {list(features.shape)}")
    if features.dtype not in FLOATING:
        raise TypeError(f"{op}: features expected a floating dtype, got {dtype_name(features)}")
    if any(length == 0 for length in features.shape[1:]):
        raise ValueError(f"{op}: features expected channels and tokens, got {list(features.shape)}")


def check_interpolation(op: str, interpolation: str) -> None:
    """Refuse what is none of the interpolations."""
    arguments.choice(op, "interpolation", interpolation, ("trilinear", "nearest"))


def warn_of_order(op: str, features: Tensor, size: Sequence[int]) -> None:
    """Warn the caller of an operator of features whose axes are likely in another order."""
    if torch.compiler.is_compiling():  # sizes may be symbols; whoever compiles has called before
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
