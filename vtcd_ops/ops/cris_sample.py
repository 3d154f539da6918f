"""Random masks that remove a fixed share of all units."""

from __future__ import annotations

import torch
from torch import Tensor

from vtcd_ops.ops import arguments
from vtcd_ops.ops.library import has_kernel

_MOST_UNITS = 2**31 - 1
_LAST_START = 2**62 - 1
_HAS_CUDA_KERNEL = has_kernel("vtcd::_cris_sample_like", "CUDA")


def cris_sample(
    num_units: int,
    num_masks: int,
    ratio: float,
    seed: int,
    start: int = 0,
    design: str = "simple",
    *,
    device: torch.device | str | None = None,
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
        device: where they are drawn, the CPU or a CUDA GPU; mask i is the same on all (None: CPU).

    Returns:
        bool [M, U] on that device, false where a mask removes a unit.

    Raises:
        ValueError: a parameter out of range, a device without kernel.
    """
    check_cris_sample(num_units, num_masks, ratio, seed, start, design)
    where = _check_device(device)
    with arguments.kernel_errors("cris_sample"):
        keep: Tensor = torch.ops.vtcd.cris_sample(
            num_units, num_masks, ratio, seed, start, design, device=where
        )
    return keep


def _check_device(device: torch.device | str | None) -> torch.device:
    """Return the device that masks are drawn on."""
    op = "cris_sample"
    if device is None:
        return torch.device("cpu")
    if not isinstance(device, (str, torch.device)):
        raise TypeError(f"{op}: device expected a device, got {type(device).__name__}")
    if str(device).partition(":")[0] not in ("cpu", "cuda"):
        raise ValueError(f"{op}: device expected cpu or cuda, got {device}")
    where = torch.device(device)
    if where.type == "cuda" and not _HAS_CUDA_KERNEL:
        raise ValueError(f"{op}: device expected cpu, as no CUDA kernels were built, got {device}")
    return where


def check_cris_sample(
    num_units: int,
    num_masks: int,
    ratio: float,
    seed: int,
    start: int,
    design: str,
    op: str = "cris_sample",
) -> None:
    """Check the arguments of ``cris_sample``."""
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
    *,
    device: torch.device | None = None,
) -> Tensor:
    check_cris_sample(num_units, num_masks, ratio, seed, start, design)
    where = torch.device("cpu") if device is None else device
    if where.type not in ("cpu", "cuda"):
        raise ValueError(f"cris_sample: device expected cpu or cuda, got {where}")
    return torch.empty((num_masks, num_units), dtype=torch.bool, device=where)


@torch.library.register_fake("vtcd::_cris_sample_like")
def _cris_sample_like_fake(
    like: Tensor, num_units: int, num_masks: int, ratio: float, seed: int, start: int, design: str
) -> Tensor:
    check_cris_sample(num_units, num_masks, ratio, seed, start, design, "_cris_sample_like")
    return like.new_empty((num_masks, num_units), dtype=torch.bool)
