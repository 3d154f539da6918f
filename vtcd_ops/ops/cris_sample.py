"""Random masks that remove a fixed share of all units."""

from __future__ import annotations

import torch
from torch import Tensor

from vtcd_ops.ops import arguments

_MOST_UNITS = 2**31 - 1
_LAST_START = 2**62 - 1


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
    check_cris_sample(num_units, num_masks, ratio, seed, start, design)
    with arguments.kernel_errors("cris_sample"):
        keep: Tensor = torch.ops.vtcd.cris_sample(num_units, num_masks, ratio, seed, start, design)
    return keep


def check_cris_sample(
    num_units: int, num_masks: int, ratio: float, seed: int, start: int, design: str
) -> None:
    """Check the arguments of ``cris_sample``."""
    op = "cris_sample"
    arguments.integer(op, "num_units", num_units)
    if not 2 <= num_units <= _MOST_UNITS:
        raise ValueError(f"{op}: num_units expected 2 to {_MOST_UNITS}, got {num_units}")
    arguments.at_least(op, "num_masks", num_masks, 0)
    arguments.number(op, "ratio", ratio)
    if not 0 < ratio < 1:
        raise ValueError(f"{op}: ratio expected above 0 and below 1, got {ratio:g}")
    arguments.integer(op, "seed", seed)
    arguments.integer(op, "start", start)
    if not 0 <= start <= _LAST_START:
        raise ValueError(f"{op}: start expected 0 to {_LAST_START}, got {start}")
    arguments.choice(op, "design", design, ("simple", "antithetic", "balanced"))
    arguments.output(op, "num_masks", (num_masks, num_units), 1)


@torch.library.register_fake("vtcd::cris_sample")
def _cris_sample_fake(
    num_units: int,
    num_masks: int,
    ratio: float,
    seed: int,
    start: int = 0,
    design: str = "simple",
) -> Tensor:
    check_cris_sample(num_units, num_masks, ratio, seed, start, design)
    return torch.empty((num_masks, num_units), dtype=torch.bool, device="cpu")
