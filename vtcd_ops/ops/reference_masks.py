"""The operators on masks in plain NumPy: part of `vtcd_ops.ops.reference`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np


def concept_mask(
    x: np.ndarray, assign: np.ndarray, keep: np.ndarray, num_prefix_tokens: int = 0
) -> np.ndarray:
    """Multiply the features of every token by what a table says of its unit.

    >>> concept_mask(np.ones((1, 1, 2, 1)), np.array([[[0, -1]]]), np.array([[0.5]])).tolist()
    [[[[0.5], [1.0]]]]

    Args:
        x: [B, A, N, C].
        assign: int [B or 1, A, N - P], -1 is never masked.
        keep: [B, U].
        num_prefix_tokens: P.

    Returns:
        [B, A, N, C].
    """
    masked = x.copy()
    units = np.broadcast_to(assign, (len(x), *assign.shape[1:]))
    for b, head, token in np.ndindex(units.shape):
        if units[b, head, token] >= 0:
            masked[b, head, num_prefix_tokens + token] *= keep[b, units[b, head, token]]
    return masked


def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Return four random words of 32 bits (Philox4x32-10, Salmon et al. 2011).

    >>> [f"{word:08x}" for word in philox((0, 0, 0, 0), (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    a, b, c, d = counter
    low, high = key
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (
            (second >> 32) ^ b ^ low,
            second & 0xFFFFFFFF,
            (first >> 32) ^ d ^ high,
            first & 0xFFFFFFFF,
        )
        low, high = (low + 0x9E3779B9) & 0xFFFFFFFF, (high + 0xBB67AE85) & 0xFFFFFFFF
    return [a, b, c, d]


def cris_sample(num_units: int, ratio: float, seed: int, mask: int) -> np.ndarray:
    """Draw mask number ``mask`` of the design "simple".

    >>> int((~cris_sample(10, 0.25, 0, 0)).sum())  # 2.5 is rounded upwards
    3

    Args:
        num_units: U.
        ratio: share of the units that are removed.
        seed: not negative, below 2^64.
        mask: its index.

    Returns:
        bool [U], false where a unit is removed.
    """
    removed = min(max(int(np.floor(ratio * num_units + 0.5)), 1), num_units - 1)
    drawn = min(removed, num_units - removed)  # the smaller set, removed or kept
    words = (
        word
        for i in itertools.count()
        for word in philox((i, 0, mask & 0xFFFFFFFF, mask >> 32), (seed & 0xFFFFFFFF, seed >> 32))
    )
    units = list(range(num_units))
    for i in range(drawn):  # the beginning of a Fisher-Yates shuffle
        bound = num_units - i
        product = next(words) * bound
        while product & 0xFFFFFFFF < 2**32 % bound:  # without bias (Lemire 2019)
            product = next(words) * bound
        j = i + (product >> 32)
        units[i], units[j] = units[j], units[i]
    keep = np.full(num_units, drawn == removed)
    keep[units[:drawn]] = drawn != removed
    return keep


def cris_accumulate(keep: np.ndarray, drop: np.ndarray) -> tuple[np.ndarray, ...]:
    """Count and add up the drops of the masks that remove, and that keep, each unit.

    >>> cris_accumulate(np.array([[True, False]]), np.array([3.0]))[1].tolist()
    [[0.0, 3.0], [3.0, 0.0]]

    Args:
        keep: bool [M, U].
        drop: [M].

    Returns:
        count int [2, U], total [2, U], total_sq [2, U]: row 0 removed, row 1 kept.
    """
    rows = np.stack([~keep, keep])  # [2, M, U]
    return rows.sum(1), np.einsum("rmu,m->ru", rows, drop), np.einsum("rmu,m->ru", rows, drop**2)
