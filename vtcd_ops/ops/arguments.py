"""Checks of one argument, whatever the operator: its type, and what all of that type have to be.

Every message reads ``operator: argument expected ..., got ...``. For arguments of another type than
the schema's the dispatcher has words of its own, which name both as well; these are for the public
functions. Symbolic numbers of `torch.compile` pass.
"""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_MOST_REPEATS = 1_000_000


def dtype_name(tensor: Tensor) -> str:
    """Return the dtype as the kernels write it: float32."""
    return str(tensor.dtype).removeprefix("torch.")


def tensor(op: str, argument: str, value: Any) -> None:
    """Refuse what is no tensor, such as a list or an array."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{op}: {argument} expected a tensor, got {type(value).__name__}")
    if value.layout != torch.strided:
        layout = str(value.layout).removeprefix("torch.")
        raise TypeError(f"{op}: {argument} expected a dense tensor, got layout {layout}")


def on_device(op: str, argument: str, value: Tensor, device: torch.device) -> None:
    """Refuse a tensor on another device than the first one's."""
    if value.device != device:
        raise ValueError(f"{op}: {argument} expected on {device}, got {value.device}")


def beside(op: str, argument: str, value: Tensor, device: torch.device) -> None:
    """Refuse a small tensor, which may be on the CPU, on another device than the first one's."""
    if value.device not in (device, torch.device("cpu")):
        raise ValueError(f"{op}: {argument} expected on {device}, got {value.device}")


def integer(op: str, argument: str, value: Any) -> None:
    """Refuse what is no integer of 64 bits; NumPy's are taken, bools and floats are not."""
    if isinstance(value, torch.SymInt):
        return
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{op}: {argument} expected an integer, got {type(value).__name__}")
    if not _LOWEST <= int(value) <= _HIGHEST:
        raise ValueError(f"{op}: {argument} expected -2**63 to 2**63 - 1, got {value}")


def as_integer(op: str, argument: str, value: Any) -> int:
    """Return an integer of any kind, also a tensor of one, as Python's own.

    >>> as_integer("kmeans", "k", torch.tensor(3))
    3

    Raises:
        TypeError: not an integer.
        ValueError: an integer that 64 bits cannot hold.
    """
    single = isinstance(value, Tensor) and value.numel() == 1
    integer(op, argument, value.item() if single else value)
    return int(value)


def at_least(op: str, argument: str, value: Any, least: int) -> None:
    """Refuse what is no integer, or one below the least."""
    integer(op, argument, value)
    if value < least:
        raise ValueError(f"{op}: {argument} expected at least {least}, got {value}")


def repeats(op: str, argument: str, value: Any) -> None:
    """Refuse to do something less than once, or so often that it would not end in a lifetime."""
    at_least(op, argument, value, 1)
    if value > _MOST_REPEATS:
        raise ValueError(f"{op}: {argument} expected at most {_MOST_REPEATS}, got {value}")


def number(op: str, argument: str, value: Any) -> None:
    """Refuse what is no real number, such as a text or a tensor."""
    if isinstance(value, (float, torch.SymFloat, torch.SymInt)):
        return
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{op}: {argument} expected a number, got {type(value).__name__}")


def as_number(op: str, argument: str, value: Any) -> float:
    """Return a real number of any kind, also a tensor of one, as a float.

    >>> as_number("kmeans", "tol", 1)
    1.0

    Raises:
        TypeError: not a number.
    """
    single = isinstance(value, Tensor) and value.numel() == 1
    number(op, argument, value.item() if single else value)
    return float(value)


def flag(op: str, argument: str, value: Any) -> None:
    """Refuse what is neither true nor false."""
    if not isinstance(value, (bool, np.bool_, torch.SymBool)):
        raise TypeError(f"{op}: {argument} expected a bool, got {type(value).__name__}")


def choice(op: str, argument: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse a text that is none of the choices."""
    expected = " or ".join([", ".join(choices[:-1]), choices[-1]])
    if not isinstance(value, str):
        raise TypeError(f"{op}: {argument} expected {expected}, got {type(value).__name__}")
    if value not in choices:
        raise ValueError(f"{op}: {argument} expected {expected}, got {value}")


def list_of(op: str, argument: str, value: Any, what: str) -> None:
    """Refuse what is not a sequence of numbers; how many there are is checked with their values.

    Args:
        op, argument, value: as everywhere.
        what: ``"integers"`` or ``"numbers"``.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"{op}: {argument} expected a list of {what}, got {type(value).__name__}")
    for entry in value:
        if what == "integers":
            integer(op, argument, entry)
        else:
            number(op, argument, entry)


def number_list(values: Sequence[float]) -> str:
    """Return numbers as the kernels write them: [1, 0.5, 2]."""
    return (
        "["
        + ", ".join(
            f"{value}" if isinstance(value, numbers.Integral) else f"{value:g}" for value in values
        )
        + "]"
    )


def output(op: str, argument: str, shape: Sequence[int], itemsize: int) -> None:
    """Refuse a result larger than any memory; what this one holds, the kernel finds out."""
    if any(isinstance(length, torch.SymInt) for length in shape):
        return
    size = itemsize
    for length in shape:
        size *= length
    if size > _HIGHEST:
        raise ValueError(
            f"{op}: {argument} expected an output that fits into memory, got {number_list(shape)}"
        )


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
