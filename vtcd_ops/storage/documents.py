"""JSON documents: read without surprises, sealed with a SHA-256, their fields checked.

A document that carries the right SHA-256 can still hold nonsense, from another program or another
version; so what is read is checked field by field before anything is made of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vtcd_ops.common.errors import InputError
from vtcd_ops.common.untrusted import expect_regular_file

_SHOWN = 60  # characters of a wrong value that are shown
_LARGEST = 1 << 30  # bytes of a document; the list of a million files has 150 MB


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text holds; ValueError whatever is wrong with it, nesting included.

    >>> parse_json('{"a": [1, 2]}')
    {'a': [1, 2]}
    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ValueError: it is nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_plain_json(path: Path) -> Any:
    """Return what a JSON file holds, for files that are not sealed.

    Raises:
        InputError: it is missing, cannot be read, is no JSON, or larger than any document.
    """
    try:
        expect_regular_file(path)
        if (size := path.stat().st_size) > _LARGEST:
            raise InputError(f"{path} cannot be read: it has {size} bytes")
        return parse_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except InputError:
        raise
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are some
        raise InputError(f"{path} is damaged: {error}") from error


def encode_json(document: dict[str, Any]) -> bytes:
    """Return a JSON document with a SHA-256 of its content; same input, same bytes."""
    sealed = {**document, "sha256": digest_json(document)}
    return (json.dumps(sealed, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """Return a document that :func:`encode_json` gave.

    Raises:
        InputError: the file is missing or damaged.
    """
    document = read_plain_json(path)
    if not isinstance(document, dict) or "sha256" not in document:
        raise InputError(f"{path} is damaged: expected a JSON object with its SHA-256")
    if document.pop("sha256") != digest_json(document):
        raise InputError(f"{path} is damaged: its content does not match its SHA-256")
    return document


def digest_json(document: Any) -> str:
    """Return the SHA-256 of a value that JSON can hold, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


class Kind(NamedTuple):
    """What a field may hold, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


TEXT = Kind("text", lambda value: isinstance(value, str))
ANYTHING = Kind("anything", lambda value: True)
LIST = Kind("a list", lambda value: isinstance(value, list))


def whole(least: int, most: int = 2**63 - 1) -> Kind:
    """Whole numbers in a range."""
    return Kind(
        f"a whole number from {least} to {most}",
        lambda value: type(value) is int and least <= value <= most,
    )


def number(above: float = float("-inf")) -> Kind:
    """Finite numbers above a bound."""
    return Kind(
        f"a finite number above {above:g}",
        lambda value: type(value) in (int, float) and above < value < float("inf"),
    )


def one_of(*choices: Any) -> Kind:
    """One of some values."""
    return Kind(
        "one of " + ", ".join(map(repr, choices)),
        lambda value: any(type(value) is type(one) and value == one for one in choices),
    )


def optional(kind: Kind) -> Kind:
    """Nothing, or what the kind holds."""
    return Kind(f"nothing or {kind.words}", lambda value: value is None or kind.holds(value))


def either(*kinds: Kind) -> Kind:
    """What any of the kinds holds."""
    return Kind(
        " or ".join(kind.words for kind in kinds),
        lambda value: any(kind.holds(value) for kind in kinds),
    )


def listing(kind: Kind, length: int | None = None, *, distinct: bool = False) -> Kind:
    """A list of a kind: of a length, or of at least one entry."""
    count = "several times" if length is None else f"{length} times"

    def holds(value: Any) -> bool:
        if not isinstance(value, list | tuple) or not all(kind.holds(one) for one in value):
            return False
        right = len(value) > 0 if length is None else len(value) == length
        return right and (not distinct or len(set(value)) == len(value))

    return Kind(f"{kind.words} {count}" + (", all different" if distinct else ""), holds)


def table(kind: Kind) -> Kind:
    """A JSON object all of whose values are of a kind."""
    return Kind(
        f"a table of {kind.words}",
        lambda value: isinstance(value, dict) and all(kind.holds(one) for one in value.values()),
    )


def expect_fields(path: Path, document: Any, fields: Mapping[str, Kind], where: str = "") -> None:
    """Raise at the first field of a document that is missing or holds another kind of value."""
    if not isinstance(document, dict):
        raise InputError(f"{path} is damaged: {where or 'it'} expected a JSON object")
    for name, kind in fields.items():
        value = document.get(name)
        if name not in document or not kind.holds(value):
            got = repr(value)[:_SHOWN] if name in document else "nothing"
            label = f"{where} {name}".strip()
            raise InputError(f"{path} is damaged: {label} expected {kind.words}, got {got}")


def expect_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], forms: Mapping[str, tuple[str, str]]
) -> dict[str, int]:
    """Raise at the first array that is missing, or of another type or shape.

    >>> expect_arrays(Path("file"), {"a": np.zeros((2, 3))}, {"a": ("float64", "A C")})
    {'A': 2, 'C': 3}

    Args:
        path: of the file, for the message.
        arrays: of the file.
        forms: for each array its type and the names of its axes; the same name, the same length.

    Returns:
        The length of every axis.
    """
    lengths: dict[str, int] = {}
    for name, (dtype, axes) in forms.items():
        array, names = arrays.get(name), axes.split()
        if array is None:
            raise InputError(f"{path} is damaged: it holds no {name}")
        known = [lengths.setdefault(axis, n) for axis, n in zip(names, array.shape, strict=False)]
        if array.dtype != dtype or array.ndim != len(names) or known != list(array.shape):
            shape = ", ".join(str(lengths.get(axis, axis)) for axis in names)
            raise InputError(
                f"{path} is damaged: {name} expected {dtype} [{shape}], "
                f"got {array.dtype} {list(array.shape)}"
            )
    return lengths


@contextmanager
def making_of(path: Path) -> Iterator[None]:
    """Say that a file is damaged where something cannot be made of what it holds."""
    try:
        yield
    except InputError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{path} is damaged: {error}") from error
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{path} is damaged: {error!r}") from error
