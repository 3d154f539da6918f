"""Checks of settings, in the same words wherever one is given."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from vtcd_ops.common.errors import InputError


def expect(condition: bool, caller: str, name: str, expected: str, got: Any) -> None:
    """Raise an error of the public function that was called unless a condition holds.

    Args:
        condition: what must hold.
        caller: the public function.
        name: of its argument.
        expected: what the argument may be, in words.
        got: what it is.

    Raises:
        InputError: the condition does not hold.
    """
    if not condition:
        raise InputError(f"{caller}: {name} expected {expected}, got {got!r}")


def expect_one_of(caller: str, name: str, value: Any, choices: Collection[str]) -> None:
    """Raise unless a value is one of several words."""
    expect(value in choices, caller, name, "one of " + ", ".join(choices), value)


def expect_count(caller: str, name: str, value: Any, or_else: str = "") -> None:
    """Raise unless a value is a whole number above 0; ``or_else`` says what else it may be."""
    expect(is_whole(value) and value > 0, caller, name, f"a whole number above 0{or_else}", value)


def expect_whole(
    caller: str, name: str, value: Any, least: int, most: float = float("inf")
) -> None:
    """Raise unless a value is a whole number within limits, of which an error names the least."""
    valid = is_whole(value) and least <= value <= most
    expect(valid, caller, name, f"a whole number from {least} on", value)


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number; True and False are none.

    >>> is_whole(3), is_whole(3.0), is_whole(True)
    (True, False, False)
    """
    return isinstance(value, int) and not isinstance(value, bool)


def is_real(value: Any, above: float) -> bool:
    """Whether a value is a number above a limit, and finite.

    >>> is_real(0.5, 0), is_real(0, 0), is_real(float("nan"), 0), is_real("1", 0)
    (True, False, False, False)
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and above < value < float("inf")
