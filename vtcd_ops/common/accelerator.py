"""The device that work is done on: which, how much memory it has, and copies that come back."""

from __future__ import annotations

import contextlib
import functools
import os
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.common.errors import InputError, first_line

AUTO = "auto"

#: What torch and the operators say where memory is too small, whatever the type of their error.
_OUT_OF_MEMORY = ("out of memory", "memory suffices for", "fits into memory")


def choose_device(caller: str, device: str | torch.device) -> torch.device:
    """Return a device that torch can use.

    "cuda" alone is the one of this process: under torchrun each process of a machine has its own,
    by LOCAL_RANK, and goes round where there are fewer devices than processes.

    >>> choose_device("discover", "cpu")
    device(type='cpu')

    Args:
        caller: of whom an error speaks.
        device: as torch names it; "auto": "cuda" where torch sees one, else "cpu".

    Raises:
        InputError: there is no such device.
    """
    if device == AUTO:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        if chosen.type == "cuda" and chosen.index is None:
            chosen = torch.device("cuda", _own_index())
        torch.empty(0, device=chosen)
    except (AssertionError, RuntimeError, TypeError) as error:  # torch's words, and their types
        reason = first_line(error)
        raise InputError(f"{caller}: device {str(device)!r} cannot be used: {reason}") from error
    return chosen


def _own_index() -> int:
    """The number of the CUDA device that belongs to this process."""
    rank, count = os.environ.get("LOCAL_RANK", ""), torch.cuda.device_count()
    if rank.isdecimal() and count > 0:
        return int(rank) % count
    return torch.cuda.current_device()


def current(device: torch.device) -> AbstractContextManager[object]:
    """While open, a device is the one that kernels and streams without a device's number take."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


def name_of(device: torch.device) -> str:
    """Return a device and what it is, for a log.

    >>> name_of(torch.device("cpu"))
    'cpu'
    """
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that a device has left for new tensors; None: it does not say."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + held)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was too small, so that less at a time may fit.

    >>> is_out_of_memory(torch.OutOfMemoryError()), is_out_of_memory(ValueError("NaN"))
    (True, False)
    >>> is_out_of_memory(ValueError("slic3d: features expected heads that memory suffices for"))
    True
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError | ValueError) and any(w in said for w in _OUT_OF_MEMORY)


def release_memory(device: torch.device) -> None:
    """Give back what the caching allocator holds, so that larger pieces can be had."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def going_to(device: torch.device, tensor: Tensor) -> Tensor:
    """Return a tensor of main memory on a device, without waiting until it is there."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@functools.cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream on which copies of a device come back."""
    return torch.cuda.Stream(device)


class ComingBack:
    """A tensor on its way to main memory; what comes after it on the device does not wait.

    >>> ComingBack(torch.tensor([1, 2])).numpy().tolist()
    [1, 2]
    """

    def __init__(self, tensor: Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        if tensor.device.type != "cuda":
            self._host = tensor.cpu()
            return
        stream = _copy_stream(tensor.device)
        stream.wait_stream(torch.cuda.current_stream(tensor.device))
        self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        with torch.cuda.stream(stream):
            self._host.copy_(tensor, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(stream)
        tensor.record_stream(stream)  # its memory is not used anew before it was read

    def tensor(self) -> Tensor:
        """Return the tensor in main memory, once it is there."""
        if self._event is not None:
            self._event.synchronize()
        return self._host

    def numpy(self) -> np.ndarray:
        """Return the array, once it is there."""
        found: np.ndarray = self.tensor().numpy()
        return found
