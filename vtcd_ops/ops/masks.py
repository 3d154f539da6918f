"""Operators on masks of units: applying them to features, drawing them, adding up what they did.

A *unit* is anything that tokens can be assigned to and that can be removed: a concept of a head, a
whole head, a group of neurons.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vtcd_ops.ops import checks, mask_checks


def concept_mask(x: Tensor, assign: Tensor, keep: Tensor, num_prefix_tokens: int = 0) -> Tensor:
    """Multiply the features of every token by what a table says of its unit (equations 4, 5).

    >>> x = torch.ones(2, 1, 3, 1)  # two copies of one head: a class token and two others
    >>> assign = torch.tensor([[[0, 1]]], dtype=torch.int32)  # of the two others, for both copies
    >>> keep = torch.tensor([[True, False], [False, False]])  # a mask for each copy
    >>> concept_mask(x, assign, keep, num_prefix_tokens=1).flatten(1).tolist()
    [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]

    A bool table selects: what it does not keep becomes 0, whatever it was. A floating table
    multiplies, and is differentiable, twice, as are the features; so the gradient with respect to
    all units at once is one backward pass. Vectorises under ``torch.vmap``; masks may change from
    call to call under ``torch.compile(fullgraph=True)`` without a graph break or a recompilation.

    Args:
        x: floating [B, A, N, C], in any layout; prefix tokens come first.
        assign: int32 [B, A, N - P], or [1, A, N - P] for the whole batch: the unit of each token
            that is no prefix token, a column of ``keep``; -1 is never masked.
        keep: bool or floating [B, U].
        num_prefix_tokens: P, tokens before the first assigned one; never masked.

    Returns:
        [B, A, N, C] in the dtype and the layout of ``x``. Where its dtype is half or bfloat16 and
        ``keep`` is floating, the product is float32, rounded once.

    Raises:
        ValueError: shapes that do not fit, a unit out of range.
        TypeError: another dtype.
    """
    mask_checks.check_concept_mask(x, assign, keep, num_prefix_tokens)
    with checks.kernel_errors("concept_mask"):
        masked: Tensor = torch.ops.vtcd.concept_mask(x, assign, keep, num_prefix_tokens)
    return masked


def cris_sample(
    num_units: int,
    num_masks: int,
    ratio: float,
    seed: int,
    start: int = 0,
    design: str = "simple",
) -> Tensor:
    """Draw random masks that remove a fixed share of all units (equation 6).

    >>> keep = cris_sample(num_units=10, num_masks=4, ratio=0.3, seed=0)
    >>> (~keep).sum(1).tolist()
    [3, 3, 3, 3]
    >>> torch.equal(cris_sample(10, 2, 0.3, seed=0, start=2), keep[2:])
    True

    Each mask removes exactly ``ratio * num_units`` units, rounded to the nearest integer (a half
    upwards), but at least 1 and at most ``num_units - 1``. Mask i is a pure function of the
    arguments and i (a counter-based generator, Philox), whatever part of the sequence is drawn.

    Designs: ``"simple"``, every mask an independent draw; ``"antithetic"``, masks 2j and 2j + 1
    remove the first and the last units of one random permutation; ``"balanced"``, blocks of 20
    masks in which the removal counts of any two units differ by at most 1. Masks of different
    blocks (of one mask, of a pair, of 20) are independent.

    Args:
        num_units: U, at least 2.
        num_masks: M.
        ratio: share of the units that a mask removes, above 0 and below 1.
        seed: of the generator.
        start: index of the first mask.
        design: ``"simple"``, ``"antithetic"`` or ``"balanced"``.

    Returns:
        bool [M, U] on the CPU, false where a mask removes a unit.

    Raises:
        ValueError: a parameter out of range.
    """
    mask_checks.check_cris_sample(num_units, num_masks, ratio, seed, start, design)
    with checks.kernel_errors("cris_sample"):
        keep: Tensor = torch.ops.vtcd.cris_sample(num_units, num_masks, ratio, seed, start, design)
    return keep


def cris_accumulate(
    count: Tensor,
    total: Tensor,
    total_sq: Tensor,
    keep: Tensor,
    drop: Tensor,
    present: Tensor | None = None,
) -> None:
    """Add the drops of masks to the sums of the units they remove and keep, in place.

    >>> count = torch.zeros(2, 2, dtype=torch.int64)
    >>> total, total_sq = torch.zeros(2, 2, 2, dtype=torch.float64)
    >>> keep = torch.tensor([[True, False], [False, True], [False, False]])
    >>> drop = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    >>> cris_accumulate(count, total, total_sq, keep, drop)
    >>> total.tolist()  # removed: unit 0 by the last two masks, unit 1 by the first and the last
    [[5.0, 4.0], [1.0, 2.0]]

    Masks are added one by one in their order: sums are the same bits whatever the number of threads
    and however the masks are divided among calls.

    Nothing is added by a call that fails. Sums have no derivative.

    Args:
        count: int64 [2, U], masks that remove (row 0) and that keep (row 1) each unit.
        total: float64 [2, U], sums of their drops.
        total_sq: float64 [2, U], sums of the squares of their drops.
        keep: bool [M, U], false where a mask removes a unit.
        drop: float64 [M], by how much the metric drops under each mask.
        present: bool [U]; a unit that does not occur is neither removed nor kept.

    Raises:
        ValueError: shapes that do not fit, NaN or Inf, sums that share memory with each other or
            with what is read, or that require a gradient.
        TypeError: another dtype.
    """
    mask_checks.check_cris_accumulate(count, total, total_sq, keep, drop, present)
    with checks.kernel_errors("cris_accumulate"):
        torch.ops.vtcd.cris_accumulate(count, total, total_sq, keep, drop, present)
