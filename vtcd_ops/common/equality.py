"""Equality of results that hold arrays: by content, where Python would raise."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import torch


def same_fields(one: Any, other: Any) -> bool:
    """Return whether two objects of a dataclass hold the same, bit for bit; NaN equals NaN.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, eq=False)
    ... class Result:
    ...     values: np.ndarray
    >>> same_fields(Result(np.array([1.0, np.nan])), Result(np.array([1.0, np.nan])))
    True
    """
    return type(one) is type(other) and all(
        same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)
    )


class ByContent:
    """A dataclass made with ``eq=False`` that is equal to another of the same content."""

    def __eq__(self, other: object) -> bool:
        return same_fields(self, other)

    __hash__ = None  # type: ignore[assignment]  # equal by content


def same(one: Any, other: Any) -> bool:
    """Return whether two values hold the same, arrays and what holds them among them."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and _same_array(
            one.numpy(force=True), other.numpy(force=True)
        )
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and _same_array(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other or (one != one and other != other))


def _same_array(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
