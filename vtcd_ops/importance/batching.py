"""How many masks a device takes at a time: tried out, by doubling."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from vtcd_ops.common.accelerator import free_memory, is_out_of_memory, release_memory

__all__ = ["Trial", "double_up"]

_FIRST, _MOST = 16, 512  # masks of one forward
_GAIN = 1.04  # a doubling that is no faster than that is not worth its memory
_SHARE = 0.8  # of the free memory, that a forward may take


@dataclass(frozen=True)
class Trial:
    """A forward that was tried.

    Args:
        masks: how many.
        seconds: that it took.
        bytes: that it took of the device's memory at its peak.
    """

    masks: int
    seconds: float
    bytes: int

    @property
    def each(self) -> float:
        """Seconds that a mask took."""
        return self.seconds / self.masks


def double_up(device: torch.device, forward: Callable[[int], object]) -> list[Trial]:
    """Try forwards of ever more masks until that gains nothing, or the memory ends.

    Where the memory does not suffice for the first, ever fewer are tried.

    Args:
        device: where they run.
        forward: runs the model under so many masks.

    Returns:
        The trials that went well, the last of them the one to take; none where the memory does not
        suffice for one mask.
    """
    free = free_memory(device)
    trials: list[Trial] = []
    masks = _FIRST
    while 1 <= masks <= _MOST:
        trial = _fitting(device, forward, masks)
        release_memory(device)
        if trial is None and not trials:
            masks //= 2
            continue
        if trial is None or (trials and trial.each * _GAIN > trials[-1].each):
            break
        trials.append(trial)
        if masks < _FIRST or (free is not None and 2 * trial.bytes > _SHARE * free):
            break
        masks *= 2
    return trials


def _fitting(device: torch.device, forward: Callable[[int], object], masks: int) -> Trial | None:
    """Try a forward; None: the memory does not suffice for it."""
    try:
        return _tried(device, forward, masks)
    except (RuntimeError, ValueError) as error:
        if not is_out_of_memory(error):
            raise
    return None


def _tried(device: torch.device, forward: Callable[[int], object], masks: int) -> Trial:
    """Time a forward of so many masks, after one that fills caches."""
    is_cuda = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) if is_cuda else 0
    if is_cuda:
        torch.cuda.reset_peak_memory_stats(device)
    forward(masks)
    if is_cuda:
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    forward(masks)
    if is_cuda:
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - begin
    peak = torch.cuda.max_memory_allocated(device) - before if is_cuda else 0
    return Trial(masks, seconds, peak)
