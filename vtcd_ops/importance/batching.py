"""How many masks a device takes at a time: tried out, by doubling."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from vtcd_ops.common.accelerator import free_memory, is_out_of_memory, release_memory

__all__ = ["Trial", "double_up"]

_FIRST, _MOST = 8, 512  # masks of one forward
_GAIN = 1.03  # a doubling that is no faster than that is not worth its memory
_SHARE = 0.8  # of the free memory, that a forward may take
_FORWARDS = 2  # that are timed, after one that is not


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


def double_up(device: torch.device, forward: Callable[[int], object]) -> list[Trial]:
    """Try forwards of ever more masks until that gains nothing, or the memory ends.

    Args:
        device: where they run.
        forward: runs the model under so many masks.

    Returns:
        The trials, the last of them the one to take; none where the memory suffices for not even
        the first.
    """
    free = free_memory(device)
    trials: list[Trial] = []
    for masks in _sizes():
        if trials and free is not None and 2 * trials[-1].bytes > _SHARE * free:
            break
        try:
            trial = _tried(device, forward, masks)
        except (RuntimeError, ValueError) as error:
            if not is_out_of_memory(error):
                raise
            break
        finally:
            release_memory(device)
        if trials and trial.seconds / masks * _GAIN > trials[-1].seconds / trials[-1].masks:
            break
        trials.append(trial)
    release_memory(device)
    return trials


def _sizes() -> Iterator[int]:
    masks = _FIRST
    while masks <= _MOST:
        yield masks
        masks *= 2


def _tried(device: torch.device, forward: Callable[[int], object], masks: int) -> Trial:
    """Time forwards of so many masks."""
    is_cuda = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) if is_cuda else 0
    if is_cuda:
        torch.cuda.reset_peak_memory_stats(device)
    forward(masks)
    if is_cuda:
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    for _ in range(_FORWARDS):
        forward(masks)
    if is_cuda:
        torch.cuda.synchronize(device)
    seconds = (time.perf_counter() - begin) / _FORWARDS
    peak = torch.cuda.max_memory_allocated(device) - before if is_cuda else 0
    return Trial(masks, seconds, peak)
